//! What the audit log costs, as `cargo xtask bench audit` asks for it: one figure a
//! line, a name and a number.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use hostler_control_plane::audit::read::{self, Filter};
use hostler_control_plane::audit::{Files, Log, Options};
use hostler_core::access::{
    self, Ask, Grant, Identity, Many, Noun, Place, Role, Roles, Rule, TokenLimit, Verb, Within,
};
use hostler_proto::store::{AuditObject, AuditRecord};
use hostler_types::Timestamp;
use hostler_types::spec::Kind;
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const RECORDS: u64 = 1_000_000;
const ROUNDS: usize = 5;
const CALLS: u64 = 2_000;
const JUDGED: u64 = 100_000;
/// Of an operator with many duties.
const ROLES: u64 = 20;
const RULES: u64 = 5;
const WRITERS: u64 = 64;
/// Of a record of one call.
const BARE_BYTES: usize = 200;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (act, folder) = (arguments.next().unwrap_or_default(), arguments.next().unwrap_or_default());
    let folder = PathBuf::from(folder);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match act.as_str() {
        "fill" => runtime.block_on(fill(&folder)),
        "read" => ask(&folder),
        "calls" => runtime.block_on(calls(&folder)),
        other => panic!("{other:?} is none of fill, read, calls"),
    }
}

fn say(name: &str, value: f64) {
    println!("{name} {value:.3}");
}

fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key")
}

fn open(folder: &Path) -> Log {
    let key = key();
    let sign = Box::new(move |words: &[u8]| key.sign(words).as_ref().to_vec());
    Log::open(Options::new(folder), None, sign).expect("opens")
}

/// As a fleet's day looks: some operators, many nodes, a refusal now and then. One
/// operator appears at the very beginning alone: the worst to look for.
fn record(number: u64) -> AuditRecord {
    let refused = number.is_multiple_of(50);
    let by = if number < 3 { "rare".to_owned() } else { format!("operator{}", number % 40) };
    AuditRecord {
        by_kind: "operator".to_owned(),
        by,
        from: format!("10.1.{}.{}:50{:03}", number % 200, number % 251, number % 1_000),
        call: if refused { "RevokeNode" } else { "GetNode" }.to_owned(),
        on: vec![AuditObject { noun: "node".to_owned(), name: format!("web{}", number % 900) }],
        code: if refused { 7 } else { 0 },
        refused,
        words: if refused { "operator7 may not revoke nodes: ask for the role".to_owned() } else { String::new() },
        request_id: format!("{:016x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
        ..AuditRecord::default()
    }
}

async fn fill(folder: &Path) {
    let (log, started) = (open(folder), Instant::now());
    for number in 0..RECORDS {
        log.record(Timestamp::from_millis(number * 1_000), &record(number), false).await.expect("queued");
    }
    let head = log.close().await.expect("proven");
    say("fill-rate", RECORDS as f64 / started.elapsed().as_secs_f64());
    let bytes: u64 = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").metadata().expect("there").len())
        .sum();
    say("bytes-a-record", bytes as f64 / head.number as f64);
}

fn median(mut act: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            act();
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

fn ask(folder: &Path) {
    let files = Files::find(folder).expect("lists");
    let mut bytes = Vec::new();
    // Once before, so that all of them find it in the page cache.
    for index in 0..files.segments.len() {
        files.read(index, &mut bytes).expect("reads");
    }
    let plain = median(|| {
        for index in 0..files.segments.len() {
            files.read(index, &mut bytes).expect("reads");
        }
    });
    say("plain-ms", plain);
    let public = key().public_key().as_ref().to_vec();
    let verify = median(|| {
        let report = read::verify(&files, &public, &[]).expect("reads").expect("good");
        assert_eq!(report.calls, RECORDS);
    });
    say("verify-ms", verify);
    let list = |filter: Filter, most: usize| {
        let mut found = 0;
        read::list(&files, &filter, false, &mut |_| {
            found += 1;
            found < most
        })
        .expect("reads");
        found
    };
    let by = |name: &str| Filter { by: name.to_owned(), ..Filter::default() };
    say("by-rare-ms", median(|| assert_eq!(list(by("rare"), 50), 3)));
    say("by-nobody-ms", median(|| assert_eq!(list(by("nobody-of-that-name"), 50), 0)));
    say("by-common-ms", median(|| assert_eq!(list(by("operator7"), 50), 50)));
    let on = Filter { on_noun: "node".to_owned(), on_name: "web17".to_owned(), ..Filter::default() };
    say("on-all-ms", median(|| assert!(list(on.clone(), usize::MAX) > 1_000)));
}

/// A token's call that the last rule of the last of many roles allows.
fn judge() {
    let mut roles = Roles::default();
    let names: Vec<String> = (0..ROLES).map(|number| format!("role{number}")).collect();
    for (number, name) in (0..ROLES).zip(&names) {
        let rule = |rule: u64| Rule {
            verbs: Many::These([Verb::Read, Verb::Change].into()),
            nouns: Many::These([Noun::Spec(Kind::Check), Noun::Spec(Kind::Plugin)].into()),
            within: Within::Systems([format!("system{number}-{rule}")].into()),
            nodes: None,
        };
        roles.set(Role { name: name.clone(), rules: (0..RULES).map(rule).collect() });
    }
    let grant = Grant { roles: names, systems: Default::default() };
    let token = TokenLimit { id: "abcd2345".to_owned(), grant: grant.clone() };
    let identity = Identity { operator: "jane".to_owned(), grant, token: Some(token) };
    let system = format!("system{}-{}", ROLES - 1, RULES - 1);
    let ask = Ask::new(Verb::Change, Noun::Spec(Kind::Check)).within(Place::System(&system));
    let started = Instant::now();
    for _ in 0..JUDGED {
        let allowed = access::decide(std::hint::black_box(&identity), &roles, std::hint::black_box(&ask));
        assert!(allowed.is_ok(), "the last rule allows it");
    }
    say("judged-us", started.elapsed().as_secs_f64() * 1e6 / JUDGED as f64);
}

async fn calls(folder: &Path) {
    judge();
    let log = Arc::new(open(&folder.join("log")));
    let at = Timestamp::from_millis(1);
    let started = Instant::now();
    for number in 0..CALLS {
        log.record(at, &record(number), false).await.expect("queued");
    }
    say("queued-us", started.elapsed().as_secs_f64() * 1e6 / CALLS as f64);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let started = Instant::now();
    for number in 0..CALLS {
        log.record(at, &record(number), true).await.expect("durable");
    }
    say("durable-us", started.elapsed().as_secs_f64() * 1e6 / CALLS as f64);
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let log = Arc::clone(&log);
        tasks.spawn(async move {
            for number in 0..CALLS {
                log.record(at, &record(number + writer), true).await.expect("durable");
            }
        });
    }
    tasks.join_all().await;
    say("grouped-rate", (WRITERS * CALLS) as f64 / started.elapsed().as_secs_f64());
    let file = File::create(folder.join("bare")).expect("a file");
    let started = Instant::now();
    for number in 0..CALLS {
        file.write_all_at(&[7; BARE_BYTES], number * BARE_BYTES as u64).expect("writes");
        file.sync_data().expect("syncs");
    }
    say("bare-us", started.elapsed().as_secs_f64() * 1e6 / CALLS as f64);
}
