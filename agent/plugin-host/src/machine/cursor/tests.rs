//! A file that grows, and everything that happens to it on a host.

use super::*;
use crate::machine::testing::grants;
use std::io::Write;

struct Log {
    folder: tempfile::TempDir,
    state: tempfile::TempDir,
    granted: Grants,
    from_end: bool,
}

impl Log {
    fn new(pattern: &str) -> Log {
        let folder = tempfile::tempdir().expect("tempdir");
        let granted = grants(&format!("files = [\"{}/{pattern}\"]", folder.path().display()));
        Log { folder, state: tempfile::tempdir().expect("tempdir"), granted, from_end: false }
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn append(&self, name: &str, text: &str) {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.append(true).create(true).open(self.at(name)).expect("open");
        file.write_all(text.as_bytes()).expect("write");
    }

    fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.at(from), self.at(to)).expect("rename");
    }

    /// Each opening is another process's.
    async fn open(&self) -> Result<(Cursor, Store), CallError> {
        let store = Store::new(Some(self.state.path().to_owned()));
        let cursor = Cursor::open("c", &self.at("a.log"), self.from_end, &self.granted, &store, "web").await?;
        Ok((cursor, store))
    }

    /// All there is now, committed.
    async fn reads(&self) -> String {
        let (mut cursor, store) = self.open().await.unwrap_or_else(|error| panic!("{error:?}"));
        let mut all = Vec::new();
        loop {
            let lines = cursor.lines(2, 1000).await.expect("lines");
            assert!(lines.len() <= 2);
            if lines.is_empty() {
                cursor.commit(&store, "web").expect("kept");
                return all.join(" ");
            }
            all.extend(lines);
        }
    }
}

/// A log's line, as long as to tell one file's beginning from another's.
fn line(text: &str) -> String {
    format!("{text}{}\n", "-".repeat(300))
}

fn short(text: &str) -> String {
    text.replace('-', "")
}

#[tokio::test]
async fn reads_on_from_where_it_committed() {
    let log = Log::new("a.log");
    log.append("a.log", "1\n2\r\n3\n");
    assert_eq!(log.reads().await, "1 2 3");
    assert_eq!(log.reads().await, "");
    log.append("a.log", "4\n");
    assert_eq!(log.reads().await, "4");
    // Not committed, so read again.
    log.append("a.log", "5\n6\n");
    let (mut cursor, _) = log.open().await.expect("open");
    assert_eq!(cursor.lines(1, 100).await.expect("lines"), ["5"]);
    assert_eq!(log.reads().await, "5 6");
}

#[tokio::test]
async fn begins_at_the_end_or_at_the_start() {
    let mut log = Log::new("a.log");
    log.from_end = true;
    log.append("a.log", "1\n2\nhal");
    assert_eq!(log.reads().await, "");
    log.append("a.log", "f\n3\n");
    assert_eq!(log.reads().await, "half 3");
}

#[tokio::test]
async fn a_line_is_read_when_it_is_finished() {
    let log = Log::new("a.log");
    log.append("a.log", "1\nun");
    assert_eq!(log.reads().await, "1");
    log.append("a.log", "finished");
    assert_eq!(log.reads().await, "");
    log.append("a.log", "\n");
    assert_eq!(log.reads().await, "unfinished");
}

#[tokio::test]
async fn a_line_without_end_comes_in_pieces() {
    let log = Log::new("a.log");
    log.append("a.log", &format!("{}\u{e9}{}\nnext\n", "x".repeat(9), "y".repeat(5)));
    let (mut cursor, _) = log.open().await.expect("open");
    let mut all = Vec::new();
    for _ in 0..4 {
        all.extend(cursor.lines(5, 10).await.expect("lines"));
    }
    assert_eq!(all, ["xxxxxxxxx", "\u{e9}yyyyy", "next"]);
    assert!(matches!(cursor.lines(0, 1).await, Err(CallError::Invalid(_))));
    assert!(matches!(cursor.lines(1, 0).await, Err(CallError::Invalid(_))));
}

#[tokio::test]
async fn what_is_no_text_is_read_all_the_same() {
    let log = Log::new("a.log");
    std::fs::write(log.at("a.log"), b"\xff\xfe\nplain\n").expect("write");
    assert_eq!(log.reads().await, "\u{fffd}\u{fffd} plain");
}

