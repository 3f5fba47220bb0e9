//! Secrets, from whoever sets them to the plugin that needs them, and nowhere else.

use hostler_lab::{Agent, ControlPlane, program, wait_for};
use hostler_types::plugin::embed_manifest;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
const PLANTED: &str = "planted-b7Qx93kd-value";
const ROTATED: &str = "planted-second-c8Ry04le";
/// The plugin says the path that it may not read, the secret in it.
const SPEC: &str = r#"
secret: {token: {}}
check:
  echo: {where: role=web, plugin: hostile, every: 1s, fails: 1, with: {does: read, target: "/${secret:token}/x"}}
  reveal: {where: role=web, plugin: hostile, every: 1s, fails: 1, with: {does: reveal, target: token}}
"#;

fn plugin(control_plane: &ControlPlane, grants: &str) {
    let built = std::fs::read(hostler_lab::plugin("fixtures/hostile")).unwrap();
    let manifest = format!("name = \"hostile\"\nversion = \"1.0.0\"\nworld = \"check\"\n[grants]\n{grants}\n");
    let file = control_plane.path("hostile.wasm");
    std::fs::write(&file, embed_manifest(&built, &manifest).unwrap()).unwrap();
    control_plane.ctl_ok(&["plugin", "push", file.to_str().unwrap()]);
}

