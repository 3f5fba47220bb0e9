//! The store in a folder: what it does about damage, full disks and old layouts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use hostler_store::{Entry, Finding, Options, Store, StoreError, Txn};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// Opens it, once whoever had it open is gone.
fn open(folder: &Path) -> Arc<dyn Store> {
    open_told(folder).0
}

type Told = Arc<Mutex<Vec<String>>>;

fn open_told(folder: &Path) -> (Arc<dyn Store>, Told) {
    let told: Told = Arc::default();
    for _ in 0..500 {
        let hear = Arc::clone(&told);
        let notify: hostler_store::Notify = Arc::new(move |text| hear.lock().unwrap().push(text.to_owned()));
        match hostler_store::open_with(Options { notify, ..Options::new(folder) }) {
            Err(StoreError::InUse(_)) => std::thread::sleep(Duration::from_millis(10)),
            outcome => return (outcome.unwrap(), told),
        }
    }
    panic!("it stays in use");
}

/// Once whoever had it open is gone.
fn closed(folder: &Path) {
    for _ in 0..500 {
        match hostler_store::verify(folder) {
            Err(StoreError::InUse(_)) => std::thread::sleep(Duration::from_millis(10)),
            _ => return,
        }
    }
    panic!("it stays in use");
}

fn put(store: &dyn Store, key: &str, value: impl Into<bytes::Bytes>) -> u64 {
    block_on(store.commit(Txn::new().put(key, value))).unwrap()
}

fn all(store: &dyn Store) -> (u64, Vec<(Arc<str>, Entry)>) {
    let snapshot = block_on(store.scan("/", None)).unwrap();
    (snapshot.revision, snapshot.entries)
}

/// A store with some history, closed, and what it holds.
fn filled(folder: &Path) -> (u64, Vec<(Arc<str>, Entry)>) {
    let store = open(folder);
    for n in 0..400u32 {
        put(&*store, &format!("/k/{:02}", n % 60), format!("value {n}"));
    }
    put(&*store, "/large", vec![7; 20_000]);
    let held = all(&*store);
    drop(store);
    closed(folder);
    held
}

fn files(folder: &Path, part: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder.join(part)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn bad(findings: &[Finding]) -> Vec<&str> {
    findings.iter().filter(|finding| !finding.is_good()).map(|finding| finding.what.as_str()).collect()
}

#[test]
fn a_second_process_is_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let _store = open(dir.path());
    let error = hostler_store::open_embedded(dir.path()).err().unwrap();
    assert!(error.to_string().contains("in use by another process"), "{error}");
}

#[test]
fn a_good_store_verifies() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let findings = hostler_store::verify(dir.path()).unwrap();
    assert!(findings.iter().all(|finding| finding.is_good()), "{findings:?}");
    let missing = hostler_store::verify(&dir.path().join("none")).unwrap_err();
    assert!(missing.to_string().contains("there is no store"), "{missing}");
}

#[test]
fn large_values_lie_beside_sled_whose_own_folder_stays_empty() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for size in [4_096usize, 4_097, 65_536] {
        put(&*store, &format!("/{size}"), vec![size as u8; size]);
    }
    assert_eq!(files(dir.path(), "values").len(), 2, "those above 4 KiB");
    for size in [4_096usize, 4_097, 65_536] {
        assert_eq!(block_on(store.get(&format!("/{size}"))).unwrap().unwrap().value, vec![size as u8; size]);
    }
    drop(store);
    closed(dir.path());
    assert_eq!(files(dir.path(), "state/blobs"), Vec::<PathBuf>::new());
}

#[test]
fn a_state_that_is_gone_or_damaged_is_built_anew() {
    for damage in ["gone", "zeroed", "noise"] {
        let dir = tempfile::tempdir().unwrap();
        let held = filled(dir.path());
        let db = dir.path().join("state/db");
        let size = fs::metadata(&db).unwrap().len() as usize;
        match damage {
            "gone" => fs::remove_dir_all(dir.path().join("state")).unwrap(),
            "zeroed" => fs::write(&db, vec![0; size]).unwrap(),
            _ => fs::write(&db, (0..size).map(|n| (n * 31 + n / 7) as u8).collect::<Vec<u8>>()).unwrap(),
        }
        let (store, told) = open_told(dir.path());
        assert_eq!(all(&*store), held, "{damage}");
        if damage == "noise" {
            assert!(told.lock().unwrap()[0].contains("is built anew"), "{told:?}");
            assert_eq!(files(dir.path(), "set-aside").len(), 1);
        }
    }
}

