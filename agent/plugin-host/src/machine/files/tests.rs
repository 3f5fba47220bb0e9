//! Files, links and everything that only looks like them.

use super::*;
use crate::machine::testing::grants;
use rustix::fs::{Mode, mknodat};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

struct Folder {
    folder: tempfile::TempDir,
    path: String,
}

impl Folder {
    fn new() -> Folder {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().canonicalize().expect("a folder").display().to_string();
        Folder { folder, path }
    }

    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        std::fs::write(path, text).expect("write");
    }

    fn link(&self, name: &str, to: &str) {
        symlink(to, self.folder.path().join(name)).expect("link");
    }

    /// With the folder's path for `.` at the start of a pattern.
    fn granted(&self, patterns: &[&str]) -> Grants {
        let patterns: Vec<String> =
            patterns.iter().map(|one| format!("\"{}\"", one.replace("./", &self.at("")))).collect();
        grants(&format!("files = [{}]", patterns.join(", ")))
    }

    async fn reads(&self, name: &str, patterns: &[&str]) -> Result<String, CallError> {
        let bytes = read(&self.at(name), 0, 100, &self.granted(patterns)).await?;
        Ok(String::from_utf8(bytes).expect("text"))
    }

    async fn globs(&self, pattern: &str, patterns: &[&str]) -> Vec<String> {
        let found = glob(&self.at(pattern), 100, &self.granted(patterns)).await.expect("names");
        found.into_iter().map(|path| path.strip_prefix(&self.at("")).expect("below").to_owned()).collect()
    }
}

fn missing() -> Result<String, CallError> {
    Err(CallError::other("file", "not found"))
}

#[tokio::test]
async fn reads_what_is_granted() {
    let folder = Folder::new();
    folder.write("a.log", "hello");
    assert_eq!(folder.reads("a.log", &["./*.log"]).await, Ok("hello".into()));
    assert_eq!(folder.reads("b.log", &["./*.log"]).await, missing());
    assert_eq!(folder.reads("a.log/b", &["./**"]).await, missing());
    let grants = folder.granted(&["./*"]);
    assert_eq!(read(&folder.at("a.log"), 1, 3, &grants).await, Ok(b"ell".to_vec()));
    assert_eq!(read(&folder.at("a.log"), 9, 3, &grants).await, Ok(Vec::new()));
    assert_eq!(read(&folder.at("a.log"), u64::MAX, 3, &grants).await.ok(), None);
}

#[tokio::test]
async fn a_read_is_bounded() {
    let folder = Folder::new();
    folder.write("a", &"x".repeat(2 << 20));
    let bytes = read(&folder.at("a"), 0, u32::MAX, &folder.granted(&["./a"])).await.expect("bytes");
    assert_eq!(bytes.len(), limits::FILE_READ_BYTES_MAX as usize);
}

#[tokio::test]
async fn no_link_leads_out() {
    let folder = Folder::new();
    folder.write("secret", "secret");
    folder.write("in/a.log", "a");
    folder.write("in/private/key", "key");
    for (name, to) in [
        ("in/up.log", "../secret"),
        ("in/absolute.log", "/etc/passwd"),
        ("in/folder.log", "private/key"),
        ("in/self.log", "/proc/self/environ"),
        ("in/out", ".."),
    ] {
        folder.link(name, to);
        let name = if name == "in/out" { "in/out/secret" } else { name };
        let denied = folder.reads(name, &["./in/*.log", "./in/*/secret"]).await.expect_err(name);
        assert!(matches!(&denied, CallError::Denied(says) if says.contains("leads out of")), "{name}: {denied:?}");
    }
}

#[tokio::test]
async fn a_link_to_what_is_granted_is_followed() {
    let folder = Folder::new();
    folder.write("releases/12/health", "well");
    folder.link("current", "releases/12");
    folder.link("absolute", &folder.at("releases/12"));
    for name in ["current/health", "absolute/health"] {
        assert_eq!(folder.reads(name, &["./**"]).await, Ok("well".into()), "{name}");
    }
    // As Kubernetes has it: the link in one folder, the file in another.
    folder.write("pods/x/0.log", "line");
    folder.write("containers/.keep", "");
    folder.link("containers/x.log", &folder.at("pods/x/0.log"));
    assert_eq!(folder.reads("containers/x.log", &["./containers/*.log", "./pods/**"]).await, Ok("line".into()));
    assert!(matches!(folder.reads("containers/x.log", &["./containers/*.log"]).await, Err(CallError::Denied(_))));
}

#[tokio::test]
async fn the_root_may_be_a_link() {
    let folder = Folder::new();
    folder.write("real/a", "a");
    folder.link("run", "real");
    assert_eq!(folder.reads("run/a", &["./run/*"]).await, Ok("a".into()));
    assert_eq!(folder.globs("run/*", &["./run/*"]).await, ["run/a"]);
}

