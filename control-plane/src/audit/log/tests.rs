use super::super::read::{self, Filter};
use super::*;
use crate::clock;
use hostler_core::audit::frame::{self, Kind};
use hostler_core::audit::verify::{Bad, Report};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::fs::{self, OpenOptions};
use std::sync::LazyLock;
use tempfile::TempDir;

struct Lab {
    dir: TempDir,
    key: Arc<Ed25519KeyPair>,
}

impl Lab {
    fn new() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let key = Ed25519KeyPair::from_pkcs8(key.as_ref()).expect("a key");
        Self { dir: tempfile::tempdir().expect("a folder"), key: Arc::new(key) }
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("audit")
    }

    fn open(&self, head: Option<Point>) -> Log {
        self.open_with(head, Duration::MAX)
    }

    fn open_with(&self, head: Option<Point>, kept: Duration) -> Log {
        let key = Arc::clone(&self.key);
        let sign = Box::new(move |words: &[u8]| key.sign(words).as_ref().to_vec());
        let folder = self.folder();
        let options = Options { kept, segment_bytes: 2_000, checkpoint_records: 8, ..Options::new(&folder) };
        Log::open(options, head, sign).expect("opens")
    }

    fn verify(&self, known: &[Point]) -> Result<Report, Bad> {
        let files = Files::find(&self.folder()).expect("lists");
        read::verify(&files, self.key.public_key().as_ref(), known).expect("reads")
    }

    fn newest(&self) -> PathBuf {
        Files::find(&self.folder()).expect("lists").segments.pop().expect("one").path
    }
}

fn call(by: &str, node: &str) -> rest::AuditRecord {
    let on = vec![rest::AuditObject { noun: "node".into(), name: node.into() }];
    rest::AuditRecord { by: by.into(), call: "RevokeNode".into(), on, ..rest::AuditRecord::default() }
}

/// Calls come one a second, from the start of the test on.
fn at(seconds: u64) -> Timestamp {
    static START: LazyLock<Timestamp> = LazyLock::new(clock::wall);
    START.plus(Duration::from_secs(seconds))
}

async fn write(log: &Log, from: u64, to: u64) {
    for number in from..to {
        let by = if number % 10 == 0 { "anna" } else { "admin" };
        log.record(at(number), &call(by, &format!("web{number}")), true).await.expect("durable");
    }
}

fn listed(files: &Files, filter: &Filter, oldest_first: bool, most: usize) -> Vec<String> {
    let mut names = Vec::new();
    read::list(files, filter, oldest_first, &mut |found| {
        names.push(found.record.on[0].name.clone());
        names.len() < most
    })
    .expect("reads");
    names
}

#[tokio::test]
async fn what_was_acknowledged_is_there_in_order_and_goes_on_after_a_restart() {
    let lab = Lab::new();
    let log = lab.open(None);
    write(&log, 0, 30).await;
    let head = log.close().await.expect("proven");
    let log = lab.open(Some(head));
    write(&log, 30, 60).await;
    let (files, end) = log.files();
    assert!(files.segments.len() > 2, "{files:?}");
    let all = listed(&files, &Filter::default(), true, usize::MAX);
    assert_eq!(all, (0..60).map(|number| format!("web{number}")).collect::<Vec<_>>());
    let by_anna = Filter { by: "anna".into(), ..Filter::default() };
    assert_eq!(listed(&files, &by_anna, false, 2), ["web50", "web40"]);
    let on = Filter { on_noun: "node".into(), on_name: "web7".into(), ..Filter::default() };
    assert_eq!(listed(&files, &on, false, 9), ["web7"]);
    let then = Filter { since: at(10), until: Some(at(12)), ..Filter::default() };
    assert_eq!(listed(&files, &then, true, 9), ["web10", "web11"]);
    let head = log.close().await.expect("proven");
    let report = lab.verify(&[end, head]).expect("good");
    assert_eq!((report.calls, report.last), (60, head.number));
}

