//! What heals one host must not hurt six: a fault that all have in common, a check that
//! is wrong itself, a freeze, and a host that is alone. In none of them is a service
//! restarted; and when it is over, healing goes on by itself.

use super::{Fleet, HOOK, SOON};
use hostler_lab::wait_for;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Failing checks do not count for half a minute after a start.
const GROWN: Duration = Duration::from_secs(31);
/// The brake holds for half a minute after most are well.
const RELEASED: Duration = Duration::from_secs(60);
/// A node that asks waits for its neighbours' checks, and asks again after 10 s.
const HEALED: Duration = Duration::from_secs(40);
const SERVICES: [&str; 2] = ["web", "asks"];

type Pids = BTreeMap<String, u64>;

fn size(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// One answers for its Redis, the other's check asks it itself; the port may be wrong.
fn spec(redis: &str, port: u16) -> String {
    format!(
        "{HOOK}service:
  web: {{where: role=app, command: /usr/bin/python3 /opt/lab/web.py 8080 {redis}, live: [web], restart: {{attempts: 100}}}}
  asks: {{where: role=app, command: /usr/bin/python3 /opt/lab/web.py 8081 {redis}, live: [redis], restart: {{attempts: 100}}}}
check:
  web: {{service: web, plugin: http, every: 1s, fails: 2, timeout: 2s, with: {{url: \"http://127.0.0.1:{port}/health\"}}}}
  redis: {{service: asks, plugin: tcp, every: 1s, fails: 2, timeout: 2s, with: {{host: {redis}, port: 6390, send: \"PING\\r\\n\", expect: +PONG}}}}
"
    )
}

struct Tier {
    fleet: Fleet,
    hosts: Vec<String>,
    redis: String,
}

impl Tier {
    fn up() -> Self {
        let hosts: Vec<String> = (1..=size("HOSTLER_WEB_HOSTS", 6)).map(|number| format!("h{number}")).collect();
        let fleet = Fleet::of(hosts.len(), &["http", "tcp"]);
        let redis = fleet.hosts.address(fleet.control);
        let tier = Self { fleet, hosts, redis };
        tier.redis("start");
        tier.fleet.apply(&spec(&tier.redis, 8080));
        tier
    }

    fn redis(&self, verb: &str) {
        self.fleet.cp(if verb == "start" {
            "systemd-run --quiet --unit=shared redis-server --port 6390 --bind 0.0.0.0 --protected-mode no --save ''"
        } else {
            "systemctl stop shared"
        });
    }

    /// By host and service, once all are well.
    fn wait_all(&self, most: Duration) -> Pids {
        self.wait_checks("passing", &["web", "redis"], most);
        let mut pids = Pids::new();
        for host in &self.hosts {
            for service in SERVICES {
                pids.insert(format!("{service} on {host}"), self.fleet.wait_running(host, service, most));
            }
        }
        pids
    }

    /// On all hosts.
    fn wait_checks(&self, state: &str, names: &[&str], most: Duration) {
        wait_for(&format!("{names:?} to be {state} on all hosts"), most, || {
            let checks = self.fleet.json("check ls");
            let all = checks.as_array().expect("checks");
            let there = |one: &&Value| names.iter().any(|name| one["check"] == *name) && one["state"] == state;
            if all.iter().filter(there).count() == names.len() * self.hosts.len() { Ok(()) } else { Err(checks) }
        });
    }

    /// What runs, whatever is said of it.
    fn pids(&self) -> Pids {
        let mut pids = Pids::new();
        for host in &self.hosts {
            for service in SERVICES {
                let pid = self.fleet.standing(host, service)["pid"].as_u64().unwrap_or_default();
                pids.insert(format!("{service} on {host}"), pid);
            }
        }
        pids
    }

    /// For long enough to ask twice.
    fn stays(&self, pids: &Pids, during: &str) {
        let until = Instant::now() + Duration::from_secs(size("HOSTLER_HELD_SECONDS", 22));
        while Instant::now() < until {
            assert_eq!(self.pids(), *pids, "restarted during {during}");
        }
    }

    fn sicken(&self, host: &str) {
        self.fleet.hosts.exec_ok(host, "curl -s http://127.0.0.1:8080/sicken");
    }

    fn wait_other(&self, host: &str, service: &str, before: &Pids) -> u64 {
        wait_for(&format!("{service} on {host} to be another process"), HEALED, || {
            let one = self.fleet.standing(host, service);
            let pid = one["pid"].as_u64().filter(|pid| *pid != before[&format!("{service} on {host}")]);
            pid.filter(|_| one["state"] == "running").ok_or(one)
        })
    }

    fn told_of_causes(&self, words: &str) -> Vec<String> {
        self.fleet.told().into_iter().filter(|title| title.contains(words)).collect()
    }
}

#[test]
fn what_all_have_in_common_restarts_nobody() {
    let tier = Tier::up();
    let fleet = &tier.fleet;
    let mut pids = tier.wait_all(SOON);
    let grown = Instant::now() + GROWN;
    wait_for("all to be grown up", GROWN + SOON, || if Instant::now() > grown { Ok(()) } else { Err("young") });
    let before = fleet.told();
    assert!(before.is_empty(), "{before:?}");

    // Redis is gone: for all of them, and by both kinds of check.
    tier.redis("stop");
    tier.wait_checks("critical", &["web", "redis"], SOON);
    tier.stays(&pids, "the outage of Redis");
    let held = fleet.wait_act("h2", "web", "held", "503, want 200", SOON);
    println!("held: {}", held["refused"]);
    for check in ["web", "redis"] {
        let told = tier.told_of_causes(&format!("check {check} fails on "));
        assert_eq!(told.len(), 1, "{:#?}", fleet.told());
    }
    assert_eq!(fleet.told().len(), 2, "one notice of each check, and none of a node: {:#?}", fleet.told());

    // It is back, and what comes next is healed.
    tier.redis("start");
    assert_eq!(tier.wait_all(SOON), pids);
    wait_for("the brakes to let go", RELEASED, || {
        let told = tier.told_of_causes("fails on few nodes again");
        if told.len() == 2 { Ok(()) } else { Err(told) }
    });
    tier.sicken("h1");
    let sick = Instant::now();
    pids.insert("web on h1".to_owned(), tier.wait_other("h1", "web", &pids));
    println!("one that is sick alone was restarted {:?} later", sick.elapsed());
    assert_eq!(tier.wait_all(SOON), pids);

    frozen(&tier, &mut pids);
    cut_off(&tier, &mut pids);
    broken_check(&tier, &pids);
}

/// Everything waits: who is sick, and who is dead.
fn frozen(tier: &Tier, pids: &mut Pids) {
    let fleet = &tier.fleet;
    fleet.cp("hostlerctl freeze --reason 'a look at the switch'");
    for host in ["h2", "h3"] {
        wait_for(&format!("{host} to be frozen"), SOON, || {
            // It runs already: nothing is done where it is not frozen.
            let ran = fleet.hosts.exec(host, "hostler-agent service start asks");
            if ran.code != Some(0) && format!("{ran:?}").contains("frozen") { Ok(()) } else { Err(ran) }
        });
    }
    tier.sicken("h2");
    fleet.hosts.exec_ok("h3", &format!("kill -9 {}", pids["web on h3"]));
    fleet.wait_act("h2", "web", "held", "frozen", SOON);
    fleet.wait_act("h3", "web", "held", "frozen", SOON);
    let mut held = pids.clone();
    held.insert("web on h3".to_owned(), 0);
    tier.stays(&held, "the freeze");
    fleet.cp("hostlerctl thaw");
    for host in ["h2", "h3"] {
        let thawed = Instant::now();
        pids.insert(format!("web on {host}"), tier.wait_other(host, "web", pids));
        println!("{host} was well {:?} after the thaw", thawed.elapsed());
    }
    assert_eq!(tier.wait_all(SOON), *pids);
}

/// A host alone starts what is dead, and does not judge what is sick.
fn cut_off(tier: &Tier, pids: &mut Pids) {
    let fleet = &tier.fleet;
    assert_eq!(fleet.hosts.lab(&["cut", "h4"]).code, Some(0));
    fleet.wait_state("h4", "lost", SOON);
    // Both fail: neither reaches Redis.
    fleet.wait_act("h4", "web", "held", "cut off from the control plane", SOON);
    fleet.hosts.exec_ok("h4", &format!("kill -9 {}", pids["asks on h4"]));
    fleet.wait_act("h4", "asks", "restarted", "ended by KILL", SOON);
    let anew = wait_for("the dead one to run", SOON, || {
        let one = fleet.standing("h4", "asks");
        one["pid"].as_u64().filter(|pid| *pid != 0).ok_or(one)
    });
    pids.insert("asks on h4".to_owned(), anew);
    tier.stays(pids, "the cut");
    assert_eq!(fleet.hosts.lab(&["heal", "h4"]).code, Some(0));
    assert_eq!(tier.wait_all(SOON), *pids);
}

/// A wrong port for all: it says nothing about them.
fn broken_check(tier: &Tier, pids: &Pids) {
    let fleet = &tier.fleet;
    fleet.apply(&spec(&tier.redis, 8099));
    tier.wait_checks("critical", &["web"], SOON);
    for host in &tier.hosts {
        fleet.wait_act(host, "web", "held", "has not passed since it was changed itself", HEALED);
    }
    tier.stays(pids, "a broken check");
    fleet.apply(&spec(&tier.redis, 8080));
    assert_eq!(tier.wait_all(SOON), *pids);
}
