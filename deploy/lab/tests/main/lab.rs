//! The same on real hosts: booted Debians with systemd, one of them the control
//! plane, the agent installed by the install script.

mod alone;
mod common_cause;
mod crash;
mod fetch;
mod files;
mod hardening;
mod languages;
mod limits;
mod playbook;
mod restore;
mod roll;
mod stack;
mod written;

use hostler_lab::hosts::Hosts;
use hostler_lab::{program, wait_for};
use serde_json::Value;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);
const CONTROL_PLANE: &str = "h4";
const NODES: [&str; 3] = ["h1", "h2", "h3"];
/// One image for all tests of services.
const PACKAGES: &str = "nginx-light,nftables,postgresql,redis-server";
/// What notices are sent to, on the host of the control plane.
const HOOK: &str = "notifier:\n  hook: {default: true, plugin: webhook, with: {url: \"http://127.0.0.1:9000/\"}}\n";

struct Fleet {
    hosts: Hosts,
    /// The host that the control plane runs on.
    control: &'static str,
}

impl Fleet {
    fn installed() -> Self {
        let fleet = Self { hosts: Hosts::up(4, "nginx-light,openssl"), control: CONTROL_PLANE };
        fleet.put_control_plane(&fleet.hosts.address(CONTROL_PLANE));
        fleet.start_control_plane();
        fleet.push_plugins();
        fleet
    }

    /// Agents on so many hosts, the control plane on the next one, where notices arrive;
    /// the programs of these tests are in `/opt/lab` of all.
    fn of(nodes: usize, plugins: &[&str]) -> Self {
        let control = Box::leak(format!("h{}", nodes + 1).into_boxed_str());
        let fleet = Self { hosts: Hosts::up(nodes + 1, PACKAGES), control };
        fleet.put_control_plane(&fleet.hosts.address(control));
        fleet.start_control_plane();
        for plugin in plugins {
            fleet.hosts.put(control, &hostler_lab::plugin(plugin), &format!("/root/{plugin}.wasm"));
            fleet.cp(&format!("hostlerctl plugin push /root/{plugin}.wasm"));
        }
        let programs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/main/lab/programs");
        fleet.hosts.put(control, &programs, "/opt/lab");
        fleet.cp("systemd-run --quiet --unit=hook python3 /opt/lab/hook.py /root/told");
        for node in 1..=nodes {
            let host = format!("h{node}");
            fleet.hosts.put(&host, &programs, "/opt/lab");
            let made = fleet.json("token create --label role=app");
            fleet.hosts.exec_ok(&host, made["install"].as_str().expect("an install line"));
        }
        fleet
    }

    /// The titles of all notices that were sent.
    fn told(&self) -> Vec<String> {
        let text = self.hosts.exec(self.control, "cat /root/told 2>/dev/null").out;
        let title = |line: &str| {
            let notice: Value = serde_json::from_str(line).expect(line);
            notice["title"].as_str().unwrap_or_default().to_owned()
        };
        text.lines().map(title).collect()
    }

    /// What was done to a service on a host, as the host says it, oldest first.
    fn acts(&self, host: &str, service: &str) -> Vec<Value> {
        let text = self.hosts.exec_ok(host, "hostler-agent why -o json");
        let all: Vec<Value> = serde_json::from_str(&text).expect(&text);
        let mut all: Vec<Value> = all.into_iter().filter(|act| act["service"] == service).collect();
        all.sort_by_key(|act| act["at"].as_u64());
        all
    }

    /// How a service stands on a host, as the host says it.
    fn standing(&self, host: &str, service: &str) -> Value {
        let ran = self.hosts.exec(host, "hostler-agent service ls -o json");
        let all: Vec<Value> = serde_json::from_str(&ran.out).unwrap_or_default();
        all.into_iter().find(|one| one["service"] == service).unwrap_or_default()
    }

    /// Once it runs there: its pid.
    fn wait_running(&self, host: &str, service: &str, most: Duration) -> u64 {
        wait_for(&format!("{service} to run on {host}"), most, || {
            let one = self.standing(host, service);
            let pid = one["pid"].as_u64().filter(|_| one["state"] == "running");
            pid.ok_or(one)
        })
    }

