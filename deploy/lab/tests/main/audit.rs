//! The audit log with the real programs: what is in it, and that no change of it goes
//! unseen.

use crate::refusals::{block_on, join};
use hostler_lab::{Agent, ControlPlane, Ran, program, run, wait_for};
use hostler_proto::admin as wire;
use hostler_proto::admin::admin_client::AdminClient;
use hostler_proto::pem;
use hostler_proto::transport::{self, Trust};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(15);

fn calls(control_plane: &ControlPlane, args: &[&str]) -> Vec<Value> {
    let text = control_plane.ctl_ok(&[&["audit", "-o", "json"], args].concat());
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn find<'a>(calls: &'a [Value], call: &str, outcome: &str) -> &'a Value {
    let found = calls.iter().rev().find(|one| one["call"] == call && one["outcome"] == outcome);
    found.unwrap_or_else(|| panic!("{call} {outcome} is not in {calls:#?}"))
}

fn segments(data: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(data.join("audit")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_call_is_there_with_who_where_what_and_outcome_and_no_secret_is() {
    let control_plane = ControlPlane::started();
    let code = control_plane.join_code(&[]);
    let mut agent = Agent::joined(&control_plane, "web1", &[]);
    control_plane.wait_node("web1", "ready", SOON);
    let stranger = Agent::new("web2");
    assert_eq!(stranger.join(&code, &[]).code, Some(0));
    assert_eq!(Agent::new("web3").join(&code, &[]).code, Some(1), "the code was used up");
    assert_eq!(control_plane.ctl(&["node", "revoke", "web9", "--yes"]).code, Some(1));
    control_plane.ctl_ok(&["node", "revoke", "web1", "--reason", "stolen", "--yes"]);
    wait_for("the agent to be told", SOON, || {
        let status = agent.command(&["status"]);
        if status.out.contains("was revoked by admin") { Ok(()) } else { Err(status) }
    });
    // Left alone, it asks again within a minute and a half.
    agent.kill();
    agent.start();
    let refused = |calls: &[Value]| calls.iter().any(|one| one["call"] == "Connect" && one["outcome"] == "refused");
    wait_for("the refused stream", SOON, || {
        let all = calls(&control_plane, &["--by", "web1"]);
        if refused(&all) { Ok(()) } else { Err(all) }
    });

    let all = calls(&control_plane, &[]);
    let revoked = find(&all, "RevokeNode", "ok");
    assert_eq!((&revoked["by"], &revoked["by_kind"]), (&"admin".into(), &"operator".into()), "{revoked}");
    assert_eq!(revoked["on"], serde_json::json!(["node/web1"]));
    assert!(revoked["from"].as_str().unwrap().starts_with("127.0.0.1:"), "{revoked}");
    assert_eq!(revoked["request_id"].as_str().unwrap().len(), 16);
    assert_eq!(find(&all, "RevokeNode", "not-found")["on"], serde_json::json!(["node/web9"]));
    let token = find(&all, "CreateToken", "ok")["on"][0].as_str().unwrap().to_owned();
    assert_eq!(token.len(), "token/".len() + 8, "{token}");
    let joined = find(&all, "Join", "ok");
    assert_eq!((&joined["by_kind"], &joined["on"]), (&"nobody".into(), &serde_json::json!(["node/web2"])));
    let used_up = find(&all, "Join", "refused");
    assert!(used_up["words"].as_str().unwrap().contains("was used up"), "{used_up}");
    let opened = find(&all, "Connect", "ok");
    assert_eq!(opened["by_kind"], "node");
    assert_eq!(find(&all, "Start", "ok")["by_kind"], "server");

    let on_web1 = calls(&control_plane, &["--on", "node/web1"]);
    assert!(on_web1.iter().all(|one| one["on"].as_array().unwrap().contains(&"node/web1".into())), "{on_web1:#?}");
    assert!(calls(&control_plane, &["--refused"]).iter().all(|one| one["outcome"] == "refused"));
    assert_eq!(calls(&control_plane, &["-n", "2"]).len(), 2);
    assert!(control_plane.ctl_ok(&["audit", "--by", "admin", "--since", "1h"]).contains("RevokeNode"));
    assert!(control_plane.ctl_ok(&["audit", "verify"]).starts_with("the audit log is what was written"));
    let written: Vec<u8> =
        segments(&control_plane.path("data")).iter().flat_map(|file| fs::read(file).unwrap()).collect();
    let secret = code.as_bytes().get(4..24).unwrap();
    assert!(!written.windows(secret.len()).any(|part| part == secret), "a join code");
}

#[test]
fn whoever_is_refused_is_told_by_which_number_the_log_knows_it() {
    let control_plane = ControlPlane::started();
    let (node, identity) = block_on(join(&control_plane.join_code(&[]), "0.1.0")).unwrap();
    let authority = fs::read_to_string(control_plane.path("data/pki/authority.crt")).unwrap();
    let trust = Trust::Authorities(pem::decode_chain(&authority).unwrap());
    let address = format!("127.0.0.1:{}", control_plane.operators_port);
    let status = block_on(async {
        let channel = transport::connect(&address, &trust, Some(identity)).await.unwrap();
        AdminClient::new(channel).get_server(wire::GetServerRequest {}).await.unwrap_err()
    });
    let id = status.metadata().get("x-request-id").expect("an id").to_str().unwrap().to_owned();
    // What changes nothing is written down a moment later.
    let all = wait_for("the refused call", SOON, || {
        let all = calls(&control_plane, &["--by", &node]);
        if all.is_empty() { Err(all) } else { Ok(all) }
    });
    let refused = find(&all, "GetServer", "refused");
    assert_eq!((&refused["request_id"], &refused["by_id"]), (&id.into(), &node.into()), "{refused}");
    assert!(refused["words"].as_str().unwrap().contains("only operators may call this"), "{refused}");
}

/// A stopped control plane's folder, and what its log is made of.
struct Kept {
    folder: tempfile::TempDir,
    file: PathBuf,
    frames: Vec<Vec<u8>>,
}

impl Kept {
    fn copy_of(control_plane: &ControlPlane) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("data");
        let ran = run(Command::new("cp").arg("-a").arg(control_plane.path("data")).arg(&to));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let file = segments(&to).pop().unwrap();
        let (bytes, mut frames) = (fs::read(&file).unwrap(), Vec::new());
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let length = 64 + u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
            frames.push(rest[..length].to_vec());
            rest = &rest[length..];
        }
        Self { folder, file, frames }
    }

    fn verify(&self, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Ran {
        let mut frames = self.frames.clone();
        change(&mut frames);
        fs::write(&self.file, frames.concat()).unwrap();
        let data = self.folder.path().join("data");
        run(Command::new(program("hostlerctl")).args(["audit", "verify", "--data-dir"]).arg(data))
    }
}

#[test]
fn edits_drops_swaps_and_cuts_are_each_named() {
    let mut control_plane = ControlPlane::started();
    for _ in 0..12 {
        control_plane.join_code(&[]);
    }
    assert_eq!(control_plane.stop(), Some(0));
    let kept = Kept::copy_of(&control_plane);
    let good = kept.verify(|_| {});
    assert_eq!(good.code, Some(0), "{good:?}");
    assert!(good.out.contains("is what was written"), "{good:?}");
    let last = kept.frames.len();
    let named = |words: &str, ran: Ran| {
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.out.starts_with(&format!("BAD: {words}")), "{words}: {ran:?}");
    };
    named("record 6 was edited", kept.verify(|frames| frames[5][80] ^= 1));
    named("record 6 is missing", kept.verify(|frames| drop(frames.remove(5))));
    named("record 6 is out of order: it stands after record 7", kept.verify(|frames| frames.swap(5, 6)));
    named(
        &format!("the log is cut off: records {} to {last} are gone from its end", last - 2),
        kept.verify(|frames| frames.truncate(last - 3)),
    );
    named(
        &format!("the log is cut off: record {last} is gone from its end"),
        kept.verify(|frames| frames[last - 1].truncate(70)),
    );
    named("the log is cut off: records 1 to", kept.verify(Vec::clear));
    assert_eq!(kept.verify(|_| {}).code, Some(0));
}

