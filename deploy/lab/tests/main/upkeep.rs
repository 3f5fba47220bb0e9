//! The control plane's folder: damaged, saved, restored, looked over.

use hostler_lab::control_plane::{Ran, run};
use hostler_lab::{ControlPlane, program, wait_for};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(15);
const SPEC: &str = "system: {name: shop}\ncheck:\n  disk: {where: all, plugin: disk, every: 5s}\n";

fn upkeep(control_plane: &ControlPlane, args: &[&str]) -> Ran {
    upkeep_of(&control_plane.path("data"), args)
}

fn upkeep_of(data: &Path, args: &[&str]) -> Ran {
    run(Command::new(program("hostler-control-plane")).args(args).arg("--data-dir").arg(data))
}

#[test]
fn damage_is_mended_at_the_next_start_and_is_an_event() {
    let mut control_plane = ControlPlane::with_plugins(&["disk"]);
    control_plane.apply(SPEC);
    let before = control_plane.ctl_ok(&["get", "system", "shop", "-o", "yaml"]);
    let running = upkeep(&control_plane, &["store", "verify"]);
    assert!(running.err.contains("in use by another process: stop it first"), "{running:#?}");
    control_plane.stop();
    let good = upkeep(&control_plane, &["store", "verify"]);
    assert!(good.code == Some(0) && good.out.ends_with("all is well\n"), "{good:#?}");

    let state = control_plane.path("data/store/state/db");
    let size = fs::metadata(&state).expect("the state").len();
    fs::write(&state, (0..size).map(|n| (n * 31 + n / 7) as u8).collect::<Vec<u8>>()).expect("writes");
    let bad = upkeep(&control_plane, &["store", "verify"]);
    assert!(bad.code == Some(1) && bad.out.contains("nothing is lost: it is mended at the next start"), "{bad:#?}");

    control_plane.start();
    assert_eq!(control_plane.ctl_ok(&["get", "system", "shop", "-o", "yaml"]), before);
    wait_for("the event", SOON, || {
        let events = control_plane.ctl_ok(&["events", "--kind", "server"]);
        if events.contains("is built anew") { Ok(()) } else { Err(events) }
    });
}

#[test]
fn keys_that_are_gone_are_asked_for_and_not_made_anew() {
    let mut control_plane = ControlPlane::started();
    control_plane.stop();
    fs::rename(control_plane.path("data/pki"), control_plane.path("pki")).expect("takes them away");
    let said = run(Command::new(program("hostler-control-plane"))
        .args(["--agents-listen", "127.0.0.1:0", "--operators-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
        .arg("--data-dir")
        .arg(control_plane.path("data")));
    assert!(said.code == Some(1) && said.err.contains("restore it from a backup"), "{said:#?}");
    assert!(!control_plane.path("data/pki").exists());
}

#[test]
fn a_backup_is_taken_sealed_refused_and_restored() {
    let mut control_plane = ControlPlane::with_plugins(&["disk"]);
    control_plane.apply(SPEC);
    let before = control_plane.ctl_ok(&["get", "system", "shop", "-o", "yaml"]);
    let path = |name: &str| control_plane.path(name).display().to_string();
    let (plain, sealed, pass, wrong) = (path("plain"), path("sealed"), path("pass"), path("wrong"));
    fs::write(&pass, "correct horse battery staple\n").expect("writes");
    fs::write(&wrong, "battery\n").expect("writes");
    let said = control_plane.ctl_ok(&["system", "backup", &plain]);
    assert!(said.contains("keep it as you keep keys"), "{said}");
    control_plane.ctl_ok(&["system", "backup", &sealed, "--passphrase-file", &pass]);
    let again = control_plane.ctl(&["system", "backup", &sealed]);
    assert!(again.code == Some(2) && again.err.contains("never overwritten"), "{again:#?}");
    assert!(!fs::read(&sealed).expect("reads").windows(11).any(|part| part == b"PRIVATE KEY"));

    let restore = |file: &str, more: &[&str], data: &Path| upkeep_of(data, &[&["restore", file], more].concat());
    let data = control_plane.path("data");
    for (ran, says) in [
        (restore(&plain, &[], &data), "is not empty: give --replace"),
        (restore(&plain, &["--replace"], &data), "stop the control plane first"),
        (restore(&sealed, &[], &control_plane.path("new")), "give its passphrase by --passphrase-file"),
        (restore(&sealed, &["--passphrase-file", &wrong], &control_plane.path("new")), "the passphrase is wrong"),
        (restore(&pass, &[], &control_plane.path("new")), "no backup of a control plane"),
        (restore("/nowhere", &[], &control_plane.path("new")), "/nowhere"),
    ] {
        assert!(ran.code == Some(1) && ran.err.contains(says), "{says}: {ran:#?}");
        assert!(!control_plane.path("new").exists(), "nothing half done is left: {says}");
    }

    control_plane.ctl_ok(&["delete", "system", "shop", "--yes"]);
    control_plane.stop();
    let ran = restore(&sealed, &["--passphrase-file", &pass, "--replace"], &data);
    assert!(ran.code == Some(0) && ran.out.contains("what was there is kept in"), "{ran:#?}");
    let looked = upkeep(&control_plane, &["store", "verify"]);
    assert_eq!(looked.code, Some(0), "{looked:#?}");
    control_plane.start();
    assert_eq!(control_plane.ctl_ok(&["get", "system", "shop", "-o", "yaml"]), before);
    let events = control_plane.ctl_ok(&["events", "--kind", "server"]);
    assert!(events.contains("what was ordered since is forgotten"), "{events}");
}
