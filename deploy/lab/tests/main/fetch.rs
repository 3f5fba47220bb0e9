//! Files that a run brings back: from a real agent under its executor, and from a node that
//! is played and would like to bring something else.

use crate::hostile::place::processes;
use crate::refusals::block_on;
use hostler_lab::played::{Link, Member, report};
use hostler_lab::{Acting, ControlPlane, wait_for};
use hostler_proto::agent as wire;
use hostler_proto::agent::to_agent;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tonic::Code;

const SOON: Duration = Duration::from_secs(40);
const POLICY: &str = "profile = \"full\"\nunits = [\"hostler-*\"]\n";
const PLAYED: &str = "of web2\n";
const LARGE_BYTES: usize = 17 * 1024 * 1024;
/// How the program is known whose end the control plane does not see.
const SLEEPS: &str = "sleep 3.0137";

fn digest(content: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, content);
    digest.as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// A user without rights, where there are any to take away.
fn user() -> &'static [&'static str] {
    if rustix::process::geteuid().is_root() { &["--user", "nobody"] } else { &[] }
}

/// What lies below a folder, by its path from there.
fn below(folder: &Path) -> Vec<String> {
    let (mut open, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(path) = open.pop() {
        // The agent may just be removing it.
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

async fn offered(link: &mut Link) -> wire::TaskOffer {
    loop {
        if let to_agent::Message::TaskOffer(offer) = link.next().await.unwrap().expect("an offer") {
            return offer;
        }
    }
}

/// Ends its task well, with one file, and first brings what it should not.
async fn play(member: &Member) {
    let mut link = Link::open(member).await.unwrap();
    let offer = offered(&mut link).await;
    let Some(wire::task_step::Does::Command(command)) = offer.steps[0].does.clone() else { panic!("{offer:?}") };
    let good = digest(PLAYED.as_bytes());
    let head =
        wire::UploadChunk { task: offer.id.clone(), path: "report.txt".into(), digest: good.clone(), data: Vec::new() };
    let early = member.upload(head.clone(), PLAYED.as_bytes()).await.unwrap_err();
    assert_eq!(early.code(), Code::Unavailable, "its end comes first: {early:?}");
    let file = |path: String| {
        let is_it = path == "report.txt";
        let (size_bytes, digest) = if is_it { (PLAYED.len() as u64, good.clone()) } else { (0, String::new()) };
        let words = if is_it { String::new() } else { "no such file".to_owned() };
        wire::TaskFile { path, size_bytes, digest, words }
    };
    let files = command.fetch.into_iter().map(file).collect();
    let seq = link.end(wire::TaskReport { files, ..report(&offer.id, "succeeded", "") }).await.unwrap();
    while !matches!(link.next().await.unwrap(), Some(to_agent::Message::SpoolAck(ack)) if ack.seq == seq) {}
    for (other, content, code) in [
        (wire::UploadChunk { digest: digest(b"other"), ..head.clone() }, &b"other"[..], Code::NotFound),
        (wire::UploadChunk { path: "../report.txt".into(), ..head.clone() }, PLAYED.as_bytes(), Code::NotFound),
        (wire::UploadChunk { task: "run-1-99".into(), ..head.clone() }, PLAYED.as_bytes(), Code::NotFound),
        (wire::UploadChunk { task: "../x".into(), ..head.clone() }, PLAYED.as_bytes(), Code::InvalidArgument),
        (head.clone(), b"of web3\n", Code::InvalidArgument),
        (head.clone(), b"of", Code::InvalidArgument),
        (head.clone(), b"of web2\nand more", Code::InvalidArgument),
    ] {
        let refused = member.upload(other.clone(), content).await.unwrap_err();
        assert_eq!(refused.code(), code, "{other:?}: {refused:?}");
    }
    // As often as it likes.
    for _ in 0..2 {
        member.upload(head.clone(), PLAYED.as_bytes()).await.unwrap();
    }
}

#[test]
fn named_files_come_back_and_whatever_does_not_is_told() {
    let control_plane = ControlPlane::started();
    let host = Acting::joined(&control_plane, "web1", POLICY);
    let member = block_on(Member::join(&control_plane.join_code(&[]), "web2")).unwrap();
    control_plane.wait_node("web1", "ready", SOON);
    let secret = host.agent.folder.path().join("secret");
    fs::write(&secret, "of root").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let (secret, into) = (secret.display().to_string(), control_plane.path("files"));
    let script = format!(
        "echo all is well >report.txt; mkdir out folder; seq 1 100000 >out/many; \
         head -c {LARGE_BYTES} /dev/zero >large; ln -s {secret} link"
    );
    let names = ["report.txt", "./out/many", "missing", "large", "link", "folder", secret.as_str()];
    let fetch: Vec<&str> = names.iter().flat_map(|name| ["--fetch", name]).collect();
    let ran = std::thread::scope(|scope| {
        scope.spawn(|| block_on(play(&member)));
        wait_for("the played one", SOON, || {
            let nodes = control_plane.ctl_json(&["node", "ls"]);
            if nodes.to_string().matches("\"ready\"").count() == 2 { Ok(()) } else { Err(nodes) }
        });
        let how = ["-o", "json", "run", "--yes", "--into", into.to_str().unwrap()];
        control_plane.ctl(&[&how[..], user(), &fetch[..], &["--", &script]].concat())
    });
    assert_eq!(ran.code, Some(1), "some did not come: {ran:#?}");
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(told["run"]["state"], "succeeded", "{told:#}");
    let many: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    let here = |node: &str, path: &str, content: &str| {
        let file = into.join(node).join(path);
        assert!(fs::read_to_string(&file).unwrap() == content, "{}", file.display());
        json!({
            "node": node, "path": path, "bytes": content.len(), "sha256": digest(content.as_bytes()),
            "file": file.display().to_string(), "problem": null,
        })
    };
    let not = |node: &str, path: &str, problem: &str| json!({"node": node, "path": path, "bytes": null, "sha256": null, "file": null, "problem": problem});
    let nothing = |path: &str| not("web2", path, "no such file");
    let root = rustix::process::geteuid().is_root();
    let symlink = "a symlink leads there, and none is followed: name the file that it leads to";
    let mut expected = vec![
        not("web1", "folder", "it is a folder: name the files in it, or have the command pack it into one"),
        not("web1", "large", "too large: it has 17 MiB, and at most 16 MiB come back"),
        not("web1", "link", symlink),
        not("web1", "missing", "no such file"),
        here("web1", "out/many", &many),
        here("web1", "report.txt", "all is well\n"),
        nothing(&secret),
        nothing("folder"),
        nothing("large"),
        nothing("link"),
        nothing("missing"),
        nothing("out/many"),
        here("web2", "report.txt", PLAYED),
    ];
    let first = if root { not("web1", &secret, "its user may not read it") } else { told["files"][0].clone() };
    expected.insert(0, first);
    assert_eq!(told["files"], Value::Array(expected), "{told:#}");
    if root {
        assert_eq!(below(&into), ["web1/out/many", "web1/report.txt", "web2/report.txt"]);
    }

    // From elsewhere, later, of one node, for people.
    let later = control_plane.path("later");
    let ran = control_plane.ctl(&["run", "fetch", "1", "--node", "web2", "--into", later.to_str().unwrap()]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    let begin = format!("fetched 1 file, 8 B, into {}\nweb2: {secret}: no such file\nweb2: folder: ", later.display());
    assert!(ran.out.starts_with(&begin), "{ran:#?}");
    assert_eq!(below(&later), ["web2/report.txt"]);
    let shown = control_plane.ctl_ok(&["run", "show", "1"]);
    assert!(
        shown.contains("    file report.txt, 12 B\n") && shown.contains("    file missing: no such file\n"),
        "{shown}"
    );
    wait_for("nothing to be left there", SOON, || {
        let left = fs::read_dir(host.agent.folder.path().join("output")).unwrap().flatten();
        let left: Vec<_> = left.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        let is_left = |name: &String| name.ends_with(".file") || name.ends_with(".folder");
        if left.iter().any(is_left) { Err(left) } else { Ok(()) }
    });
    refusals(&control_plane);
}

fn refusals(control_plane: &ControlPlane) {
    control_plane.ctl_ok(&[&["run", "--yes", "--node", "web1"], user(), &["--", "true"]].concat());
    for (args, code, words) in [
        (&["run", "--fetch", "../x", "--", "true"][..], 2, "leads out of its folder"),
        (&["run", "--fetch", "*.log", "--", "true"], 2, "is a pattern"),
        (&["run", "--fetch", "out/", "--", "true"], 2, "is a folder"),
        (&["run", "--fetch", "a", "--fetch", "/x/a", "--", "true"], 2, "would be the same file"),
        (&["run", "--into", "x", "--", "true"], 2, "--fetch"),
        (&["run", "fetch", "2"], 1, "run 2 brings no files back"),
        (&["run", "fetch", "99"], 1, "there is no run 99"),
        (&["run", "fetch", "1", "--node", "web9"], 1, "run 1 was not on \"web9\""),
    ] {
        let ran = control_plane.ctl(args);
        assert!(ran.code == Some(code) && ran.err.contains(words), "{args:?}: {ran:#?}");
    }
}

#[test]
fn what_was_taken_comes_when_agent_and_control_plane_are_back() {
    let mut control_plane = ControlPlane::started();
    let host = Acting::joined(&control_plane, "web1", POLICY);
    control_plane.wait_node("web1", "ready", SOON);
    let script = format!("{SLEEPS}; echo late >report.txt; exit 3");
    let begun = control_plane
        .ctl_ok(&[&["run", "--yes", "--detach", "--fetch", "report.txt"], user(), &["--", &script]].concat());
    assert_eq!(begun, "run 1 begun.  Its files: hostlerctl run fetch 1\n");
    wait_for("the program to run", SOON, || if processes(SLEEPS).is_empty() { Err(()) } else { Ok(()) });
    control_plane.kill();
    let output = host.agent.folder.path().join("output");
    let copies = || below(&output).into_iter().filter(|name| name.ends_with(".0.file")).collect::<Vec<_>>();
    wait_for("its file to be taken", SOON, || match copies() {
        all if all.len() == 1 => Ok(()),
        all => Err(all),
    });
    // Also right when its end is about to be kept.
    for _ in 0..2 {
        host.kill_agent();
    }
    control_plane.start();
    let into = control_plane.path("files");
    wait_for("the end of the run", SOON, || {
        let run = control_plane.ctl_json(&["run", "show", "1"]);
        if run["run"]["ended_ms"].as_u64() > Some(0) { Ok(()) } else { Err(run) }
    });
    let ran = control_plane.ctl(&["run", "fetch", "1", "--into", into.to_str().unwrap()]);
    assert!(ran.code == Some(0) && ran.out.starts_with("fetched 1 file, 5 B, into "), "{ran:#?}");
    assert_eq!(fs::read_to_string(into.join("web1/report.txt")).unwrap(), "late\n");
    let run = control_plane.ctl_json(&["run", "show", "1"]);
    assert_eq!((&run["tasks"][0]["state"], &run["tasks"][0]["exit"]), (&"failed".into(), &3.into()), "{run:#}");
    assert_eq!(run["tasks"][0]["files"][0]["here"], true, "{run:#}");
    wait_for("nothing to be left there", SOON, || match copies() {
        all if all.is_empty() => Ok(()),
        all => Err(all),
    });
}
