//! Work across real hosts: a rolling restart under a budget, seen from outside, through a
//! power cut and the death of the control plane; and commands, of which each host ends
//! in another way.

use super::{Fleet, HOOK, SOON};
use hostler_lab::wait_for;
use serde_json::Value;
use std::time::Duration;

/// A host boots, its agent comes back, its service is well.
const BOOTED: Duration = Duration::from_secs(90);
const ROLLED: Duration = Duration::from_secs(300);

fn size(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn spec() -> String {
    format!(
        "{HOOK}service:
  web: {{where: role=app, command: /usr/bin/python3 -m http.server 8080, live: [web]}}
check:
  web: {{service: web, plugin: http, every: 1s, fails: 2, timeout: 2s, with: {{url: \"http://127.0.0.1:8080/\"}}}}
budget:
  app: {{where: role=app, max_down: 1}}
task:
  roll: {{where: role=app, max: 3, max_errors: 0, steps: [{{restart: web}}, {{check: web}}]}}
"
    )
}

struct Roll {
    fleet: Fleet,
    hosts: Vec<String>,
}

impl Roll {
    fn up() -> Self {
        let hosts: Vec<String> = (1..=size("HOSTLER_ROLL_HOSTS", 6)).map(|number| format!("h{number}")).collect();
        let fleet = Fleet::of(hosts.len(), &["http"]);
        fleet.apply(&spec());
        for host in &hosts {
            fleet.wait_running(host, "web", BOOTED);
            fleet.wait_check(host, "web", "passing", BOOTED);
        }
        Self { fleet, hosts }
    }

    fn wait_run(&self, number: u64, what: &str, is: impl Fn(&Value) -> bool, most: Duration) -> Value {
        wait_for(&format!("run {number} {what}"), most, || {
            let ran = self.fleet.hosts.exec(self.fleet.control, &format!("hostlerctl run show {number} -o json"));
            let run: Value = serde_json::from_str(&ran.out).unwrap_or_default();
            if is(&run) { Ok(run) } else { Err((run, ran.err)) }
        })
    }

    fn poll(&self) {
        let addresses: Vec<String> =
            self.hosts.iter().map(|host| format!("{}:8080", self.fleet.hosts.address(host))).collect();
        self.fleet.cp(&format!(
            "systemd-run --quiet --unit=poll python3 /opt/lab/poll.py /root/polled {}",
            addresses.join(" ")
        ));
    }

    /// Who did not answer, at each change.
    fn polled(&self) -> Vec<Vec<String>> {
        let text = self.fleet.cp("cat /root/polled");
        let down = |line: &str| {
            let told: Value = serde_json::from_str(line).expect(line);
            let names = told["down"].as_array().expect("names").iter();
            names.map(|name| name.as_str().expect("a name").to_owned()).collect()
        };
        text.lines().map(down).collect()
    }

    fn rolls_through_a_power_cut_and_a_dead_control_plane(&self) {
        let before: Vec<u64> = self.hosts.iter().map(|host| self.fleet.wait_running(host, "web", SOON)).collect();
        self.poll();
        self.fleet.cp("hostlerctl run task roll --yes --detach --reason 'new certificate'");
        // Whoever is at it now loses its power.
        let at_it = |run: &Value| {
            let tasks = run["tasks"].as_array()?;
            let done = tasks.iter().filter(|task| task["state"] == "succeeded").count();
            let running = tasks.iter().find(|task| task["state"] == "running" || task["state"] == "accepted")?;
            (done >= 1).then(|| running["node"].as_str().unwrap_or_default().to_owned())
        };
        let run = self.wait_run(1, "to be at its second node", |run| at_it(run).is_some(), SOON);
        let victim = at_it(&run).expect("somebody");
        assert_eq!(self.fleet.hosts.lab(&["kill", &victim]).code, Some(0));
        self.fleet.cp("systemctl kill -s KILL hostler-control-plane");
        assert_eq!(self.fleet.hosts.lab(&["boot", &victim]).code, Some(0));
        self.fleet.start_control_plane();
        let run = self.wait_run(1, "to be over", |run| run["run"]["ended_ms"] != 0 && !run.is_null(), ROLLED);
        let story = self.fleet.cp("hostlerctl why run/1");
        println!("{story}");
        assert_eq!(run["run"]["state"], "succeeded", "{run:#}\n{story}");
        assert_eq!(run["run"]["tasks"]["succeeded"], self.hosts.len(), "{run:#}");
        assert!(story.contains("budget app: 1 of 1 down: "), "{story}");
        for (host, before) in self.hosts.iter().zip(before) {
            let now = self.fleet.wait_running(host, "web", SOON);
            assert_ne!(now, before, "{host} was not restarted");
        }
        self.fleet.cp("systemctl stop poll");
        let polled = self.polled();
        let worst = polled.iter().map(Vec::len).max().unwrap_or_default();
        println!("{} changes seen from outside; at most {worst} down at once", polled.len());
        assert!(worst == 1, "more than one was down: {polled:?}");
    }

    fn commands_end_each_in_its_way(&self) {
        let [well, fails, hangs, away, ..] = self.hosts.as_slice() else { panic!("four hosts at least") };
        // A host's own word: free commands are not for everybody.
        let ran = self.fleet.hosts.exec(self.fleet.control, &format!("hostlerctl run --node {well} -- uname -n"));
        assert_eq!(ran.code, Some(1), "{ran:#?}");
        assert!(ran.out.contains("refused") && ran.out.contains("/etc/hostler/policy.toml"), "{ran:#?}");
        for host in &self.hosts {
            self.fleet.hosts.exec_ok(host, "printf 'profile = \"full\"\\n' >/etc/hostler/policy.toml");
        }
        let ran = self.fleet.cp(&format!("hostlerctl run --node {well} -- uname -n"));
        assert!(ran.starts_with(&format!("{well} said:\n  {well}\n")), "{ran}");

        self.fleet.hosts.exec_ok(hangs, "touch /tmp/hang && chmod 644 /tmp/hang");
        self.fleet.hosts.exec_ok(fails, "touch /tmp/fail && chmod 644 /tmp/fail");
        assert_eq!(self.fleet.hosts.lab(&["cut", away]).code, Some(0));
        self.fleet.wait_state(away, "lost", SOON);
        let script = "test -e /tmp/hang && exec sleep 611; test -e /tmp/fail && { echo no; exit 3; }; echo fine";
        let ran = self
            .fleet
            .hosts
            .exec(self.fleet.control, &format!("hostlerctl run --yes --timeout 5s -o json -- '{script}'"));
        assert_eq!(ran.code, Some(1), "{ran:#?}");
        let run: Value = serde_json::from_str(&ran.out).expect(&ran.out);
        let of = |host: &String| {
            let tasks = run["tasks"].as_array().expect("tasks");
            tasks.iter().find(|task| task["node"] == host.as_str()).cloned().unwrap_or_default()
        };
        assert_eq!((&of(well)["state"], &of(well)["output"]), (&"succeeded".into(), &"fine\n".into()), "{run:#}");
        assert_eq!((&of(fails)["state"], &of(fails)["exit"]), (&"failed".into(), &3.into()), "{run:#}");
        assert_eq!(of(hangs)["state"], "timed-out", "{run:#}");
        assert_eq!(of(away)["state"], "undelivered", "{run:#}");
        let left = self.fleet.hosts.exec(hangs, "pgrep -x sleep");
        assert_ne!(left.code, Some(0), "what hung goes on: {left:#?}");
        assert_eq!(self.fleet.hosts.lab(&["heal", away]).code, Some(0));
        self.fleet.wait_state(away, "ready", BOOTED);

        // An agent that dies in the middle loses nothing, and begins nothing twice.
        self.fleet.cp(&format!("hostlerctl run --node {well} --detach -- 'echo once >>/tmp/once; sleep 4; echo done'"));
        wait_for("the command to run", SOON, || {
            let ran = self.fleet.hosts.exec(well, "cat /tmp/once");
            if ran.code == Some(0) { Ok(()) } else { Err(ran) }
        });
        self.fleet.hosts.exec_ok(well, "pkill -9 -xo hostler-agent");
        let number = self.fleet.json("run ls")[0]["number"].as_u64().expect("a number");
        let run = self.wait_run(number, "to be over", |run| run["run"]["state"] == "succeeded", SOON + SOON);
        assert_eq!(run["tasks"][0]["output"], "done\n", "{run:#}");
        assert_eq!(self.fleet.hosts.exec_ok(well, "cat /tmp/once"), "once\n");
    }
}

#[test]
fn work_goes_across_hosts_within_its_budget() {
    let roll = Roll::up();
    roll.rolls_through_a_power_cut_and_a_dead_control_plane();
    roll.commands_end_each_in_its_way();
}