#[test]
fn damage_to_the_journal_is_covered_by_the_state() {
    let dir = tempfile::tempdir().unwrap();
    let held = filled(dir.path());
    let segment = &files(dir.path(), "journal")[0];
    let mut bytes = fs::read(segment).unwrap();
    bytes[9_000] ^= 4;
    fs::write(segment, bytes).unwrap();
    let findings = hostler_store::verify(dir.path()).unwrap();
    assert_eq!(bad(&findings).len(), 2, "{findings:?}");
    let (store, told) = open_told(dir.path());
    assert_eq!(all(&*store), held);
    assert!(told.lock().unwrap()[0].contains("nothing is lost"), "{told:?}");
    put(&*store, "/after", "x");
    let held = all(&*store);
    drop(store);
    closed(dir.path());
    fs::remove_dir_all(dir.path().join("state")).unwrap();
    assert_eq!(all(&*open(dir.path())), held, "the new journal goes on from a checkpoint");
}

#[test]
fn what_nothing_holds_any_more_is_told_and_nothing_starts() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let segment = &files(dir.path(), "journal")[0];
    let mut bytes = fs::read(segment).unwrap();
    bytes[9_000] ^= 4;
    fs::write(segment, bytes).unwrap();
    fs::remove_dir_all(dir.path().join("state")).unwrap();
    let error = hostler_store::open_embedded(dir.path()).err().unwrap();
    assert!(error.to_string().contains("restore a backup"), "{error}");
    let findings = hostler_store::verify(dir.path()).unwrap();
    assert!(bad(&findings).contains(&"whole"), "{findings:?}");
}

#[test]
fn a_loss_is_told_at_every_start_and_not_only_the_first() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    hostler_store::compact(Options::new(dir.path())).unwrap();
    // All there is now: a checkpoint, and the state.
    fs::remove_dir_all(dir.path().join("state")).unwrap();
    fs::write(&files(dir.path(), "checkpoints")[0], "no checkpoint").unwrap();
    for _ in 0..3 {
        let error = hostler_store::open_embedded(dir.path()).err().unwrap();
        assert!(error.to_string().contains("restore a backup"), "{error}");
    }
    assert!(bad(&hostler_store::verify(dir.path()).unwrap()).contains(&"whole"), "verify says the same");
}

#[test]
fn a_large_value_that_changed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let value = &files(dir.path(), "values")[0];
    fs::write(value, "else").unwrap();
    let store = open(dir.path());
    let error = block_on(store.get("/large")).unwrap_err().to_string();
    assert!(error.contains("/large") && error.contains("restore that file"), "{error}");
    drop(store);
    closed(dir.path());
    assert_eq!(bad(&hostler_store::verify(dir.path()).unwrap()), ["values"]);
    let store = open(dir.path());
    put(&*store, "/large", "written anew");
    assert_eq!(block_on(store.get("/large")).unwrap().unwrap().value, "written anew");
}

#[test]
fn a_torn_tail_is_cut_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&*store, "/a", "1");
    fail::cfg("journal.write", "return(half)").unwrap();
    put(&*store, "/a", "2");
    fail::remove("journal.write");
    // As if the power went before the state took it in.
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("journal")).unwrap();
    fs::copy(dir.path().join("format"), copy.path().join("format")).unwrap();
    for segment in files(dir.path(), "journal") {
        fs::copy(&segment, copy.path().join("journal").join(segment.file_name().unwrap())).unwrap();
    }
    let (store, told) = open_told(copy.path());
    assert_eq!(all(&*store).0, 1, "what was half written was never there");
    assert!(told.lock().unwrap().is_empty(), "{told:?}");
    put(&*store, "/a", "3");
    drop(store);
    closed(copy.path());
    assert_eq!(&*all(&*open(copy.path())).1[0].1.value, b"3");
}

