//! What playbooks put in place, for real: users, files with secrets in them, services told
//! of it, and a firewall that takes itself back where it locks its host out.

use super::{Fleet, SOON};
use hostler_lab::wait_for;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

const HOST: &str = "h1";
const STARTED: Duration = Duration::from_secs(60);
const REDIS: &str = "hunter22";
const POSTGRES: &str = "it's hunter33";
const LOCKED_OUT: &str = "flush ruleset
table inet locked {
  chain output {
    type filter hook output priority filter; policy accept;
    tcp dport 7443 drop
  }
}
";
const MORE: &str = "task:
  people:
    where: role=app
    steps:
      - {stop: redis}
      - {wait: 1s}
      - {start: redis}
      - {check: redis}
      - user: {name: shop, home: /opt/shop, groups: [adm]}
      - run: {command: \"echo ${node.name} $${HOME} $WHO; id -un\", user: shop, env: {WHO: \"${node.label.role}\"}}
  strong:
    where: role=app
    steps: [{user: {name: shop, home: /opt/shop, groups: [adm, shadow]}}]
  lock-out:
    where: role=app
    steps: [{firewall: {from: files/locked.nft, revert: 15s}}]
";

struct Hardening(Fleet);

impl Hardening {
    /// The example as it is, but for the label of its hosts.
    fn up() -> Self {
        let fleet = Fleet::of(1, &["tcp"]);
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/playbooks");
        fleet.hosts.put(fleet.control, &example, "/root/playbooks");
        fleet.cp("sed -i s/role=db/role=app/ /root/playbooks/playbooks.yaml");
        fleet.cp(&format!("printf %s '{REDIS}' | hostlerctl secret set redis"));
        fleet.cp(&format!("printf %s \"{POSTGRES}\" | hostlerctl secret set postgres"));
        fleet.cp("hostlerctl apply -f /root/playbooks --yes");
        for service in ["redis", "postgres"] {
            fleet.wait_running(HOST, service, STARTED);
            fleet.wait_check(HOST, service, "passing", STARTED);
        }
        Self(fleet)
    }

    fn host(&self, script: &str) -> String {
        self.0.hosts.exec_ok(HOST, script)
    }

    /// What became of it on the host.
    fn run(&self, task: &str, code: i32) -> Value {
        let ran = self.0.hosts.exec(self.0.control, &format!("hostlerctl run task {task} --yes"));
        println!("{}", ran.out);
        assert_eq!(ran.code, Some(code), "{ran:#?}");
        self.newest()
    }

    fn newest(&self) -> Value {
        let number = self.0.json("run ls")[0]["number"].as_u64().expect("a number");
        self.0.json(&format!("run show {number}"))["tasks"][0].clone()
    }

    fn ruleset(&self) -> String {
        self.host("nft -s list ruleset")
    }

    fn sets_passwords(&self) {
        let task = self.run("harden-redis", 0);
        assert_eq!(task["words"], "put /etc/redis/redis.conf; running", "{task:#}");
        assert_eq!(self.host("stat -c '%a %U' /etc/redis/redis.conf"), "640 redis\n");
        assert!(self.host("redis-cli ping 2>&1").contains("NOAUTH"));
        assert_eq!(self.host(&format!("REDISCLI_AUTH={REDIS} redis-cli ping")), "PONG\n");
        // Only what changes is done.
        let task = self.run("harden-redis", 0);
        assert_eq!(task["words"], "running", "{task:#}");

        self.run("harden-postgres", 0);
        self.host(&format!("PGPASSWORD=\"{POSTGRES}\" psql -h 127.0.0.1 -U postgres -c 'SELECT 1'"));
        assert_ne!(self.0.hosts.exec(HOST, "PGPASSWORD=x psql -h 127.0.0.1 -U postgres -c 'SELECT 1'").code, Some(0));
        let task = self.run("vacuum", 0);
        assert!(task["output"].as_str().is_some_and(|output| output.contains("vacuuming database")), "{task:#}");
        // Nobody reads them where tasks leave what is theirs.
        let seen = self.host("grep -rsE 'hunter22|hunter33' /var/log/hostler /var/lib/hostler-agent /tmp || true");
        assert_eq!(seen, "");
    }

    fn makes_users_and_stops_and_starts(&self) {
        self.0.cp(&format!(
            "cat >/root/playbooks/more.yaml <<'EOF'\n{MORE}EOF\n\
             cat >/root/playbooks/files/locked.nft <<'EOF'\n{LOCKED_OUT}EOF\n\
             hostlerctl apply -f /root/playbooks --yes"
        ));
        let before = self.0.wait_running(HOST, "redis", SOON);
        let task = self.run("people", 0);
        assert_eq!(task["output"], "h1 /opt/shop app\nshop\n", "{task:#}");
        assert!(task["words"].as_str().is_some_and(|words| words.contains("made the user shop")), "{task:#}");
        assert_ne!(self.0.wait_running(HOST, "redis", SOON), before);
        assert_eq!(self.host("id -nG shop"), "shop adm\n");
        assert_eq!(self.host("stat -c '%U' /opt/shop"), "shop\n");
        let task = self.run("strong", 1);
        assert_eq!(task["state"], "refused", "{task:#}");
        assert!(
            task["words"].as_str().is_some_and(|words| words.contains("group shadow: profile operate")),
            "{task:#}"
        );
        assert_eq!(self.host("id -nG shop"), "shop adm\n");
    }

    fn loads_a_firewall(&self) {
        let task = self.run("firewall", 0);
        assert_eq!(task["words"], "rules loaded; put /etc/nftables.conf", "{task:#}");
        assert!(self.ruleset().contains("policy drop"), "{}", self.ruleset());
        let task = self.run("firewall", 0);
        assert_eq!((&task["words"], &task["changed"]), (&"".into(), &false.into()), "{task:#}");
        assert_eq!(self.host("systemctl list-timers --all 'revert-*' --no-legend"), "");
    }

    fn takes_a_firewall_back_that_locks_it_out(&self) {
        let before = self.ruleset();
        let task = self.run("lock-out", 1);
        assert_eq!(task["state"], "failed", "{task:#}");
        let words = task["words"].as_str().unwrap_or_default();
        assert!(
            words.contains("did not reach its control plane within 15s, and the old ones were put back"),
            "{words}"
        );
        assert_eq!(self.ruleset(), before);

        // Whatever becomes of the agent meanwhile.
        self.0.cp("hostlerctl run task lock-out --yes --detach");
        wait_for("the rules to be loaded", SOON, || {
            let now = self.ruleset();
            if now.contains("7443") { Ok(()) } else { Err(now) }
        });
        self.host("systemctl stop hostler-agent");
        wait_for("the old rules", STARTED, || {
            let now = self.ruleset();
            if now == before { Ok(()) } else { Err(now) }
        });
        self.host("systemctl start hostler-agent");
        wait_for("the task to be over", STARTED, || {
            let task = self.newest();
            if task["state"] == "failed" { Ok(()) } else { Err(task) }
        });
        assert_eq!(self.ruleset(), before);
    }
}

#[test]
fn hosts_are_hardened_by_playbooks() {
    let hardening = Hardening::up();
    hardening.sets_passwords();
    hardening.makes_users_and_stops_and_starts();
    hardening.loads_a_firewall();
    hardening.takes_a_firewall_back_that_locks_it_out();
}
