//! Files that come back from real hosts, where systemd is the parent of what runs.

use super::{Fleet, SOON};
use hostler_lab::wait_for;
use serde_json::Value;

const HOSTS: [&str; 2] = ["h1", "h2"];
/// A report of its own on each host, and what nobody without rights may read.
const SCRIPT: &str = "uname -n >report.txt; ln -s /etc/hostname link; pwd";

fn problem<'a>(ran: &'a Value, host: &str, path: &str) -> &'a Value {
    let files = ran["files"].as_array().expect("files");
    let one = files.iter().find(|file| file["node"] == host && file["path"] == path);
    &one.expect("a file that was asked for")["problem"]
}

#[test]
fn files_come_back_from_real_hosts() {
    let fleet = Fleet::of(HOSTS.len(), &[]);
    for host in HOSTS {
        fleet.wait_state(host, "ready", SOON);
        fleet.hosts.exec_ok(host, "printf 'profile = \"full\"\\n' >/etc/hostler/policy.toml");
    }
    let fetch = "--fetch report.txt --fetch link --fetch missing --fetch /etc/shadow --fetch /etc/hostname";
    let ran = fleet
        .hosts
        .exec(fleet.control, &format!("hostlerctl run --yes -o json {fetch} --into /root/files -- '{SCRIPT}'"));
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    let told: Value = serde_json::from_str(&ran.out).expect(&ran.out);
    assert_eq!(told["run"]["state"], "succeeded", "{told:#}");
    for host in HOSTS {
        let name = format!("{host}\n");
        for file in ["report.txt", "hostname"] {
            assert_eq!(fleet.cp(&format!("cat /root/files/{host}/{file}")), name, "{told:#}");
        }
        for (path, words) in [
            ("/etc/shadow", "its user may not read it"),
            ("link", "a symlink leads there"),
            ("missing", "no such file"),
        ] {
            let problem = problem(&told, host, path).as_str().unwrap_or_default();
            assert!(problem.contains(words), "{host}: {path}: {told:#}");
        }
    }
    let files = fleet.cp("cd /root/files && find . -type f | sort | xargs");
    assert_eq!(files.trim(), "./h1/hostname ./h1/report.txt ./h2/hostname ./h2/report.txt");
    for host in HOSTS {
        wait_for(&format!("nothing to be left on {host}"), SOON, || {
            let left = fleet.hosts.exec_ok(host, "ls /var/log/hostler");
            if left.contains(".file") || left.contains(".folder") { Err(left) } else { Ok(()) }
        });
    }
}
