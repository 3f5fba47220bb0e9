//! Who is let in, who stays in, and who stays out.

use crate::spine::spec;
use hostler_lab::site::Site;
use hostler_lab::{Agent, ControlPlane};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(15);

#[test]
fn of_200_who_redeem_one_code_exactly_one_wins() {
    let control_plane = ControlPlane::started();
    let code = control_plane.join_code(&[]);
    let outcomes = crate::refusals::redeem_at_once(&code, 200);
    let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(won, 1, "{outcomes:?}");
    let reasons: std::collections::BTreeSet<String> = outcomes.into_iter().filter_map(Result::err).collect();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert!(reasons.iter().all(|reason| reason.contains("was used up")), "{reasons:?}");
    assert_eq!(control_plane.ctl_json(&["node", "ls"]).as_array().map(Vec::len), Some(1));
}

#[test]
fn a_revoked_node_is_cut_at_once_and_stays_out() {
    let mut control_plane = ControlPlane::with_plugins(&["disk"]);
    let agent = Agent::joined(&control_plane, "web1", &[]);
    control_plane.wait_node("web1", "ready", SOON);
    control_plane.ctl_ok(&["node", "revoke", "web1", "--reason", "stolen", "--yes"]);
    hostler_lab::wait_for("the agent to be told", SOON, || {
        let status = agent.command(&["status"]);
        if status.out.contains("was revoked by admin") { Ok(()) } else { Err(status) }
    });
    assert_eq!(control_plane.node_state("web1"), "revoked");
    control_plane.kill();
    control_plane.start();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(control_plane.node_state("web1"), "revoked");
    // Its name is free for a host that joins anew.
    let again = Agent::new("web1");
    let ran = again.join(&control_plane.join_code(&[]), &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn after_eight_days_off_every_host_comes_back_by_itself_but_not_a_revoked_one() {
    let (mut control_plane, site) = (ControlPlane::with_plugins(&["http", "disk"]), Site::started());
    control_plane.apply(&spec(&site));
    let mut agents = ["a", "b", "out"].map(|name| Agent::joined(&control_plane, name, &[]));
    for agent in &agents {
        control_plane.wait_node(&agent.name, "ready", SOON);
    }
    control_plane.ctl_ok(&["node", "revoke", "out", "--yes"]);
    control_plane.kill();
    control_plane.clock = Some("+8d".into());
    for agent in &mut agents {
        agent.kill();
        agent.clock = Some("+8d".into());
        agent.start();
    }
    control_plane.start();
    control_plane.wait_node("a", "ready", SOON);
    control_plane.wait_node("b", "ready", SOON);
    control_plane.wait_check("a", "site", "passing", SOON);
    assert_eq!(control_plane.node_state("out"), "revoked");
    let shown = control_plane.ctl_json(&["node", "show", "a"]);
    let until = shown["certificate_not_after"].as_str().unwrap_or_default().to_owned();
    let now = control_plane.events().pop().unwrap()["at"].as_str().unwrap_or_default().to_owned();
    assert!(until > now, "renewed: {until} is after {now}");
    hostler_lab::wait_for("the third to be told", SOON, || {
        let told = agents[2].command(&["status"]);
        if told.out.contains("was revoked") { Ok(()) } else { Err(told) }
    });
}

#[test]
fn a_code_is_refused_where_it_should_be() {
    let control_plane = ControlPlane::started();
    let agent = Agent::new("web1");
    let ran = agent.join("hj1_nonsense", &[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("damaged"), "{ran:?}");
    let other = ControlPlane::started();
    let stranger = hostler_types::join_code::JoinCode::decode(&other.join_code(&[])).unwrap();
    let wrong = hostler_types::join_code::JoinCode {
        addresses: vec![format!("127.0.0.1:{}", control_plane.agents_port)],
        ..stranger
    };
    let ran = agent.join(&wrong.encode(), &[]);
    assert!(
        ran.err.contains("is not the control plane this host trusts") || ran.err.contains("leads to another authority"),
        "{ran:?}"
    );
    let code = control_plane.join_code(&[]);
    assert_eq!(agent.join(&code, &[]).code, Some(0));
    let again = agent.join(&code, &[]);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.err.contains("already"), "{again:?}");
    let second = Agent::new("web2");
    let used = second.join(&code, &[]);
    assert!(used.err.contains("was used up"), "{used:?}");
    let twin = Agent::new("web1");
    let taken = twin.join(&control_plane.join_code(&[]), &[]);
    assert!(taken.err.contains("there is a node web1 already"), "{taken:?}");
}
