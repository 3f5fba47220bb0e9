use super::*;
use std::io::Read;
use std::path::PathBuf;

fn all(path: &Path) -> Vec<u8> {
    let mut names: Vec<PathBuf> =
        (1..9).flat_map(|n| ["", ".gz"].map(|end| format!("{}.{n}{end}", path.display()).into())).collect();
    names.reverse();
    names.push(path.to_owned());
    let mut found = Vec::new();
    for name in names.into_iter().filter(|name| name.exists()) {
        let file = File::open(&name).unwrap();
        if name.extension().is_some_and(|end| end == "gz") {
            flate2::read::GzDecoder::new(file).read_to_end(&mut found).unwrap();
        } else {
            File::open(&name).unwrap().read_to_end(&mut found).unwrap();
        }
    }
    found
}

fn append(path: &Path, bytes: &[u8]) {
    fs::OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn every_byte_is_somewhere_and_in_order() {
    for compress in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.log");
        let mut expected = Vec::new();
        for round in 0..4u8 {
            let bytes = vec![b'a' + round; 10_000 + usize::from(round)];
            append(&path, &bytes);
            expected.extend(bytes);
            let rotated = rotate(&path, 5, compress).unwrap().unwrap();
            assert!(rotated.bytes > 0);
            assert_eq!(all(&path), expected, "round {round}");
        }
    }
}

#[test]
fn the_oldest_go_and_an_empty_file_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.log");
    append(&path, b"");
    assert_eq!(rotate(&path, 2, false), Ok(None));
    for _ in 0..4 {
        append(&path, &[b'x'; 8192]);
        rotate(&path, 2, false).unwrap();
    }
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["out.log", "out.log.1", "out.log.2"]);
}

/// A writer that never stops loses nothing where blocks can be taken out.
#[test]
fn nothing_that_is_written_meanwhile_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.log");
    append(&path, b"");
    let writer = {
        let path = path.clone();
        std::thread::spawn(move || (0..40_000u32).for_each(|n| append(&path, format!("{n:07}\n").as_bytes())))
    };
    let mut lossless = true;
    while !writer.is_finished() {
        if let Some(rotated) = rotate(&path, 100, false).unwrap() {
            lossless &= rotated.lossless;
        }
        if fs::metadata(folder.path().join("out.log.99")).is_ok() {
            break;
        }
    }
    writer.join().unwrap();
    if lossless {
        let mut names: Vec<(u32, PathBuf)> = fs::read_dir(folder.path())
            .unwrap()
            .map(|one| one.unwrap().path())
            .map(|path| (path.to_str().unwrap().rsplit('.').next().unwrap().parse().unwrap_or(0), path))
            .collect();
        names.sort();
        let text: String = names.iter().rev().map(|(_, path)| fs::read_to_string(path).unwrap()).collect();
        let numbers: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
        assert!(numbers.iter().copied().eq(0..40_000), "{} lines", numbers.len());
    }
}

#[test]
fn a_file_is_due_when_it_is_large_or_old() {
    let hour = Some(Duration::from_secs(3600));
    let large = Due { over_bytes: Some(100), older: None };
    let old = Due { over_bytes: None, older: hour };
    assert!(Due::default().holds(1, None) && !Due::default().holds(0, None));
    assert!(large.holds(101, None) && !large.holds(100, hour));
    assert!(old.holds(1, hour) && !old.holds(1, Some(Duration::from_secs(3599))) && !old.holds(0, hour));
    assert!(!old.holds(1, None), "begun nobody knows when");
    assert!(Due { over_bytes: Some(100), older: hour }.holds(1, hour));
}

#[test]
fn a_star_stands_for_the_files_that_are_written() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [("a.log", 9000), ("b.log", 9000), ("c.log", 10), ("d.txt", 9000), ("a.log.7", 9000)] {
        append(&folder.path().join(name), &vec![b'x'; bytes]);
    }
    let due = Due { over_bytes: Some(8192), older: None };
    let logs = folder.path().join("*.log*");
    assert_eq!(rotate_all(&logs, due, 8, false).unwrap().len(), 2);
    let exists = |name: &str| folder.path().join(name).exists();
    assert!(exists("a.log.1") && exists("b.log.1") && !exists("c.log.1") && !exists("d.txt.1"));
    assert!(!exists("a.log.7.1") && exists("a.log.8"), "old ones only move on");
    assert_eq!(rotate_all(&folder.path().join("none/*.log"), due, 8, false), Ok(Vec::new()));
}

#[test]
fn none_is_kept_where_none_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.log");
    append(&path, &[b'x'; 9000]);
    assert!(rotate(&path, 0, true).unwrap().is_some());
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert_eq!(names, ["out.log"]);
    assert!(fs::metadata(&path).unwrap().len() < 4096);
}
