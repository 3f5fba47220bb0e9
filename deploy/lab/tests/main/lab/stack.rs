//! A stack of six parts on a real host: it starts in order, comes back from whatever
//! ends it, with and without a control plane, and outlives its agent.

use super::{Fleet, SOON};
use hostler_lab::hosts::Hosts;
use hostler_lab::wait_for;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// The host that runs the stack, and the one of the control plane.
const HOST: &str = "h1";
const CONTROL: &str = "h2";
const PARTS: [&str; 6] = ["database", "cache", "api", "mail", "thumbs", "web"];
/// A restart of the database takes all that need it along.
const BACK: Duration = Duration::from_secs(30);

type Pids = BTreeMap<String, u64>;

struct Stack {
    fleet: Fleet,
    random: u64,
}

impl Stack {
    fn up() -> Self {
        let fleet = Fleet { hosts: Hosts::up(2, super::PACKAGES), control: CONTROL };
        fleet.put_control_plane(&fleet.hosts.address(CONTROL));
        fleet.start_control_plane();
        for plugin in ["http", "tcp"] {
            fleet.hosts.put(CONTROL, &hostler_lab::plugin(plugin), &format!("/root/{plugin}.wasm"));
            fleet.cp(&format!("hostlerctl plugin push /root/{plugin}.wasm"));
        }
        let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/main/lab/stack");
        fleet.hosts.exec_ok(HOST, "mkdir -p /opt/shop");
        for file in ["api.py", "worker.py"] {
            fleet.hosts.put(HOST, &files.join(file), &format!("/opt/shop/{file}"));
        }
        let made = fleet.json("token create --label role=app");
        fleet.hosts.exec_ok(HOST, made["install"].as_str().expect("an install line"));
        fleet.hosts.exec_ok(CONTROL, "mkdir -p /root/stack");
        fleet.hosts.put(CONTROL, &files.join("stack.yaml"), "/root/stack/stack.yaml");
        Self { fleet, random: 7 }
    }

    /// As the host itself says it.
    fn services(&self) -> BTreeMap<String, Value> {
        let ran = self.fleet.hosts.exec(HOST, "hostler-agent service ls -o json");
        let all: Vec<Value> = serde_json::from_str(&ran.out).unwrap_or_default();
        all.into_iter().map(|one| (one["service"].as_str().unwrap_or_default().to_owned(), one)).collect()
    }

    fn wait_running(&self, what: &str) -> Pids {
        wait_for(&format!("all to run after {what}"), BACK, || {
            let services = self.services();
            let pid = |part: &&str| {
                let one = services.get(*part).filter(|one| one["state"] == "running")?;
                Some(((*part).to_owned(), one["pid"].as_u64()?))
            };
            let pids: Pids = PARTS.iter().filter_map(pid).collect();
            if pids.len() == PARTS.len() { Ok(pids) } else { Err(services) }
        })
    }

    /// All run, and the part as another process than before.
    fn wait_anew(&self, part: &str, before: &Pids) -> Pids {
        let started = Instant::now();
        loop {
            let pids = self.wait_running(part);
            if pids[part] != before[part] {
                return pids;
            }
            assert!(started.elapsed() < BACK, "{part} is still {} after it was killed", before[part]);
        }
    }

    fn kill(&self, part: &str, before: &Pids) -> Pids {
        self.fleet.hosts.exec_ok(HOST, &format!("kill -9 {}", before[part]));
        let after = self.wait_anew(part, before);
        // Who needs it is treated as the spec says.
        let changed = |other: &str| after[other] != before[other];
        for (other, with) in [("api", ["database", "cache"].as_slice()), ("mail", &["database", "cache", "api"])] {
            assert_eq!(
                changed(other),
                other == part || with.contains(&part),
                "{other} after {part}: {before:?} {after:?}"
            );
        }
        for other in ["thumbs", "web"] {
            assert_eq!(changed(other), other == part, "{other} after {part}: {before:?} {after:?}");
        }
        after
    }

