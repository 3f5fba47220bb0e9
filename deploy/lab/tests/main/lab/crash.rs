//! A service that ends at once, whenever it is started: waits that grow, one word to
//! people, slow tries that never end, and a new count once it was well.

use super::{Fleet, HOOK, SOON};
use hostler_lab::wait_for;
use std::time::Duration;

const HOST: &str = "h1";
const SERVICE: &str = "service:
  flappy:
    where: role=app
    command: test -e /run/well || exit 3; exec sleep infinity
    restart: {attempts: 4, within: 20s, cap: 3s, reset: 4s}
";
/// Between its ends: it lives for some milliseconds, and a wait has a tenth of jitter.
const WAITS: [u64; 4] = [0, 1_000, 2_000, 3_000];
const LIFE_MS: u64 = 700;
/// Four waits, the rest of the window, and a slow try.
const SLOWLY: Duration = Duration::from_secs(40);

#[test]
fn what_crashes_is_started_ever_more_slowly_and_told_once() {
    let fleet = Fleet::of(1, &[]);
    fleet.apply(&format!("{HOOK}{SERVICE}"));
    let crashing = fleet.wait_act(HOST, "flappy", "crashing", "after 4 restarts in 20s it goes on slowly", SOON);
    // Each end begins an act: of the first start, of four restarts, and of the first
    // slow one.
    let ends = |fleet: &Fleet| -> Vec<u64> {
        let acts = fleet.acts(HOST, "flappy");
        let ended = acts.iter().filter(|act| act["deed"] != "crashing");
        let ended = ended.filter(|act| act["saw"].to_string().contains("ended with exit code 3"));
        ended.filter_map(|act| act["at"].as_u64()).collect()
    };
    let mut seen = ends(&fleet);
    seen.extend(crashing["at"].as_u64());
    seen.dedup();
    let waits: Vec<u64> = seen.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits.len(), WAITS.len(), "{seen:?}");
    for (wait, least) in waits.iter().zip(WAITS) {
        assert!((least..=least + least / 10 + LIFE_MS).contains(wait), "waits of {waits:?} ms, not {WAITS:?}");
    }

    // It goes on, and nobody is told again.
    let tries = wait_for("two slow tries", SLOWLY, || {
        let ends = ends(&fleet);
        if ends.len() >= WAITS.len() + 3 { Ok(ends) } else { Err(ends) }
    });
    let slow: Vec<u64> = tries.windows(2).skip(WAITS.len()).map(|pair| pair[1] - pair[0]).collect();
    assert!(slow.iter().all(|wait| *wait >= 3_000), "slow tries {slow:?} ms apart");
    println!("ended {waits:?} ms apart, and then, slowly, {slow:?} ms");

    fleet.hosts.exec_ok(HOST, "touch /run/well");
    let recovered = fleet.wait_act(HOST, "flappy", "recovered", "counted anew", SOON);
    let well = fleet.acts(HOST, "flappy").into_iter().rev().find(|act| act["deed"] == "restarted").expect("a restart");
    let healthy = recovered["at"].as_u64().expect("a time") - well["at"].as_u64().expect("a time");
    assert!(healthy >= 4_000, "recovered {healthy} ms after the last restart was decided");
    wait_for("people to be told", SOON, || {
        let told = fleet.told();
        if told.len() >= 2 { Ok(()) } else { Err(told) }
    });
    let history = fleet.json("service history flappy -n 100");
    let count = |deed: &str| history.as_array().expect("acts").iter().filter(|act| act["deed"] == deed).count();
    assert_eq!((count("crashing"), count("recovered")), (1, 1), "{history:#}");

    // Counted anew: at once.
    let pid = fleet.wait_running(HOST, "flappy", SOON);
    fleet.hosts.exec_ok(HOST, &format!("kill -9 {pid}"));
    fleet.wait_act(HOST, "flappy", "restarted", "attempts 0 of 4 in 20s", SOON);
    assert_ne!(fleet.wait_running(HOST, "flappy", SOON), pid);
    let told = fleet.told();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0].contains("crashing") && told[1].contains("recovered"), "{told:#?}");
}