#[tokio::test]
async fn only_regular_files_are_read() {
    let folder = Folder::new();
    std::fs::create_dir(folder.at("folder")).expect("a folder");
    mknodat(rustix::fs::CWD, folder.at("pipe"), FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
    let _listener = std::os::unix::net::UnixListener::bind(folder.at("socket")).expect("a socket");
    for (name, says) in [
        ("folder", "is a folder"),
        ("pipe", "is no regular file: only those are read"),
        ("socket", "is no regular file: only those are read"),
    ] {
        let read = tokio::time::timeout(Duration::from_secs(5), folder.reads(name, &["./*"])).await.expect("at once");
        assert_eq!(read, Err(CallError::other("file", says)), "{name}");
    }
    let device = read("/dev/zero", 0, 10, &grants("files = [\"/dev/*\"]")).await;
    assert_eq!(device, Err(CallError::other("file", "is no regular file: only those are read")));
}

#[tokio::test]
async fn proc_is_read_though_it_says_it_is_empty() {
    let granted = grants("files = [\"/proc/self/status\", \"/proc/loadavg\"]");
    assert!(read("/proc/loadavg", 0, 100, &granted).await.is_ok_and(|bytes| !bytes.is_empty()));
    let status = read("/proc/self/status", 0, 100, &granted).await.expect("text");
    assert!(status.starts_with(b"Name:"));
}

#[tokio::test]
async fn tells_what_a_file_is() {
    let folder = Folder::new();
    folder.write("a", "12345");
    folder.link("to-a", "a");
    folder.link("nowhere", "b");
    folder.link("out", "/etc/passwd");
    let granted = folder.granted(&["./*"]);
    let told = |name: &'static str| {
        let (path, granted) = (folder.at(name), granted.clone());
        async move { stat(&path, &granted).await }
    };
    for name in ["a", "to-a"] {
        let stat = told(name).await.expect("a file");
        assert_eq!((stat.kind, stat.size), (FileKind::File, 5), "{name}");
        assert!(stat.modified.seconds > 0 && stat.mode & 0o400 != 0);
    }
    for name in ["nowhere", "out"] {
        assert_eq!(told(name).await.expect("a link").kind, FileKind::Symlink, "{name}");
    }
    assert_eq!(told("b").await, Err(CallError::other("file", "not found")));
    let parent = Path::new(&folder.path).parent().expect("a parent").display();
    let stat = stat(&folder.path, &grants(&format!("files = [\"{parent}/*\"]"))).await.expect("a folder");
    assert_eq!(stat.kind, FileKind::Directory);
}

#[tokio::test]
async fn names_are_found_and_sorted() {
    let folder = Folder::new();
    for name in ["b.log", "a.log", "c.txt", "x/d.log", "x/y/e.log", "x/y/health", "z w/f.log"] {
        folder.write(name, "");
    }
    for (pattern, expect) in [
        ("*.log", "a.log b.log"),
        ("*/*.log", "x/d.log z w/f.log"),
        ("**/*.log", "a.log b.log x/d.log x/y/e.log z w/f.log"),
        ("**/y/*", "x/y/e.log x/y/health"),
        ("x/**", "x/d.log x/y x/y/e.log x/y/health"),
        ("x/**/**/health", "x/y/health"),
        ("x/*/health", "x/y/health"),
        ("z w/*", "z w/f.log"),
        ("c.txt", "c.txt"),
        ("none/*", ""),
        ("a.log/*", ""),
    ] {
        assert_eq!(folder.globs(pattern, &["./**"]).await.join(" "), expect, "{pattern}");
    }
    let two = glob(&folder.at("**"), 2, &folder.granted(&["./**"])).await.expect("names");
    assert_eq!(two, [folder.at("a.log"), folder.at("b.log")]);
    assert!(matches!(glob("/a/../b", 1, &Grants::default()).await, Err(CallError::Invalid(_))));
}

#[tokio::test]
async fn a_link_hides_no_names() {
    let folder = Folder::new();
    folder.write("private/a.json", "");
    folder.write("home/v/b.json", "");
    folder.write("home/u/status/c.json", "");
    folder.write("home/w/status/d.json", "");
    folder.link("home/u/out", "../../private");
    folder.link("home/v/status", "../v");
    folder.link("home/x", "w");
    folder.link("home/w/loop", "..");
    let granted = ["./home/*/status/*.json"];
    assert_eq!(
        folder.globs("home/*/status/*.json", &granted).await,
        ["home/u/status/c.json", "home/w/status/d.json", "home/x/status/d.json"]
    );
    assert_eq!(
        folder.globs("home/**/*.json", &["./home/**"]).await,
        ["home/u/status/c.json", "home/v/b.json", "home/w/status/d.json"]
    );
}

#[test]
fn a_walk_has_an_end() {
    let folder = Folder::new();
    for index in 0..=100 {
        folder.write(&format!("many/{index}"), "");
    }
    let granted = folder.granted(&["./**"]).files;
    for (pattern, ends) in [("many/*", true), ("*", false), ("many/1", false), ("**/x", true)] {
        let pattern = folder.at(pattern).parse().expect("a pattern");
        let found = glob::glob(&pattern, &granted, 100);
        assert_eq!(matches!(found, Err(CallError::Limit(_))), ends, "{pattern}: {found:?}");
    }
}