#[test]
fn a_running_control_plane_sees_what_is_done_to_its_log() {
    let control_plane = ControlPlane::started();
    control_plane.join_code(&[]);
    let file = segments(&control_plane.path("data")).pop().unwrap();
    let at = fs::read(&file).unwrap().windows(11).position(|part| part == b"CreateToken").unwrap() as u64;
    let file = fs::OpenOptions::new().write(true).open(&file).unwrap();
    file.write_all_at(b"X", at).unwrap();
    let ran = control_plane.ctl(&["audit", "verify"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("was edited"), "{ran:?}");
    file.write_all_at(b"C", at).unwrap();
    let said = control_plane.ctl_json(&["audit", "verify"]);
    assert_eq!(said["good"], true, "{said}");
}

#[test]
fn what_was_acknowledged_survives_a_kill_and_a_torn_end_is_mended() {
    let mut control_plane = ControlPlane::started();
    for round in 0..3 {
        for _ in 0..5 {
            control_plane.join_code(&[]);
        }
        control_plane.kill();
        let file = segments(&control_plane.path("data")).pop().unwrap();
        let mut bytes = fs::read(&file).unwrap();
        let start = bytes[..40 + round].to_vec();
        bytes.extend_from_slice(&start);
        fs::write(&file, bytes).unwrap();
        control_plane.start();
    }
    let made = calls(&control_plane, &["--by", "admin"]);
    assert_eq!(made.iter().filter(|one| one["call"] == "CreateToken").count(), 15, "{made:#?}");
    control_plane.ctl_ok(&["audit", "verify"]);
}

#[test]
fn a_backup_takes_the_log_along() {
    let mut control_plane = ControlPlane::started();
    control_plane.join_code(&[]);
    let backup = control_plane.path("backup").display().to_string();
    control_plane.ctl_ok(&["system", "backup", &backup]);
    control_plane.stop();
    let data = control_plane.path("data").display().to_string();
    let restore = ["--data-dir", &data, "restore", &backup, "--replace"];
    let ran = run(Command::new(program("hostler-control-plane")).args(restore));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    control_plane.start();
    let all = calls(&control_plane, &[]);
    find(&all, "CreateToken", "ok");
    control_plane.ctl_ok(&["audit", "verify"]);
}
