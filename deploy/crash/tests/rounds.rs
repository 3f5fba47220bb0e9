//! Some rounds of everything that breaks the store. HOSTLER_CRASH_ROUNDS says how
//! many; without it few enough for every day.

#![allow(clippy::expect_used, reason = "a test may panic")]

use std::process::Command;

fn rounds(fallback: &str) -> String {
    std::env::var("HOSTLER_CRASH_ROUNDS").unwrap_or_else(|_| fallback.to_owned())
}

/// Runs the harness; what it found is in the failure.
fn crash(arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_hostler-crash")).args(arguments).output().expect("run the harness");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{arguments:?}:\n{out}{errors}");
}

#[test]
fn slow_nothing_is_lost_when_the_process_is_killed() {
    crash(&["--kill", "--rounds", &rounds("10")]);
}

#[test]
#[ignore = "needs the journal"]
fn slow_nothing_is_lost_when_the_power_goes() {
    crash(&["--power", "--rounds", &rounds("3")]);
}

#[test]
#[ignore = "needs the journal"]
fn slow_damage_is_mended_or_told() {
    crash(&["--corrupt", "--rounds", &rounds("10")]);
}

#[test]
#[ignore = "needs the journal"]
fn slow_a_full_disk_is_waited_out() {
    crash(&["--full", "--rounds", "1"]);
}

#[test]
fn slow_errors_at_every_step_lose_nothing() {
    crash(&["--points", "--rounds", "1"]);
}

#[test]
#[ignore = "needs the journal"]
fn slow_a_skipped_sync_is_found() {
    crash(&["--plant", "sync-skipped"]);
}

#[test]
#[ignore = "needs the journal"]
fn slow_an_acknowledgement_before_its_sync_is_found() {
    crash(&["--plant", "ack-before-sync"]);
}

#[test]
#[ignore = "needs the journal"]
fn slow_a_torn_write_is_found() {
    crash(&["--plant", "torn"]);
}
