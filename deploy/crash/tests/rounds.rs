//! A small number of every kind of round, so that a change that loses something is
//! seen at once. `cargo xtask crash` runs as many as one likes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;

/// HOSTLER_CRASH_ROUNDS times as many rounds.
fn rounds(few: u32) -> String {
    let times = std::env::var("HOSTLER_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    (few * times).to_string()
}

fn run(arguments: &[&str]) {
    // With mounts of its own: a full disk is nobody else's concern.
    let mut command = Command::new("unshare");
    command.args(["--mount", env!("CARGO_BIN_EXE_hostler-crash")]).args(arguments);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn kills_lose_nothing() {
    run(&["--kill", "--rounds", &rounds(30)]);
}

#[test]
fn power_cuts_lose_nothing() {
    run(&["--power", "--rounds", &rounds(10)]);
}

#[test]
fn damage_is_mended_or_told() {
    run(&["--corrupt", "--rounds", &rounds(60)]);
}

#[test]
fn a_full_disk_loses_nothing_and_is_left_behind() {
    run(&["--full", "--rounds", &rounds(2)]);
}

#[test]
fn slow_errors_at_every_point_lose_nothing() {
    run(&["--points", "--rounds", &rounds(1)]);
}

/// A checker that never finds anything is none.
#[test]
fn planted_bugs_are_found() {
    for bug in ["sync-skipped", "ack-before-sync", "torn"] {
        run(&["--plant", bug]);
    }
}