    /// Its programs, unit and settings on the host; agents find it at an address.
    fn put_control_plane(&self, address: &str) {
        let programs = ["hostler-control-plane", "hostlerctl", "hostler-agent", "hostler-executor", "hostler-plugin"];
        for name in programs {
            self.hosts.put(self.control, &program(name), &format!("/usr/bin/{name}"));
        }
        let unit = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd/hostler-control-plane.service");
        self.hosts.put(self.control, &unit, "/etc/systemd/system/hostler-control-plane.service");
        self.cp("useradd --system --home-dir /var/lib/hostler --shell /usr/sbin/nologin hostler 2>/dev/null; mkdir -p /etc/hostler");
        self.cp(&format!(
            "printf 'agents_listen = \"0.0.0.0:7443\"\\nadvertise = [\"{address}:7443\"]\\n' >/etc/hostler/control-plane.toml && systemctl daemon-reload"
        ));
    }

    fn start_control_plane(&self) {
        self.cp("systemctl enable --now hostler-control-plane");
        wait_for("the control plane", SOON, || {
            let ran = self.hosts.exec(self.control, "hostlerctl status");
            if ran.code == Some(0) {
                Ok(())
            } else {
                Err((ran, self.hosts.exec(self.control, "journalctl -u hostler-control-plane -n 20 --no-pager").out))
            }
        });
    }

    fn push_plugins(&self) {
        for name in ["http", "disk"] {
            self.hosts.put(self.control, &hostler_lab::plugin(name), &format!("/root/{name}.wasm"));
        }
        self.cp("hostlerctl plugin push /root/http.wasm && hostlerctl plugin push /root/disk.wasm");
    }

    fn cp(&self, script: &str) -> String {
        self.hosts.exec_ok(self.control, script)
    }

    fn json(&self, args: &str) -> Value {
        let text = self.cp(&format!("hostlerctl {args} -o json"));
        serde_json::from_str(&text).expect(&text)
    }

    fn apply(&self, spec: &str) {
        self.cp(&format!("cat >/root/spec.yaml <<'EOF'\n{spec}\nEOF\nhostlerctl apply -f /root/spec.yaml"));
    }

    /// By the one command that `token create` prints.
    fn install(&self, host: &str) {
        let made = self.json("token create --label role=web");
        let line = made["install"].as_str().expect("an install line");
        let ran = self.hosts.exec(host, line);
        assert_eq!(ran.code, Some(0), "install on {host}: {line}\n{ran:#?}");
        println!("{}", ran.out);
    }

    fn state(&self, node: &str) -> String {
        let nodes = self.json("node ls");
        let found = nodes.as_array().and_then(|nodes| nodes.iter().find(|one| one["name"] == node));
        found.and_then(|one| one["state"].as_str()).unwrap_or("absent").to_owned()
    }

    fn wait_state(&self, node: &str, state: &str, most: Duration) -> Duration {
        let started = Instant::now();
        wait_for(&format!("{node} to be {state}"), most, || {
            let seen = self.state(node);
            if seen == state { Ok(()) } else { Err(seen) }
        });
        started.elapsed()
    }

    fn wait_check(&self, node: &str, check: &str, state: &str, most: Duration) -> (Value, Duration) {
        let started = Instant::now();
        let found = wait_for(&format!("{check} on {node} to be {state}"), most, || {
            let checks = self.json(&format!("check ls --node {node}"));
            let found = checks.as_array().and_then(|all| all.iter().find(|one| one["check"] == check)).cloned();
            match found {
                Some(found) if found["state"] == state => Ok(found),
                other => Err(other),
            }
        });
        (found, started.elapsed())
    }

    /// As the control plane says it.
    fn wait_service(&self, service: &str, state: &str) {
        wait_for(&format!("{service} to be {state}"), SOON, || {
            let all = self.json("service ls");
            let found = all
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["service"] == service && one["state"] == state));
            if found { Ok(()) } else { Err(all) }
        });
    }

    /// Once something was done to a service on a host that reads so.
    fn wait_act(&self, host: &str, service: &str, deed: &str, words: &str, most: Duration) -> Value {
        wait_for(&format!("{service} on {host} to be {deed}: {words}"), most, || {
            let acts = self.acts(host, service);
            let found = acts.iter().rev().find(|act| act["deed"] == deed && act.to_string().contains(words));
            found.cloned().ok_or(acts)
        })
    }

    fn transitions(&self, node: &str, check: &str) -> Vec<String> {
        let text = self.cp(&format!("hostlerctl events -n 10000 --kind check --node {node} --subject {check} -o json"));
        let step = |line: &str| {
            let event: Value = serde_json::from_str(line).expect(line);
            event["message"].as_str().unwrap_or_default().split(':').next().unwrap_or_default().to_owned()
        };
        text.lines().map(step).collect()
    }
}