#[test]
fn checkpoints_let_old_segments_go_and_lead_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..9_000u32 {
        put(&*store, &format!("/k/{}", n % 300), vec![n as u8; 4_000]);
    }
    let held = all(&*store);
    drop(store);
    closed(dir.path());
    assert_eq!(files(dir.path(), "checkpoints").len(), 2);
    assert!(files(dir.path(), "journal").len() < 9, "36 MB were written");
    fs::remove_dir_all(dir.path().join("state")).unwrap();
    assert_eq!(all(&*open(dir.path())), held);
    closed(dir.path());
    fs::remove_dir_all(dir.path().join("state")).unwrap();
    fs::write(&files(dir.path(), "checkpoints")[1], "no checkpoint").unwrap();
    let (store, told) = open_told(dir.path());
    assert_eq!(all(&*store), held, "from the older one");
    assert!(told.lock().unwrap().iter().any(|text| text.contains("a checkpoint can't be used")), "{told:?}");
}

#[test]
fn a_full_disk_refuses_writes_goes_on_reading_and_resumes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&*store, "/a", "1");
    for (seed, point) in ["value.write", "value.rename", "journal.reserve"].into_iter().enumerate() {
        let large = || Txn::new().put("/b", vec![seed as u8; 60_000]);
        fail::cfg(point, "return(enospc)").unwrap();
        // Enough to need a new segment.
        let refused = (0..90).find_map(|n| {
            let txn = if point.starts_with("value") { large() } else { many(n) };
            block_on(store.commit(txn)).err()
        });
        let error = refused.unwrap_or_else(|| panic!("{point} is refused"));
        assert!(matches!(error, StoreError::Full { .. }), "{point}: {error}");
        assert_eq!(block_on(store.get("/a")).unwrap().unwrap().value, "1");
        fail::remove(point);
        block_on(store.commit(large())).unwrap();
    }
    let held = all(&*store);
    drop(store);
    assert_eq!(all(&*open(dir.path())), held);
}

fn many(seed: u32) -> Txn {
    (0..50).fold(Txn::new(), |txn, n| txn.put(format!("/m/{n}"), vec![seed as u8; 4_000]))
}

#[test]
fn a_sync_that_fails_is_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&*store, "/a", "1");
    fail::cfg("journal.sync", "return(eio)").unwrap();
    assert!(block_on(store.commit(Txn::new().put("/a", "2"))).is_err());
    fail::remove("journal.sync");
    block_on(store.stopped());
    assert!(matches!(block_on(store.commit(Txn::new().put("/a", "3"))), Err(StoreError::Stopped)));
}

#[test]
fn a_copy_taken_while_writing_goes_on_opens_whole() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let store = open(&folder);
    put(&*store, "/large", vec![7; 20_000]);
    let copy = dir.path().join("copy");
    let at = block_on(async {
        let writer = async {
            for n in 0..2_000u32 {
                store.commit(Txn::new().put(format!("/k/{}", n % 60), format!("{n}"))).await.unwrap();
            }
        };
        let copier = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            store.snapshot(copy.clone()).await.unwrap()
        };
        futures_util::future::join(writer, copier).await.1
    });
    assert!(hostler_store::verify(&copy).unwrap().iter().all(|finding| finding.is_good()));
    let opened = open(&copy);
    let (revision, entries) = all(&*opened);
    assert!(revision >= at && revision <= 2_001, "{revision} {at}");
    assert_eq!(entries, block_on(store.scan("/", Some(revision))).unwrap().entries);
}

#[test]
fn an_export_imports_and_anything_else_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let held = filled(&from);
    let mut text = Vec::new();
    assert_eq!(hostler_store::export(Options::new(&from), &mut text).unwrap(), 61);
    assert_eq!(hostler_store::import(&to, &mut &text[..]).unwrap(), 61);
    assert_eq!(all(&*open(&to)), held);
    let error = hostler_store::import(&to, &mut &text[..]).unwrap_err();
    assert!(error.to_string().contains("holds a store already"), "{error}");
    let mut changed = text.clone();
    let at = changed.iter().position(|byte| *byte == b'/').unwrap() + 1;
    changed[at] = b'x';
    for (name, text, says) in [
        ("cut", &text[..text.len() / 2], "of the export"),
        ("changed", &changed[..], "not what was exported"),
        ("else", b"hello\n".as_slice(), "no export of a store"),
        ("nothing", b"".as_slice(), "ends early"),
    ] {
        let error = hostler_store::import(&dir.path().join(name), &mut &text[..]).unwrap_err().to_string();
        assert!(error.contains(says), "{name}: {error}");
    }
}

