//! A playbook for real: packages from a repository, a reboot where one is needed, and
//! what runs there afterwards; one host at a time, until one fails.

use super::{Fleet, HOOK};
use hostler_lab::wait_for;
use serde_json::Value;
use std::time::Duration;

const HOSTS: [&str; 3] = ["h1", "h2", "h3"];
/// Asks for a reboot.
const NEEDY: &str = "h2";
/// A host boots, its agent comes back, its service is well.
const BOOTED: Duration = Duration::from_secs(90);

fn spec() -> String {
    format!(
        "{HOOK}service:
  shelf: {{where: role=app, command: /usr/bin/python3 -m http.server 8080 --directory /usr/share/shelf}}
check:
  shelf: {{where: role=app, plugin: http, every: 1s, fails: 2, timeout: 2s, with: {{url: \"http://127.0.0.1:8080/version.txt\"}}}}
task:
  patch:
    where: role=app
    max: 1
    max_errors: 0
    steps: [{{packages: all}}, {{reboot: if-needed}}, {{check: {{name: shelf, within: 30s}}}}]
"
    )
}

struct Playbook {
    fleet: Fleet,
}

impl Playbook {
    /// Hosts that know one repository, on the control plane's host, and have the package.
    fn up() -> Self {
        let playbook = Self { fleet: Fleet::of(HOSTS.len(), &["http"]) };
        playbook.publish("1.0");
        let fleet = &playbook.fleet;
        fleet.cp("systemd-run --quiet --unit=repository python3 -m http.server 8090 --directory /srv/repository");
        wait_for("the repository", BOOTED, || {
            let ran = fleet.hosts.exec(fleet.control, "curl -sf http://127.0.0.1:8090/Packages");
            if ran.code == Some(0) { Ok(()) } else { Err(ran) }
        });
        let source = format!("deb [trusted=yes] http://{}:8090/ ./", fleet.hosts.address(fleet.control));
        for host in HOSTS {
            fleet.hosts.exec_ok(
                host,
                &format!(
                    "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* && \
                     echo '{source}' >/etc/apt/sources.list.d/lab.list && \
                     apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install shelf"
                ),
            );
        }
        fleet.hosts.exec_ok(NEEDY, "touch /etc/shelf.reboot");
        fleet.apply(&spec());
        playbook.wait_well();
        playbook
    }

    fn publish(&self, version: &str) {
        self.fleet.cp(&format!("sh /opt/lab/repository.sh {version}"));
    }

    fn wait_well(&self) {
        for host in HOSTS {
            self.fleet.wait_running(host, "shelf", BOOTED);
            self.fleet.wait_check(host, "shelf", "passing", BOOTED);
        }
    }

    fn versions(&self) -> Vec<String> {
        let version = |host| self.fleet.hosts.exec_ok(host, "dpkg-query -W -f '${Version}' shelf");
        HOSTS.into_iter().map(version).collect()
    }

    fn boot(&self, host: &str) -> String {
        self.fleet.hosts.exec_ok(host, "cat /proc/sys/kernel/random/boot_id")
    }

    fn run(&self, number: u64) -> Value {
        self.fleet.json(&format!("run show {number}"))
    }

    fn of<'a>(run: &'a Value, host: &str) -> &'a Value {
        let tasks = run["tasks"].as_array().expect("tasks");
        tasks.iter().find(|task| task["node"] == host).expect("a task of this host")
    }

    fn says_what_it_would_do(&self) {
        let would = self.fleet.cp("hostlerctl run task patch --dry-run");
        for words in [
            "task patch on 3 nodes, one at a time.  Nothing was done.",
            "packages all",
            "reboot if-needed",
            "check shelf",
            "h1, h2, h3",
        ] {
            assert!(would.contains(words), "{words}: {would}");
        }
        assert_eq!(self.versions(), ["1.0"; 3]);
    }

    fn updates_all_and_reboots_the_one_that_needs_it(&self) {
        // Somebody's own settings stay.
        self.fleet.hosts.exec_ok("h1", "echo mine >/etc/shelf/shelf.conf");
        self.publish("2.0");
        let before = HOSTS.map(|host| self.boot(host));
        self.says_what_it_would_do();
        let said = self.fleet.cp("hostlerctl run task patch --yes --reason 'the weekly update'");
        println!("{said}");
        let after = self.boots_again(&before);
        let run = self.run(1);
        assert_eq!(run["run"]["state"], "succeeded", "{run:#}\n{said}");
        assert_eq!(self.versions(), ["2.0"; 3]);
        let again: Vec<bool> = before.iter().zip(&after).map(|(before, after)| before != after).collect();
        assert_eq!(again, HOSTS.map(|host| host == NEEDY), "who was rebooted\n{run:#}");
        assert_eq!(self.fleet.hosts.exec_ok("h1", "cat /etc/shelf/shelf.conf"), "mine\n");
        for host in HOSTS {
            let task = Self::of(&run, host);
            let reboot = if host == NEEDY { "rebooted" } else { "no reboot is needed" };
            assert_eq!(task["words"], format!("upgraded shelf 1.0 -> 2.0; {reboot}"), "{run:#}");
            assert_eq!((&task["changed"], &task["steps_done"]), (&true.into(), &3.into()), "{run:#}");
        }
        Self::one_at_a_time(&run);
        self.wait_well();
    }

    /// The lab has to hear of a host that is up again; then the boot of each.
    fn boots_again(&self, before: &[String; 3]) -> [String; 3] {
        wait_for(&format!("{NEEDY} to be up again"), BOOTED, || {
            let ran = self.fleet.hosts.lab(&["wait", NEEDY]);
            let now = self.fleet.hosts.exec(NEEDY, "cat /proc/sys/kernel/random/boot_id");
            let other = now.code == Some(0) && before.iter().all(|before| *before != now.out);
            if other { Ok(()) } else { Err((ran, now)) }
        });
        HOSTS.map(|host| self.boot(host))
    }

    fn one_at_a_time(run: &Value) {
        let mut spans: Vec<(u64, u64)> = HOSTS
            .iter()
            .map(|host| Self::of(run, host))
            .map(|task| (task["began_ms"].as_u64().expect("began"), task["ended_ms"].as_u64().expect("ended")))
            .collect();
        spans.sort_unstable();
        for pair in spans.windows(2) {
            // Each host has a clock of its own, and they are of one machine.
            assert!(pair[0].1 <= pair[1].0, "two at once: {run:#}");
        }
    }

    fn changes_nothing_where_nothing_is_to_be_done(&self) {
        let before = HOSTS.map(|host| self.boot(host));
        self.fleet.cp("hostlerctl run task patch --yes");
        let run = self.run(2);
        for host in HOSTS {
            let task = Self::of(&run, host);
            assert_eq!((&task["state"], &task["changed"]), (&"succeeded".into(), &false.into()), "{run:#}");
            assert_eq!(task["words"], "nothing to upgrade; no reboot is needed", "{run:#}");
        }
        assert_eq!(before, HOSTS.map(|host| self.boot(host)));
    }

    fn stops_at_the_first_that_fails(&self) {
        self.fleet.hosts.exec_ok(NEEDY, "rm /etc/shelf.reboot && touch /etc/shelf.breaks");
        self.publish("3.0");
        let before = HOSTS.map(|host| self.boot(host));
        let ran = self.fleet.hosts.exec(self.fleet.control, "hostlerctl run task patch --yes");
        println!("{}", ran.out);
        assert_eq!(ran.code, Some(1), "{ran:#?}");
        assert_eq!(self.versions(), ["3.0", "3.0", "2.0"]);
        assert_eq!(before, HOSTS.map(|host| self.boot(host)));
        let run = self.run(3);
        let states = HOSTS.map(|host| Self::of(&run, host)["state"].as_str().unwrap_or_default().to_owned());
        assert_eq!(states, ["succeeded", "failed", "skipped"], "{run:#}");
        let story = self.fleet.cp("hostlerctl why run/3");
        println!("{story}");
        for words in ["h2", "step 3 of 3, check shelf: it does not pass within 30s", "404"] {
            assert!(story.contains(words), "{words}: {story}");
        }
    }

    /// A source that does not answer is no reason to say that all is well.
    fn says_why_packages_can_not_be_had(&self) {
        self.fleet.cp("systemctl stop repository");
        let ran = self.fleet.hosts.exec(self.fleet.control, "hostlerctl run task patch --yes");
        println!("{}", ran.out);
        assert_eq!(ran.code, Some(1), "{ran:#?}");
        let run = self.run(4);
        let task = Self::of(&run, "h1");
        let words = task["words"].as_str().unwrap_or_default();
        let why = "step 1 of 3, packages all: what can be upgraded is not known: Failed to fetch http://";
        assert!(words.starts_with(why), "{run:#}");
        assert!(task["output"].as_str().is_some_and(|output| output.contains(":8090")), "{run:#}");
    }
}

#[test]
fn hosts_are_updated_one_at_a_time_until_one_fails() {
    let playbook = Playbook::up();
    playbook.updates_all_and_reboots_the_one_that_needs_it();
    playbook.changes_nothing_where_nothing_is_to_be_done();
    playbook.stops_at_the_first_that_fails();
    playbook.says_why_packages_can_not_be_had();
}
