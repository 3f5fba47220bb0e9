//! What the store costs, as `cargo xtask bench store` asks for it: one figure a
//! line, a name and a number. Each act runs in a process of its own, so that
//! memory is that act's alone.
#![allow(clippy::expect_used, clippy::panic)]

use hostler_store::{Options, Probe, Txn, open_embedded, open_with};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const RECORDS: u64 = 100_000;
const VALUE_BYTES: usize = 1024;
/// Of a small commit, and of the bare loop that it is held against.
const SMALL_BYTES: usize = 200;
const WRITERS: u64 = 64;
const SPAN: Duration = Duration::from_secs(3);
const OVERWRITES: u64 = 5;
const AT_ONCE: u64 = 50;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (act, folder) = (arguments.next().unwrap_or_default(), arguments.next().unwrap_or_default());
    let folder = PathBuf::from(folder);
    match act.as_str() {
        "bare" => bare(&folder),
        "single" => commits(&folder, 1),
        "grouped" => commits(&folder, WRITERS),
        "fill" => overwrite(&folder, 1),
        "open" => open(&folder),
        "overwrite" => overwrite(&folder, OVERWRITES),
        "probe" => println!("{}", hostler_store::probe(&folder).expect("the state is good")),
        other => panic!("{other:?} is none of bare, single, grouped, fill, open, overwrite, probe"),
    }
}

fn say(name: &str, value: f64) {
    println!("{name} {value:.3}");
}

/// Text as fleets keep it: names and numbers, neither noise nor all the same.
fn value(seed: u64, bytes: usize) -> Vec<u8> {
    let mut number = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut text = String::new();
    while text.len() < bytes {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        text.push_str(&format!(
            "{{\"node\":\"web{}\",\"digest\":\"{number:016x}\",\"at\":{}}},",
            number % 97,
            number >> 30
        ));
    }
    text.truncate(bytes);
    text.into_bytes()
}

/// What the disk can do: append and sync, and nothing else.
fn bare(folder: &Path) {
    fs::create_dir_all(folder).expect("a folder");
    let file = File::create(folder.join("bare")).expect("a file");
    let bytes = value(1, SMALL_BYTES);
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < SPAN {
        file.write_all_at(&bytes, count * SMALL_BYTES as u64).expect("writes");
        file.sync_data().expect("syncs");
        count += 1;
    }
    say("rate", count as f64 / begun.elapsed().as_secs_f64());
}

fn commits(folder: &Path, writers: u64) {
    let store = open_embedded(folder).expect("opens");
    let (count, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let begun = Instant::now();
    runtime.block_on(async {
        let tasks = (0..writers).map(|writer| {
            let (store, count, stop) = (Arc::clone(&store), Arc::clone(&count), Arc::clone(&stop));
            async move {
                let mut turn = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    let key = format!("/w/{writer}/{}", turn % 100);
                    store.commit(Txn::new().put(key, value(turn, SMALL_BYTES))).await.expect("commits");
                    turn += 1;
                    if count.fetch_add(1, Ordering::Relaxed) % 256 == 0 && begun.elapsed() > SPAN {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            }
        });
        futures_util::future::join_all(tasks).await;
    });
    say("rate", count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64());
}

fn key(record: u64) -> String {
    format!("/bench/{record:06}")
}

/// Every record anew, so many times.
fn overwrite(folder: &Path, times: u64) {
    let store = open_embedded(folder).expect("opens");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let mut most = 0.0f64;
    let mut most_disk = 0.0f64;
    for time in 0..times {
        for batch in 0..RECORDS / AT_ONCE {
            let txn = (batch * AT_ONCE..(batch + 1) * AT_ONCE)
                .fold(Txn::new(), |txn, record| txn.put(key(record), value(record + time * RECORDS, VALUE_BYTES - 60)));
            runtime.block_on(store.commit(txn)).expect("commits");
            if batch % 100 == 0 {
                most = most.max(resident());
                most_disk = most_disk.max(disk(folder));
            }
        }
    }
    // Longer than the store waits before it tidies up.
    std::thread::sleep(Duration::from_secs(3));
    say("resident", resident());
    say("resident-most", most);
    say("disk-most", most_disk);
    say("disk", disk(folder));
    drop(store);
    std::thread::sleep(Duration::from_secs(1));
}

fn open(folder: &Path) {
    let begun = Instant::now();
    let exe = std::env::current_exe().expect("this program");
    let probe = Probe::Child(vec![exe.into(), "probe".into()]);
    let store = open_with(Options { probe, ..Options::new(folder) }).expect("opens");
    say("ms", begun.elapsed().as_secs_f64() * 1e3);
    say("resident", resident());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let snapshot = runtime.block_on(store.scan("/bench/", None)).expect("lists");
    assert_eq!(snapshot.entries.len() as u64, RECORDS);
}

/// Megabytes.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("this process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").trim().parse().expect("a number");
    kilobytes * 1024.0 / 1e6
}

/// Megabytes that a folder takes on the disk.
fn disk(folder: &Path) -> f64 {
    let mut total = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        total += if meta.is_dir() { (disk(&entry.path()) * 1e6) as u64 } else { meta.blocks() * 512 };
    }
    total as f64 / 1e6
}