#[test]
fn compacting_keeps_all_and_takes_less() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..3_000u32 {
        put(&*store, &format!("/k/{}", n % 20), vec![n as u8; 4_000]);
    }
    let held = all(&*store);
    drop(store);
    closed(dir.path());
    let (before, after) = hostler_store::compact(Options::new(dir.path())).unwrap();
    assert!(after < before / 3, "{before} {after}");
    assert_eq!(all(&*open(dir.path())), held);
}

/// As the first layout was: sled alone, in the folder itself.
#[test]
fn a_store_of_the_first_layout_is_brought_up_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let old = |value: &[u8], revision: u64| [&1u64.to_be_bytes(), &revision.to_be_bytes(), &[0; 8], value].concat();
    let db = sled::open(dir.path()).unwrap();
    db.insert("/a", old(b"one", 1)).unwrap();
    db.insert("/b", old(&[3; 9_000], 2)).unwrap();
    db.insert("revision", &2u64.to_be_bytes()).unwrap();
    db.flush().unwrap();
    drop(db);
    let store = open(dir.path());
    let (revision, entries) = all(&*store);
    assert_eq!((revision, entries.len()), (2, 2));
    assert_eq!((entries[0].1.created, entries[0].1.modified, &*entries[0].1.value), (1, 1, &b"one"[..]));
    assert_eq!(entries[1].1.value, vec![3; 9_000]);
    assert!(dir.path().join("before-layout-1/db").exists());
    assert_eq!(put(&*store, "/c", "x"), 3);
}

#[test]
fn a_newer_layout_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    fs::write(dir.path().join("format"), "hostler-store 2 39ccee38\n").unwrap();
    let error = hostler_store::open_embedded(dir.path()).err().unwrap();
    assert!(error.to_string().contains("upgrade"), "{error}");
}

/// A store as each released layout wrote it; `HOSTLER_REGENERATE=1` writes the
/// newest anew. Older ones are never touched again.
#[test]
fn a_store_of_every_layout_opens() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/layouts");
    if std::env::var_os("HOSTLER_REGENERATE").is_some() {
        write_layout(&fixtures.join("1"));
    }
    for layout in fs::read_dir(fixtures).unwrap() {
        let dir = tempfile::tempdir().unwrap();
        copy(&layout.unwrap().path(), dir.path());
        let (store, told) = open_told(dir.path());
        assert!(told.lock().unwrap().is_empty(), "{told:?}");
        let (revision, entries) = all(&*store);
        assert_eq!(revision, 12);
        let short: Vec<_> = entries.iter().map(|(key, e)| (&**key, e.created, e.modified, e.value.len())).collect();
        assert_eq!(short, [("/a", 1, 10, 2), ("/b", 12, 12, 5), ("/large", 3, 3, 9_000)]);
        assert_eq!(put(&*store, "/c", "x"), 13);
    }
}

fn write_layout(to: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let store = open(&folder);
    put(&*store, "/a", "0");
    put(&*store, "/b", "gone");
    put(&*store, "/large", vec![5; 9_000]);
    (4..=10).for_each(|n| _ = put(&*store, "/a", format!("{n:02}")));
    block_on(store.commit(Txn::new().delete("/b"))).unwrap();
    let _ = fs::remove_dir_all(to);
    // A checkpoint, and a journal that goes on from it.
    block_on(store.snapshot(dir.path().join("copy"))).unwrap();
    put(&*store, "/b", "again");
    copy(&dir.path().join("copy"), to);
    drop(store);
    closed(&folder);
    drop(open(&folder));
    closed(&folder);
    fs::remove_dir_all(to.join("journal")).unwrap();
    copy(&folder.join("journal"), &to.join("journal"));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let into = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &into) } else { _ = fs::copy(&path, &into).unwrap() }
    }
}