#[test]
fn hosts_installed_by_one_command_fail_crash_and_come_back() {
    let fleet = Fleet::installed();
    fleet.apply("check:\n  nginx: {where: role=web, plugin: http, every: 2s, fails: 2, with: {url: \"http://127.0.0.1/\"}}\n  disk: {where: all, plugin: disk, every: 5s, with: {warn: 99%, critical: 100%}}");
    for host in NODES {
        // The image has its packages' services disabled.
        fleet.hosts.exec_ok(host, "systemctl enable --now nginx");
        fleet.install(host);
    }
    for host in NODES {
        fleet.wait_state(host, "ready", SOON);
        fleet.wait_check(host, "nginx", "passing", SOON);
        fleet.wait_check(host, "disk", "passing", SOON);
    }
    // Under the shipped unit: not root, hardened, and the plugins run.
    let user = fleet.hosts.exec_ok("h1", "ps -o user= -p $(pgrep -xo hostler-agent)");
    assert_eq!(user.trim(), "hostler");

    fleet.hosts.exec_ok("h1", "systemctl stop nginx");
    let (check, took) = fleet.wait_check("h1", "nginx", "critical", Duration::from_secs(7));
    println!("critical {took:?} after nginx stopped: {}", check["summary"]);
    let event = fleet.cp("hostlerctl events -n 1 --kind check --node h1 -o json");
    assert!(event.contains("passing -> critical") && event.contains("refused"), "{event}");
    fleet.hosts.exec_ok("h1", "systemctl start nginx");
    fleet.wait_check("h1", "nginx", "passing", Duration::from_secs(8));

    // A crash of the whole host.
    assert_eq!(fleet.hosts.lab(&["kill", "h2"]).code, Some(0));
    let took = fleet.wait_state("h2", "lost", Duration::from_secs(10));
    println!("lost {took:?} after the crash");
    assert_eq!(fleet.hosts.lab(&["boot", "h2"]).code, Some(0));
    let took = fleet.wait_state("h2", "ready", SOON);
    println!("ready {took:?} after it was up");

    // A cut of a minute, and things that happen meanwhile.
    let before = fleet.transitions("h3", "nginx");
    assert_eq!(fleet.hosts.lab(&["cut", "h3"]).code, Some(0));
    let cut = Instant::now();
    let took = fleet.wait_state("h3", "lost", Duration::from_secs(10));
    println!("lost {took:?} after the cut");
    let local = |state: &str| {
        wait_for("the host's own view", SOON, || {
            let ran = fleet.hosts.exec("h3", "hostler-agent check -o json");
            let checks: Value = serde_json::from_str(&ran.out).unwrap_or_default();
            let found = checks
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["check"] == "nginx" && one["state"] == state));
            if found { Ok(()) } else { Err(ran) }
        });
    };
    fleet.hosts.exec_ok("h3", "systemctl stop nginx");
    local("critical");
    fleet.hosts.exec_ok("h3", "kill -9 $(systemctl show -P MainPID hostler-agent)");
    wait_for("systemd to start it again", SOON, || {
        let ran = fleet.hosts.exec("h3", "hostler-agent status");
        if ran.code == Some(0) { Ok(()) } else { Err(ran) }
    });
    fleet.hosts.exec_ok("h3", "systemctl start nginx");
    local("passing");
    std::thread::sleep(Duration::from_secs(60).saturating_sub(cut.elapsed()));
    assert_eq!(fleet.transitions("h3", "nginx"), before, "nothing passes a cut");
    assert_eq!(fleet.hosts.lab(&["heal", "h3"]).code, Some(0));
    let took = fleet.wait_state("h3", "ready", SOON);
    println!("ready {took:?} after the cut was healed");
    let expected: Vec<String> =
        before.into_iter().chain(["passing -> critical".into(), "critical -> passing".into()]).collect();
    wait_for("what happened during the cut", SOON, || {
        let seen = fleet.transitions("h3", "nginx");
        if seen == expected { Ok(()) } else { Err(seen) }
    });

    // Leaving.
    fleet.hosts.exec_ok("h1", "hostler-agent uninstall --yes");
    let rest = fleet.hosts.exec("h1", "ls /usr/bin/hostler-agent /etc/systemd/system/hostler-agent.service /var/lib/hostler-agent 2>/dev/null; getent passwd hostler");
    assert_eq!(rest.out.trim(), "", "uninstall leaves nothing behind");
}
