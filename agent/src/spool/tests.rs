use super::files::SpoolFiles;
use super::*;
use hostler_agent_core::spool::record::HEADER_BYTES;
use hostler_proto::agent::{SpoolRecord, Transition};
use hostler_types::Timestamp;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

fn transition(number: u64) -> Body {
    Body::Transition(Transition {
        check: format!("check-{}", number % 3),
        from: "passing".into(),
        to: "critical".into(),
        at_ms: number,
        summary: "x".repeat(200),
        streak: 3,
        needed: 3,
    })
}

fn open(folder: &Path) -> (SpoolFiles, Found) {
    SpoolFiles::open(folder, Timestamp::from_millis(1)).expect("opened")
}

fn append(files: &mut SpoolFiles, numbers: impl Iterator<Item = u64>) {
    files.append(numbers.map(transition).collect(), Timestamp::from_millis(1));
}

fn all(files: &SpoolFiles) -> Vec<SpoolRecord> {
    files.read_unacked(usize::MAX).expect("read")
}

fn times(records: &[SpoolRecord]) -> Vec<u64> {
    let at = |record: &SpoolRecord| match &record.body {
        Some(Body::Transition(transition)) => transition.at_ms,
        _ => 0,
    };
    records.iter().map(at).collect()
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "seg"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn a_segment_that_was_only_begun_costs_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut files, _) = open(folder.path());
    append(&mut files, 1..=1);
    // A kill after the head of the next segment.
    let bytes = fs::read(segments(folder.path()).pop().expect("one")).expect("read");
    fs::write(folder.path().join(format!("{:020}.seg", 2)), &bytes[..HEADER_BYTES]).expect("written");
    let (mut files, found) = open(folder.path());
    assert_eq!((found.records, files.state().lost), (1, 0));
    append(&mut files, 2..=3);
    assert_eq!(times(&all(&files)), [1, 2, 3]);
    assert_eq!((files.state().lost, files.state().trouble), (0, None));
}

#[test]
fn what_was_appended_is_there_after_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut files, _) = open(folder.path());
    let id = files.id();
    for number in 1..=500 {
        append(&mut files, std::iter::once(number));
    }
    append(&mut files, 501..=1000);
    // Forgotten, not closed: as a kill would leave it.
    std::mem::forget(files);
    let (mut files, found) = open(folder.path());
    assert_eq!((files.id(), found.records, found.notes.len()), (id, 1000, 0));
    assert_eq!(found.transitions.len(), 3);
    assert_eq!(times(&all(&files)), (1..=1000).collect::<Vec<_>>());
    assert!(segments(folder.path()).len() > 3);

    let first = files.read_unacked(64).expect("read");
    assert_eq!(first.len(), 64);
    files.ack(900);
    assert!(segments(folder.path()).len() <= 2, "acked segments are gone");
    append(&mut files, 1001..=1001);
    assert_eq!(times(&all(&files)), (901..=1001).collect::<Vec<_>>());
    files.ack(1001);
    drop(files);
    let (mut files, _) = open(folder.path());
    append(&mut files, 1002..=1002);
    let last = all(&files).pop().expect("one");
    assert_eq!(last.seq, 1002, "numbers go on after everything was acked");
}

#[test]
fn a_torn_tail_costs_nothing_that_was_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut files, _) = open(folder.path());
    append(&mut files, 1..=10);
    drop(files);
    let path = segments(folder.path()).pop().expect("one");
    let whole = fs::read(&path).expect("read");
    for cut in 1..200 {
        fs::write(&path, &whole[..whole.len() - cut]).expect("written");
        let (mut files, found) = open(folder.path());
        assert_eq!(found.notes.len(), 1, "{:?}", found.notes);
        append(&mut files, 11..=11);
        let records = all(&files);
        assert_eq!(times(&records), [1, 2, 3, 4, 5, 6, 7, 8, 9, 11], "cut {cut}");
        assert!(records.last().is_some_and(|last| last.seq > 10), "the torn number is not used again");
        drop(files);
        for other in segments(folder.path()).iter().filter(|other| **other != path) {
            fs::remove_file(other).expect("removed");
        }
    }
}

#[test]
fn damage_inside_is_counted_and_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut files, _) = open(folder.path());
    append(&mut files, 1..=10);
    drop(files);
    let path = segments(folder.path()).pop().expect("one");
    let mut bytes = fs::read(&path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).expect("written");
    let (files, found) = open(folder.path());
    assert_eq!(found.records, 9);
    let records = all(&files);
    let gaps: Vec<_> = records.iter().filter(|one| matches!(one.body, Some(Body::Gap(_)))).collect();
    assert_eq!((records.len(), gaps.len(), files.state().lost), (10, 1, 1));
    drop(files);
    assert_eq!(open(folder.path()).1.notes.len(), 1, "the note is for each start; the gap is told once more");
}

#[test]
fn a_stranger_s_segment_is_not_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let (files, _) = open(folder.path());
    drop(files);
    let mut file = fs::File::create(folder.path().join(format!("{:020}.seg", 7))).expect("made");
    file.write_all(b"not a segment at all, and long enough").expect("written");
    let (files, found) = open(folder.path());
    assert_eq!((found.records, found.notes.len()), (0, 1));
    assert!(all(&files).iter().all(|one| matches!(one.body, Some(Body::Gap(_)))));
}

#[test]
fn a_disk_that_fails_is_said_and_survived() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = folder.path().join("spool");
    let (mut files, _) = open(&spool);
    append(&mut files, 1..=1);
    // The folder goes away: the open segment still takes records, a new one cannot be made.
    fs::rename(&spool, folder.path().join("away")).expect("renamed");
    append(&mut files, 2..=400);
    assert!(files.state().trouble.is_some());
    assert!(files.state().lost > 0);
    fs::rename(folder.path().join("away"), &spool).expect("renamed");
    append(&mut files, 401..=401);
    assert_eq!(files.state().trouble, None);
    let records = all(&files);
    let lost = records.iter().find_map(|one| match &one.body {
        Some(Body::Gap(gap)) => Some(gap.count),
        _ => None,
    });
    assert_eq!(lost, Some(files.state().lost));
    assert_eq!(times(&records).last(), Some(&401));
    assert!(records.windows(2).all(|pair| pair[0].seq < pair[1].seq));
}
