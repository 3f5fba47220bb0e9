//! Units that are written from a spec, what is seen of services and their secrets on
//! the host, and logs that never fill its disk.

use super::{Fleet, SOON};
use hostler_lab::hosts::Hosts;
use hostler_lab::wait_for;
use std::time::Duration;

const HOST: &str = "h1";
const CONTROL: &str = "h2";
/// Open files are counted once a minute, logs looked at twice.
const IN_A_WHILE: Duration = Duration::from_secs(100);
const PLAIN: &str = "shop: {where: role=web, type: systemd, user: shop, home: /opt/shop, dirs: [logs], command: /usr/bin/python3 -m http.server 8099, env: {COLOUR: blue}}";
const SECRET: &str = "vault: {where: role=web, type: systemd, user: shop, home: /opt/shop, command: /usr/bin/sleep infinity, env: {COLOUR: red, KEY: \"${secret:key}\"}}";
const SECOND: &str = "second: {where: role=web, home: /opt/second, command: /usr/bin/python3 -m http.server 8099, port: 8099, user: shop}";
const TALKER: &str = "talker: {where: role=web, home: /opt/talker, user: shop, dirs: [logs], command: \"/bin/sh -c 'while :; do seq 20000; seq 20000 > logs/a.log; sleep 1; done'\", logs: {path: logs/*.log, rotate: 64KiB, keep: 2}}";
const CRON: &str = "cron: {where: role=web, type: systemd, user: shop, command: /usr/bin/sleep infinity}";

fn apply(fleet: &Fleet, services: &[&str]) {
    let services = services.join("\n  ");
    fleet.cp(&format!(
        "cat >/root/spec.yaml <<'EOF'\nsystem: {{name: shop}}\nsecret: {{key: {{}}}}\nservice:\n  {services}\nEOF\nhostlerctl apply -f /root/spec.yaml --yes"
    ));
}

fn acts(fleet: &Fleet, service: &str) -> String {
    fleet.json(&format!("service history {service}")).to_string()
}

fn wait_act(fleet: &Fleet, service: &str, words: &str) {
    wait_for(&format!("{service}: {words}"), SOON, || {
        let seen = acts(fleet, service);
        if seen.contains(words) { Ok(()) } else { Err(seen) }
    });
}

#[test]
fn units_secrets_and_logs_are_as_the_spec_says() {
    let fleet = Fleet { hosts: Hosts::up(2, super::PACKAGES), control: CONTROL };
    let host = |script: &str| fleet.hosts.exec_ok(HOST, script);
    fleet.put_control_plane(&fleet.hosts.address(CONTROL));
    fleet.start_control_plane();
    fleet.install(HOST);
    fleet.cp("echo hunter22 | hostlerctl secret set key");
    host(
        "mkdir -p /etc/systemd/system && printf '[Service]\\nExecStart=/bin/sleep 9\\n' >/etc/systemd/system/cron.service",
    );
    apply(&fleet, &[PLAIN, SECRET, TALKER, CRON]);
    for service in ["shop", "vault", "talker"] {
        fleet.wait_service(service, "running");
    }

    // One stands by itself; with a secret in it, nobody but the agent starts it.
    assert_eq!(host("systemctl is-enabled shop"), "enabled\n");
    assert_eq!(fleet.hosts.exec(HOST, "systemctl is-enabled vault").out, "disabled\n");
    assert!(host("cat /etc/systemd/system/vault.service").contains("COLOUR=red"));
    assert!(host("tr '\\0' '\\n' </proc/$(systemctl show -P MainPID vault)/environ").contains("KEY=hunter22"));
    let seen = host("systemctl show vault; systemctl cat vault; grep -rs hunter22 /etc /var /tmp /opt || true");
    assert!(!seen.contains("hunter22"), "{seen}");
    assert_eq!(host("stat -c '%a %U' /run/hostler-executor/env/vault.service"), "600 root\n");
    assert_eq!(
        fleet.hosts.exec(HOST, "su -s /bin/sh hostler -c 'cat /run/hostler-executor/env/vault.service'").out,
        ""
    );

    // Somebody else's unit is nobody's to write.
    wait_act(&fleet, "cron", "was not written by Hostler");
    assert!(host("cat /etc/systemd/system/cron.service").contains("sleep 9"));

    // What they use, as only root sees it of others.
    host(
        "nohup python3 -c 'import socket,time; s=socket.create_connection((\"127.0.0.1\",8099)); time.sleep(300)' >/dev/null 2>&1 &",
    );
    wait_for("open files and connections", IN_A_WHILE, || {
        let all = fleet.json("service ls shop");
        let usage = &all[0]["usage"];
        if usage["open_files"].as_u64() > Some(3) && usage["connections"] == 1 { Ok(()) } else { Err(all) }
    });

    // Whoever has the port is named.
    apply(&fleet, &[PLAIN, SECRET, TALKER, SECOND]);
    wait_act(&fleet, "second", "port 8099 is taken by python3 (pid ");

    // Both what it prints and what it writes itself is begun anew, and only so much is kept.
    wait_for("logs to be rotated", IN_A_WHILE, || {
        let names = host("ls /opt/talker/logs; find / -xdev -name 'talker-0.log*' 2>/dev/null");
        let has = |name: &str| names.contains(name);
        if has("a.log.1.gz") && has("a.log.2.gz") && has("talker-0.log.1.gz") && has("talker-0.log.2.gz") {
            assert!(!names.contains("log.3"), "{names}");
            Ok(())
        } else {
            Err(names)
        }
    });

    // What leaves the spec leaves nothing behind.
    apply(&fleet, &[SECRET]);
    wait_for("the unit to be gone", SOON, || {
        let ran = fleet.hosts.exec(HOST, "systemctl cat shop");
        if ran.code == Some(0) { Err(ran) } else { Ok(()) }
    });
    host("systemctl is-active vault");
    // A service whose spec goes while no agent looks.
    host("systemctl stop hostler-agent");
    fleet.cp("hostlerctl delete system shop --yes");
    host("systemctl start hostler-agent");
    wait_for("the unit to be gone", SOON, || {
        let ran = fleet.hosts.exec(HOST, "ls /etc/systemd/system/vault.service /run/systemd/system/vault.service.d /run/hostler-executor/env/vault.service");
        if ran.out.is_empty() { Ok(()) } else { Err(ran) }
    });
}