    fn any_part(&mut self) -> &'static str {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        PARTS[usize::try_from(self.random >> 33).expect("fits") % PARTS.len()]
    }

    fn acts(&self) -> Vec<Value> {
        let ran = self.fleet.hosts.exec_ok(HOST, "hostler-agent why -o json");
        serde_json::from_str(&ran).expect(&ran)
    }
}

fn rounds(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn a_stack_comes_back_from_whatever_ends_it() {
    let mut stack = Stack::up();
    stack.fleet.cp("hostlerctl apply -f /root/stack --yes && echo hunter22 | hostlerctl secret set key");
    let mut pids = stack.wait_running("the start");
    started_in_order(&stack.acts());
    let printed = stack.fleet.hosts.exec_ok(HOST, "hostler-agent logs api");
    assert!(printed.contains("key (secret)") && !printed.contains("hunter22"), "{printed}");

    // Each in turn, and then any of them.
    for part in PARTS {
        pids = stack.kill(part, &pids);
    }
    for _ in 0..rounds("HOSTLER_KILLS", 6) {
        let part = stack.any_part();
        pids = stack.kill(part, &pids);
    }
    for part in PARTS {
        let history = stack.fleet.json(&format!("service history {part} -n 100"));
        let killed = history.as_array().is_some_and(|acts| {
            acts.iter().any(|act| act["deed"] == "restarted" && act["saw"].to_string().contains("ended by KILL"))
        });
        assert!(killed, "{part}: {history:#}");
    }
    stack.fleet.wait_service("api", "running");

    // The two halves of the agent: no service dies of it, none is started twice.
    for round in 0..rounds("HOSTLER_AGENT_KILLS", 6) {
        let half =
            if round % 2 == 0 { "pkill -9 -xf '/usr/bin/hostler-agent run'" } else { "pkill -9 -xo hostler-executo" };
        stack.fleet.hosts.exec_ok(HOST, half);
        let after = stack.wait_running(half);
        assert_eq!(after, pids, "{half} ended or started something");
    }
    let count = stack.fleet.hosts.exec_ok(HOST, "pgrep -fc '^/usr/bin/python3 (api|worker).py'");
    assert_eq!(count.trim(), "3");

    // Without a control plane.
    stack.fleet.cp("systemctl stop hostler-control-plane");
    for part in PARTS {
        pids = stack.kill(part, &pids);
    }
    // A power cut, and no network when it is back.
    assert_eq!(stack.fleet.hosts.lab(&["kill", HOST]).code, Some(0));
    assert_eq!(stack.fleet.hosts.lab(&["boot", HOST]).code, Some(0));
    assert_eq!(stack.fleet.hosts.lab(&["cut", HOST]).code, Some(0));
    pids = stack.wait_running("the power cut");
    let printed = stack.fleet.hosts.exec_ok(HOST, "hostler-agent logs api");
    assert!(printed.ends_with("key (secret)\n"), "the secret opens without a control plane: {printed}");
    stack.kill("api", &pids);
    assert_eq!(stack.fleet.hosts.lab(&["heal", HOST]).code, Some(0));
    stack.fleet.cp("systemctl start hostler-control-plane");
    stack.fleet.wait_service("web", "running");

    // What leaves the spec is stopped; what was there before us stays.
    stack.fleet.cp("hostlerctl delete system stack --yes");
    wait_for("nothing of ours to run", SOON, || {
        let ran = stack.fleet.hosts.exec(HOST, "pgrep -fa '^/usr/bin/python3 (api|worker).py'");
        if ran.out.is_empty() { Ok(()) } else { Err(ran) }
    });
    stack.fleet.hosts.exec_ok(HOST, "systemctl is-active nginx redis-server postgresql@15-main");
}

/// Nothing began before all that it needs was well.
fn started_in_order(acts: &[Value]) {
    let begun = |service: &str| {
        let first = acts.iter().find(|act| act["service"] == service && act["deed"] != "held").expect(service);
        first["at"].as_u64().expect("a time")
    };
    for (service, needs) in [("api", ["database", "cache"].as_slice()), ("mail", &["api", "cache"]), ("web", &["api"])]
    {
        for need in needs {
            assert!(begun(need) <= begun(service), "{service} began before {need}: {acts:#?}");
        }
    }
}