/// As `printf VALUE | hostlerctl ...` does it.
fn piped(control_plane: &ControlPlane, args: &[&str], value: &str) -> (Option<i32>, String) {
    let mut command = Command::new(program("hostlerctl"));
    command.args(args).env("HOSTLER_CONTEXT_FILE", control_plane.context_file());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(value.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn says(control_plane: &ControlPlane, check: &str, words: &str) -> serde_json::Value {
    wait_for(&format!("{check} to say {words:?}"), SOON, || {
        let seen = control_plane.check("web1", check);
        if seen["summary"].as_str().is_some_and(|text| text.contains(words)) { Ok(seen) } else { Err(seen) }
    })
}

/// Files below these folders that hold the bytes.
fn found(folders: &[PathBuf], value: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = folders.to_vec();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().flatten().map(|entry| entry.path()));
        } else if path.is_file() {
            let bytes = std::fs::read(&path).unwrap_or_default();
            if bytes.windows(value.len()).any(|part| part == value.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[test]
fn a_secret_reaches_the_check_that_needs_it_and_no_file_no_log_and_no_screen() {
    let mut control_plane = ControlPlane::started();
    plugin(&control_plane, "secrets = [\"token\"]\nreveal = [\"token\"]");
    control_plane.apply(SPEC);
    let mut agent = Agent::joined(&control_plane, "web1", &["role=web"]);
    let other = Agent::joined(&control_plane, "db1", &["role=db"]);
    says(&control_plane, "echo", "this host has no secret token: hostlerctl secret set token");
    let listed = control_plane.ctl_ok(&["secret", "ls"]);
    assert!(listed.contains("no value") && listed.contains("hostlerctl secret set token"), "{listed}");

    let (code, said) = piped(&control_plane, &["secret", "set", "token"], &format!("{PLANTED}\n"));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("token  version 1; goes to 1 node now: check/echo, check/reveal"), "{said}");
    says(&control_plane, "echo", "denied: grants.files = [\"/(secret)/x\"]");
    says(&control_plane, "reveal", "(secret)");
    control_plane.wait_node("db1", "ready", SOON);

    // Everything that was ever written, and all that can be asked.
    let plain = control_plane.path("plain.backup");
    control_plane.ctl_ok(&["system", "backup", plain.to_str().unwrap()]);
    let unpacked = control_plane.path("unpacked");
    std::fs::create_dir(&unpacked).unwrap();
    let tar = Command::new("tar").arg("--zstd").arg("-xf").arg(&plain).arg("-C").arg(&unpacked).status().unwrap();
    assert!(tar.success());
    let folders = [&control_plane.folder, &agent.folder, &other.folder].map(|one| one.path().to_owned());
    assert_eq!(found(&folders, PLANTED), [""; 0]);
    assert!(!unpacked.join("secrets.key").exists(), "a backup that anybody reads has the key");
    let shown = ["node show web1", "check show echo", "check ls", "events -n 1000", "secret ls", "get check"];
    for line in shown {
        let args: Vec<&str> = line.split(' ').collect();
        for more in [&[][..], &["-o", "json"]] {
            let said = control_plane.ctl(&[args.as_slice(), more].concat());
            assert!(!format!("{said:?}").contains(PLANTED), "{line} shows it");
        }
    }
    // Sealed for one host, on its disk; the other never got it.
    let orders = |agent: &Agent| std::fs::read(agent.state_dir().join("desired-state")).unwrap();
    let names = |agent: &Agent| orders(agent).windows(5).any(|part| part == b"token");
    assert!(names(&agent) && !names(&other));

    // Without the control plane, after a restart: from its own disk.
    control_plane.stop();
    agent.stop();
    agent.start();
    wait_for("the check offline", SOON, || {
        let ran = agent.command(&["check"]);
        if ran.out.contains("denied: grants.files") { Ok(()) } else { Err(ran) }
    });
    control_plane.start();

    let refused = control_plane.ctl(&["secret", "rm", "token", "--yes"]);
    assert!(refused.err.contains("is used by check/echo, check/reveal on 1 nodes"), "{refused:?}");
    let (code, said) = piped(&control_plane, &["secret", "rotate", "token", "--stdin"], ROTATED);
    assert!(code == Some(0) && said.contains("version 2"), "{said}");
    let rekeyed = control_plane.ctl_ok(&["secret", "rekey"]);
    assert!(rekeyed.contains("1 secret sealed anew"), "{rekeyed}");
    control_plane.stop();
    control_plane.start();
    let made = control_plane.ctl_ok(&["secret", "rotate", "token"]);
    assert!(made.contains("version 3"), "{made}");
    says(&control_plane, "echo", "(secret)");
    assert_eq!(found(&folders, ROTATED), [""; 0]);
}

#[test]
fn a_stolen_state_without_its_key_opens_nothing_and_does_not_start() {
    let mut control_plane = ControlPlane::started();
    let (code, said) = piped(&control_plane, &["secret", "set", "token"], PLANTED);
    assert!(code == Some(0) && said.contains("no spec names it yet"), "{said}");
    control_plane.stop();
    let key = control_plane.path("data/secrets.key");
    let kept = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    control_plane.spawn();
    wait_for("the refusal", SOON, || {
        let log = control_plane.log();
        if log.contains("secrets.key is gone, and there are secrets sealed under it") { Ok(()) } else { Err(log) }
    });
    std::fs::write(&key, kept).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    control_plane.kill();
    control_plane.start();
    let listed = control_plane.ctl_ok(&["secret", "ls"]);
    assert!(listed.contains("v1"), "{listed}");
}

#[test]
fn wrong_arguments_are_told_what_to_do() {
    let control_plane = ControlPlane::started();
    for (args, value, code, words) in [
        (&["secret", "set", "Not_A_Name"][..], "x", 1, "the secret's name"),
        (&["secret", "set", "token"], "", 2, "the value is empty: pipe it in"),
        (&["secret", "set", "token", "--generate", "5"], "", 1, "16 to 1024 characters"),
        (&["secret", "set", "token", "--file", "/nowhere"], "", 1, "read /nowhere"),
        (&["secret", "set", "token", "--file", "/dev/null", "--generate"], "", 2, "cannot be used with"),
        (&["secret", "set", "token", "hunter2"], "", 2, "unexpected argument"),
        (&["secret", "rotate", "token"], "", 1, "has no value yet: hostlerctl secret set token"),
        (&["secret", "rm", "token", "--yes"], "", 1, "has no value: hostlerctl secret ls"),
    ] {
        let (ended, said) = piped(&control_plane, args, value);
        assert!(ended == Some(code) && said.contains(words), "{args:?}: {ended:?} {said}");
    }
    let large = "x".repeat(65 * 1024);
    let (ended, said) = piped(&control_plane, &["secret", "set", "token"], &large);
    assert!(ended == Some(1) && said.contains("at most 65536"), "{said}");
}
