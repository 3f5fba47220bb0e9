//! The control plane dies, the network is cut, the agent dies, its disk loses
//! power: nothing that was seen is lost, nothing is invented, nobody is called
//! lost who is not.

use crate::spine::spec;
use hostler_lab::agent::BACK;
use hostler_lab::disk::Disk;
use hostler_lab::proxy::Proxy;
use hostler_lab::site::Site;
use hostler_lab::{Agent, ControlPlane, wait_for};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(15);

/// How often the control plane is killed; more in the slow tier.
fn rounds() -> usize {
    std::env::var("HOSTLER_OUTAGE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

#[test]
fn a_control_plane_killed_ten_times_loses_nothing_and_nobody() {
    let (mut control_plane, site) = (ControlPlane::with_plugins(&["http", "disk"]), Site::started());
    control_plane.apply(&spec(&site));
    let agents = ["a", "b", "c"].map(|name| Agent::joined(&control_plane, name, &[]));
    for agent in &agents {
        control_plane.wait_node(&agent.name, "ready", SOON);
        control_plane.wait_check(&agent.name, "site", "passing", SOON);
    }
    let mut expected = vec!["starting -> passing".to_owned()];
    let mut down = false;
    for round in 0..rounds() {
        control_plane.kill();
        // The site changes while nobody but the agents can see it.
        down = !down;
        site.answer(if down { 503 } else { 200 });
        expected.push(if down { "passing -> critical".into() } else { "critical -> passing".into() });
        std::thread::sleep(Duration::from_millis(3_500));
        control_plane.spawn();
        control_plane.wait_ready();
        let back = Instant::now();
        for agent in &agents {
            control_plane.wait_node(&agent.name, "ready", BACK.saturating_sub(back.elapsed()));
        }
        println!("round {round}: all ready {:?} after its return", back.elapsed());
        for agent in &agents {
            wait_for("the transitions of the outage", SOON, || {
                let seen = control_plane.transitions(&agent.name, "site");
                if seen == expected { Ok(()) } else { Err((agent.name.clone(), seen, expected.clone())) }
            });
        }
    }
    let lost: Vec<_> =
        control_plane.events().into_iter().filter(|event| event["message"].to_string().contains("lost")).collect();
    assert!(lost.is_empty(), "{lost:#?}");
}

/// Cuts the network, lets `during` happen to the agent, heals it, and expects
/// everything that its checks saw in between, once and in order.
fn cut(agent_state: Option<&Disk>, during: impl FnOnce(&mut Agent, &Site)) {
    let mut control_plane = ControlPlane::new();
    let proxy = Proxy::to(control_plane.agents_port);
    control_plane.advertise = Some(proxy.address());
    control_plane.start();
    for name in ["http", "disk"] {
        control_plane.ctl_ok(&["plugin", "push", &hostler_lab::plugin(name).display().to_string()]);
    }
    let site = Site::started();
    control_plane.apply(&spec(&site));
    let mut agent = Agent::new("web1");
    if let Some(disk) = agent_state {
        agent.state = disk.path().join("state");
    }
    let ran = agent.join(&control_plane.join_code(&[]), &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    agent.start();
    control_plane.wait_node("web1", "ready", SOON);
    control_plane.wait_check("web1", "site", "passing", SOON);

    proxy.cut();
    let cut_at = Instant::now();
    site.answer(503);
    wait_for("the agent to see the site fail", SOON, || sees(&agent, "critical"));
    control_plane.wait_node(
        "web1",
        "lost",
        Duration::from_secs(10).saturating_sub(cut_at.elapsed()) + Duration::from_secs(1),
    );
    println!("lost {:?} after the cut", cut_at.elapsed());
    assert_eq!(control_plane.transitions("web1", "site"), ["starting -> passing"], "nothing passes a cut");
    during(&mut agent, &site);
    site.answer(200);
    wait_for("the agent to see the site recover", SOON, || sees(&agent, "passing"));
    proxy.heal();
    control_plane.wait_node("web1", "ready", SOON);
    let expected = ["starting -> passing", "passing -> critical", "critical -> passing"];
    wait_for("the transitions of the cut", SOON, || {
        let seen = control_plane.transitions("web1", "site");
        if seen == expected { Ok(()) } else { Err(seen) }
    });
    let agent_at: Vec<String> = control_plane
        .events()
        .iter()
        .filter(|event| event["subject"] == "site")
        .map(|event| event["at"].as_str().unwrap().to_owned())
        .collect();
    assert!(agent_at.is_sorted(), "{agent_at:?}");
}

/// By the host's own local truth, which needs no control plane.
fn sees(agent: &Agent, state: &str) -> Result<(), String> {
    let ran = agent.command(&["check", "-o", "json"]);
    let checks: serde_json::Value = serde_json::from_str(&ran.out).unwrap_or_default();
    let found =
        checks.as_array().is_some_and(|all| all.iter().any(|one| one["check"] == "site" && one["state"] == state));
    if found { Ok(()) } else { Err(format!("{ran:?}")) }
}

#[test]
fn what_happens_during_a_cut_arrives_after_it() {
    cut(None, |_, _| {});
}

#[test]
fn also_when_the_agent_was_killed_meanwhile() {
    cut(None, |agent, _| {
        agent.kill();
        agent.start();
        wait_for("the agent to be back with what it knew", SOON, || sees(agent, "critical"));
    });
}

#[test]
fn also_when_its_disk_lost_power_meanwhile() {
    let disk = Disk::new(64);
    cut(Some(&disk), |agent, _| {
        disk.power_cut(agent.pid(), || agent.kill());
        agent.start();
        wait_for("the agent to be back with what it knew", SOON, || sees(agent, "critical"));
    });
}
