//! A control plane that burned down comes back on another host.

use super::{Fleet, SOON};
use hostler_lab::hosts::Hosts;
use std::path::Path;
use std::time::Instant;

const OLD: &str = "h3";
const NEW: &str = "h4";
const NODES: [&str; 2] = ["h1", "h2"];
/// As a site would have it: a name, and whoever stands behind it.
const NAME: &str = "control.example";

/// The name's new address, everywhere.
fn resolve(fleet: &Fleet, to: &str) {
    for host in NODES.iter().chain(&[OLD, NEW]).filter(|host| to != NEW || **host != OLD) {
        let address = fleet.hosts.address(to);
        fleet.hosts.exec_ok(host, &format!("sed -i '/{NAME}/d' /etc/hosts; echo {address} {NAME} >>/etc/hosts"));
    }
}

#[test]
fn a_backup_comes_back_on_another_host_and_every_node_with_it() {
    let mut fleet = Fleet { hosts: Hosts::up(4, "openssl"), control: OLD };
    resolve(&fleet, OLD);
    fleet.put_control_plane(NAME);
    fleet.start_control_plane();
    fleet.push_plugins();
    fleet.apply("system: {name: shop}\ncheck:\n  disk: {where: all, plugin: disk, every: 5s, with: {warn: 99%, critical: 100%}}");
    for host in NODES {
        fleet.install(host);
    }
    for host in NODES {
        fleet.wait_state(host, "ready", SOON);
        fleet.wait_check(host, "disk", "passing", SOON);
    }
    let kept = ["get system shop -o yaml", "system history shop -o json", "plugin ls -o json"];
    let seen = |fleet: &Fleet| kept.map(|command| fleet.cp(&format!("hostlerctl {command}")));
    let before = seen(&fleet);
    let ids = |fleet: &Fleet| -> Vec<(String, String)> {
        let nodes = fleet.json("node ls");
        let id = |node: &serde_json::Value| (node["name"].to_string(), node["id"].to_string());
        nodes.as_array().into_iter().flatten().map(id).collect()
    };
    let known = ids(&fleet);
    assert_eq!(known.len(), NODES.len());

    fleet.cp("echo 'correct horse battery staple' >/root/pass && hostlerctl system backup /root/backup --passphrase-file /root/pass");
    fleet.cp("! grep -aq 'BEGIN PRIVATE KEY' /root/backup");
    let bytes = std::env::temp_dir().join(format!("hostler-backup-{}", std::process::id()));
    let carried = fleet.hosts.exec_ok(OLD, "base64 -w0 /root/backup");
    std::fs::write(&bytes, &carried).expect("carry the backup");
    let credential = fleet.cp("cat /var/lib/hostler/contexts.toml");
    // Ordered after the backup: the new control plane must still be obeyed.
    fleet.apply("system: {name: shop}\ncheck:\n  disk: {where: all, plugin: disk, every: 6s, with: {warn: 98%, critical: 100%}}");
    assert_eq!(fleet.hosts.lab(&["kill", OLD]).code, Some(0));

    fleet.control = NEW;
    fleet.put_control_plane(NAME);
    carry(&fleet, &bytes);
    let _ = std::fs::remove_file(&bytes);
    let wrong = fleet.hosts.exec(NEW, "hostler-control-plane restore /root/backup");
    assert!(wrong.code != Some(0) && wrong.err.contains("--passphrase-file"), "{wrong:#?}");
    let said = fleet.cp("echo 'correct horse battery staple' >/root/pass && hostler-control-plane restore /root/backup --passphrase-file /root/pass");
    assert!(said.contains("it must answer there") && said.contains(NAME), "{said}");
    println!("{said}");
    fleet.cp("hostler-control-plane store verify");
    resolve(&fleet, NEW);
    fleet.cp(&format!("cat >/root/contexts.toml <<'EOF'\n{credential}\nEOF"));
    fleet.start_control_plane();

    let begun = Instant::now();
    for host in NODES {
        fleet.wait_state(host, "ready", SOON);
        fleet.wait_check(host, "disk", "passing", SOON);
    }
    println!("every node ready {:?} after the new control plane", begun.elapsed());
    assert_eq!(seen(&fleet), before);
    let event = fleet.cp("hostlerctl events -n 100 --kind server");
    assert!(event.contains("restored what was at"), "{event}");
    assert_eq!(ids(&fleet), known, "nobody joined again");
    // The operator's old credential still counts.
    fleet.cp("hostlerctl --context-file /root/contexts.toml node ls");
    // Root looks it over, and it starts as before under its own user.
    fleet.cp("systemctl stop hostler-control-plane && hostler-control-plane store verify && hostler-control-plane store compact");
    fleet.start_control_plane();
    for host in NODES {
        fleet.wait_state(host, "ready", SOON);
    }
    // What is ordered now is obeyed.
    fleet.apply("system: {name: shop}\ncheck:\n  disk: {where: all, plugin: disk, every: 5s, with: {warn: 99%, critical: 100%}}\n  root: {where: all, plugin: disk, every: 5s, with: {warn: 99%, critical: 100%}}");
    for host in NODES {
        fleet.wait_check(host, "root", "passing", SOON);
    }
}

fn carry(fleet: &Fleet, bytes: &Path) {
    fleet.hosts.put(NEW, bytes, "/root/backup.base64");
    fleet.cp("base64 -d /root/backup.base64 >/root/backup");
}