#[tokio::test]
async fn a_record_that_was_never_finished_is_cut_and_nothing_else() {
    let lab = Lab::new();
    let log = lab.open(None);
    write(&log, 0, 5).await;
    let (_, end) = log.files();
    drop(log);
    for torn in [1, 30, 64, 90] {
        let mut whole = Vec::new();
        frame::encode(Kind::Call, end.number + 1, at(9), &end.hash, &[7; 40], &mut whole);
        let mut bytes = fs::read(lab.newest()).expect("reads");
        let length = bytes.len();
        bytes.extend_from_slice(&whole[..torn]);
        fs::write(lab.newest(), bytes).expect("writes");
        let log = lab.open(Some(end));
        assert!(log.notices().try_recv().is_err(), "nothing to tell");
        assert_eq!(log.files().1, end);
        assert_eq!(fs::metadata(lab.newest()).expect("there").len(), length as u64);
    }
    let log = lab.open(Some(end));
    write(&log, 5, 9).await;
    assert_eq!(lab.verify(&[log.files().1]).expect("good").calls, 9);
}

#[tokio::test]
async fn what_is_gone_from_the_end_is_told_at_the_start_and_stays_named() {
    let lab = Lab::new();
    let log = lab.open(None);
    write(&log, 0, 5).await;
    let head = log.close().await.expect("proven");
    let file = OpenOptions::new().write(true).open(lab.newest()).expect("opens");
    file.set_len(file.metadata().expect("there").len() - 150).expect("cuts");
    assert!(lab.verify(&[head]).expect_err("cut").to_string().contains("cut off"));
    let log = lab.open(Some(head));
    assert!(log.notices().try_recv().expect("told").contains("are gone from its end"));
    write(&log, 5, 9).await;
    let bad = lab.verify(&[log.files().1]).expect_err("still");
    assert!(bad.to_string().contains("missing"), "{bad}");
    assert!(bad.number < head.number);
}

#[tokio::test]
async fn what_is_too_old_goes_and_is_not_missed_but_what_is_taken_is() {
    let lab = Lab::new();
    let log = lab.open(None);
    write(&log, 0, 60).await;
    log.close().await.expect("proven");
    let before = Files::find(&lab.folder()).expect("lists").segments.len();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let log = lab.open_with(None, Duration::from_millis(1));
    write(&log, 60, 62).await;
    let head = log.close().await.expect("proven");
    let segments = Files::find(&lab.folder()).expect("lists").segments;
    assert!(segments.len() < before, "{segments:?}");
    let report = lab.verify(&[head]).expect("good");
    assert_eq!(report.first, segments[0].first);
    assert!(report.first > 1);
    fs::remove_file(&segments[0].path).expect("removes");
    assert!(lab.verify(&[head]).is_err());
}

#[tokio::test]
async fn a_log_that_cannot_be_written_says_so_and_goes_on_when_it_can() {
    let lab = Lab::new();
    let log = lab.open(None);
    write(&log, 0, 3).await;
    let mut notices = log.notices();
    // A file where the folder was: no new segment can be made.
    let (folder, aside) = (lab.folder(), lab.dir.path().join("aside"));
    fs::rename(&folder, &aside).expect("moves");
    fs::write(&folder, b"").expect("in the way");
    let mut number = 3;
    let refused = loop {
        let said = log.record(at(number), &call("admin", &format!("web{number}")), true).await;
        number += 1;
        if let Err(refused) = said {
            break refused;
        }
    };
    assert!(refused.to_string().starts_with("the audit log can't be written"), "{refused}");
    assert_eq!(log.failing(), Some(refused));
    assert!(notices.recv().await.expect("told").contains("are refused until it can"));
    log.record(at(number), &call("admin", "read"), false).await.expect("counted");
    fs::remove_file(&folder).expect("out of the way");
    fs::rename(&aside, &folder).expect("moves back");
    assert!(notices.recv().await.expect("told").contains("is written again; "));
    write(&log, 50, 53).await;
    let (files, end) = log.files();
    assert!(lab.verify(&[end]).is_ok());
    let mut words = String::new();
    let server = |found: read::Found| {
        words.push_str(&found.record.words);
        true
    };
    let mut server = server;
    read::list(&files, &Filter::default(), true, &mut server).expect("reads");
    assert!(words.contains("not in it"), "{words}");
}

#[tokio::test]
async fn many_at_once_share_their_groups() {
    let lab = Lab::new();
    let log = Arc::new(lab.open(None));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let log = Arc::clone(&log);
        tasks.spawn(async move { log.record(at(number), &call("admin", "x"), number % 2 == 0).await });
    }
    assert!(tasks.join_all().await.iter().all(Result::is_ok));
    let head = log.close().await.expect("proven");
    assert_eq!(lab.verify(&[head]).expect("good").calls, 200);
    assert_eq!(log.written(), 200);
}