#[tokio::test]
async fn a_renamed_file_is_finished_first() {
    let log = Log::new("a.log*");
    log.append("a.log", &line("1"));
    assert_eq!(short(&log.reads().await), "1");
    log.append("a.log", &line("2"));
    log.rename("a.log", "a.log.1");
    // Not there yet, then empty: its writer goes on in the old one.
    assert_eq!(short(&log.reads().await), "2");
    log.append("a.log", "");
    log.append("a.log.1", &line("3"));
    assert_eq!(short(&log.reads().await), "3");
    log.append("a.log.1", "4, cut off");
    log.append("a.log", &line("5"));
    assert_eq!(short(&log.reads().await), "4, cut off 5");
    log.append("a.log", &line("6"));
    assert_eq!(short(&log.reads().await), "6");
}

#[tokio::test]
async fn several_rotations_lose_nothing() {
    for names in [["a.log.3", "a.log.2", "a.log.1"], ["a.log-20260101", "a.log-20260102", "a.log-20260103"]] {
        let log = Log::new("*");
        log.append("a.log", &line("1"));
        assert_eq!(short(&log.reads().await), "1");
        log.append("a.log", &line("2"));
        log.append("a.log.bak", &line("other"));
        log.append("b.log", &line("other"));
        for (index, name) in names.into_iter().enumerate() {
            log.rename("a.log", name);
            log.append("a.log", &line(&format!("{}", index + 3)));
        }
        assert_eq!(short(&log.reads().await), "2 3 4 5", "{names:?}");
        assert_eq!(short(&log.reads().await), "");
    }
}

#[tokio::test]
async fn a_truncated_file_is_read_from_its_start() {
    let log = Log::new("a.log*");
    log.append("a.log", &line("1"));
    log.append("a.log", &line("2"));
    assert_eq!(short(&log.reads().await), "1 2");
    std::fs::write(log.at("a.log"), "").expect("truncate");
    assert_eq!(log.reads().await, "");
    log.append("a.log", &line("3"));
    assert_eq!(short(&log.reads().await), "3");
    // As long as before, or longer, when it is looked at.
    std::fs::write(log.at("a.log"), line("4") + &line("5") + &line("6")).expect("truncate");
    assert_eq!(short(&log.reads().await), "4 5 6");
}

#[tokio::test]
async fn a_copied_and_truncated_file_loses_nothing() {
    let log = Log::new("a.log*");
    log.append("a.log.2", &line("0"));
    log.append("a.log", &line("1"));
    assert_eq!(short(&log.reads().await), "1");
    log.append("a.log", &line("2"));
    std::fs::copy(log.at("a.log"), log.at("a.log.1")).expect("copy");
    std::fs::write(log.at("a.log"), line("3")).expect("truncate");
    assert_eq!(short(&log.reads().await), "2 3");
    assert_eq!(log.reads().await, "");
}

#[tokio::test]
async fn without_a_grant_for_the_rotated_ones_the_new_one_is_read() {
    let log = Log::new("a.log");
    log.append("a.log", &line("1"));
    assert_eq!(short(&log.reads().await), "1");
    log.append("a.log", &line("2"));
    log.rename("a.log", "a.log.1");
    assert_eq!(log.open().await.err(), Some(CallError::other("file", "not found")));
    log.append("a.log", &line("3"));
    assert_eq!(short(&log.reads().await), "3");
}

#[tokio::test]
async fn several_readers_and_files_stand_by_themselves() {
    let log = Log::new("*");
    log.append("a.log", "1\n");
    log.append("b.log", "2\n");
    let store = Store::new(None);
    for (name, file, expect) in [("x", "a.log", "1"), ("y", "a.log", "1"), ("x", "b.log", "2")] {
        let mut cursor = Cursor::open(name, &log.at(file), false, &log.granted, &store, "i").await.expect("open");
        assert_eq!(cursor.lines(9, 99).await.expect("lines"), [expect], "{name} {file}");
        cursor.commit(&store, "i").expect("kept");
    }
    let denied = Cursor::open("x", "/etc/hosts", false, &log.granted, &store, "i").await.err();
    assert!(matches!(denied, Some(CallError::Denied(_))), "{denied:?}");
}
