//! `hostlerctl run fetch`: what a run brought back, in a folder for each node.

mod place;

use crate::cli::Format;
use crate::client::Client;
use crate::output::{Out, plural};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::terminal::sanitize;
use hostler_types::time::whole_millis;
use hostler_types::units::format_size;
use hostler_types::{FetchPath, Name};
use place::Target;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Files follow the end of their task within moments; a host that is away sends them later.
const WAIT: Duration = Duration::from_secs(60);

/// What became of one file here.
pub struct Fetched {
    node: String,
    path: String,
    bytes: u64,
    digest: String,
    /// Where it is now; or why it is not here.
    here: Result<PathBuf, String>,
}

/// `run-7`, in the folder in which somebody works.
pub fn folder_of(number: u64) -> PathBuf {
    PathBuf::from(format!("run-{number}"))
}

pub async fn run(
    mut client: Client,
    out: &Out,
    format: Format,
    number: u64,
    nodes: Vec<String>,
    into: Option<PathBuf>,
) -> Result<ExitCode, Problem> {
    let into = into.unwrap_or_else(|| folder_of(number));
    let files = fetch(&mut client, number, nodes, &into).await?;
    match format {
        Format::Table => out.print(&text(&files, &into))?,
        _ => out.json(&json!({"run": number, "files": json(&files)}))?,
    }
    Ok(code(&files))
}

/// Whether all are here.
pub fn code(files: &[Fetched]) -> ExitCode {
    if files.iter().all(|file| file.here.is_ok()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All that come, each in its place as soon as it is whole. What becomes of one is no other's
/// trouble.
pub async fn fetch(client: &mut Client, number: u64, nodes: Vec<String>, into: &Path) -> Result<Vec<Fetched>, Problem> {
    let request = wire::FetchFilesRequest { number, nodes, wait_ms: whole_millis(WAIT) };
    let mut answers = client.fetch_files(request).await?.into_inner();
    let (mut files, mut coming) = (Vec::new(), None::<(Fetched, Option<Target>)>);
    while let Some(wire::FetchFilesResponse { file, data }) = answers.message().await? {
        if let Some(file) = file {
            files.extend(coming.take().map(finished));
            coming = Some(begun(into, file));
        }
        let Some((fetched, target)) = &mut coming else { continue };
        if let Some(Err(words)) = target.as_mut().map(|target| target.write(&data)) {
            (fetched.here, *target) = (Err(words), None);
        }
    }
    files.extend(coming.take().map(finished));
    files.sort_by(|left, right| (&left.node, &left.path).cmp(&(&right.node, &right.path)));
    Ok(files)
}

/// Names come from elsewhere: nothing that leads out of the folder becomes a path.
fn begun(into: &Path, file: wire::RunFile) -> (Fetched, Option<Target>) {
    let wire::RunFile { node, path, size_bytes: bytes, digest, words, here } = file;
    let made = || -> Result<Target, String> {
        if !here {
            return Err(words);
        }
        let named = Name::new(node.as_str()).map_err(|error| format!("it is of no node: {error}"))?;
        let wanted = FetchPath::new(&path).map_err(|error| error.to_string())?;
        Target::new(into, &named, &wanted)
    };
    let (here, target) = match made() {
        Ok(target) => (Ok(target.path.clone()), Some(target)),
        Err(words) => (Err(words), None),
    };
    (Fetched { node, path, bytes, digest, here }, target)
}

fn finished((mut fetched, target): (Fetched, Option<Target>)) -> Fetched {
    if let Some(target) = target
        && let Err(words) = target.finish(fetched.bytes, &fetched.digest)
    {
        fetched.here = Err(words);
    }
    fetched
}

/// `web-3: report.txt: no such file`, a line each; what came is counted.
pub fn text(files: &[Fetched], into: &Path) -> String {
    let (here, not): (Vec<&Fetched>, Vec<&Fetched>) = files.iter().partition(|file| file.here.is_ok());
    let mut text = String::new();
    if !here.is_empty() {
        let bytes = here.iter().map(|file| file.bytes).sum();
        let (count, size) = (plural(here.len(), "file"), format_size(bytes));
        text.push_str(&format!("fetched {count}, {size}, into {}\n", sanitize(&into.display().to_string())));
    }
    for Fetched { node, path, here, .. } in not {
        let words = here.as_ref().err().map(String::as_str).unwrap_or_default();
        text.push_str(&format!("{}: {}: {}\n", sanitize(node), sanitize(path), sanitize(words)));
    }
    text
}

pub fn json(files: &[Fetched]) -> Value {
    let one = |file: &Fetched| {
        let (to, problem) = match &file.here {
            Ok(path) => (Some(path.display().to_string()), None),
            Err(words) => (None, Some(words)),
        };
        let known = file.here.is_ok();
        json!({
            "node": file.node,
            "path": file.path,
            "bytes": known.then_some(file.bytes),
            "sha256": known.then_some(&file.digest),
            "file": to,
            "problem": problem,
        })
    };
    files.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(node: &str, path: &str, content: &[u8]) -> wire::RunFile {
        wire::RunFile {
            node: node.into(),
            path: path.into(),
            size_bytes: content.len() as u64,
            digest: crate::folder::digest(content),
            words: String::new(),
            here: true,
        }
    }

    fn bring(into: &Path, file: wire::RunFile, content: &[u8]) -> Fetched {
        let (fetched, mut target) = begun(into, file);
        target.as_mut().map_or(Ok(()), |target| target.write(content)).expect("written");
        finished((fetched, target))
    }

    #[test]
    fn files_of_nodes_lie_beside_each_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let into = folder.path().join("run-7");
        let some = [
            bring(&into, file("web-1", "out/report.txt", b"one"), b"one"),
            bring(&into, file("web-2", "out/report.txt", b"two!"), b"two!"),
            bring(&into, wire::RunFile { here: false, words: "no such file".into(), ..file("web-3", "a", b"") }, b""),
        ];
        let read = |path: &str| std::fs::read_to_string(into.join(path)).expect("there");
        assert_eq!((read("web-1/out/report.txt"), read("web-2/out/report.txt")), ("one".into(), "two!".into()));
        let told = text(&some, Path::new("run-7"));
        assert_eq!(told, "fetched 2 files, 7 B, into run-7\nweb-3: a: no such file\n");
        assert_eq!(code(&some), ExitCode::FAILURE);
        assert_eq!(code(&some[..2]), ExitCode::SUCCESS);
        let json = json(&some);
        assert_eq!(json[2]["problem"], "no such file");
        assert_eq!((&json[2]["file"], &json[2]["bytes"], &json[0]["bytes"]), (&Value::Null, &Value::Null, &3.into()));
        // Again: as they are now.
        assert!(bring(&into, file("web-1", "out/report.txt", b"new"), b"new").here.is_ok());
        assert_eq!(read("web-1/out/report.txt"), "new");
    }

    #[test]
    fn nothing_is_written_outside_of_the_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let into = folder.path().join("into");
        for (node, path, words) in [
            ("..", "x", "of no node"),
            ("a/b", "x", "of no node"),
            (".", "x", "of no node"),
            ("", "x", "of no node"),
            ("web1", "../x", "leads out"),
            ("web1", "a/../../x", "leads out"),
            ("web1", "", "no name"),
            ("web1", "a/", "is a folder"),
        ] {
            let refused = bring(&into, file(node, path, b"x"), b"x").here.expect_err(path);
            assert!(refused.contains(words), "{node} {path}: {refused}");
        }
        assert!(bring(&into, file("web1", "/etc/passwd", b"x"), b"x").here.is_ok());
        let inside: Vec<_> =
            std::fs::read_dir(folder.path()).expect("a folder").flatten().map(|one| one.path()).collect();
        assert_eq!(inside, std::slice::from_ref(&into));
        assert_eq!(std::fs::read(into.join("web1/passwd")).expect("there"), b"x");
    }

    #[test]
    fn no_symlink_is_followed_and_nothing_half_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let (into, away) = (folder.path().join("into"), folder.path().join("away"));
        std::fs::create_dir_all(into.join("web1")).expect("made");
        std::fs::create_dir(&away).expect("made");
        std::fs::write(away.join("kept"), "mine").expect("written");
        let link = |to: &Path, at: &str| std::os::unix::fs::symlink(to, into.join(at)).expect("a link");
        link(&away, "web2");
        link(&away, "web1/out");
        link(&away.join("kept"), "web1/kept");
        for (node, path) in [("web2", "x"), ("web1", "out/x"), ("web1", "kept")] {
            let refused = bring(&into, file(node, path, b"x"), b"x").here.expect_err(path);
            assert!(refused.contains("symlink"), "{node} {path}: {refused}");
        }
        assert_eq!(std::fs::read_dir(&away).expect("a folder").count(), 1);
        assert_eq!(std::fs::read_to_string(away.join("kept")).expect("there"), "mine");
        for content in [&b"half"[..], b"another", b"far too much"] {
            let refused = bring(&into, file("web1", "whole", b"whole!!"), content).here.expect_err("not it");
            assert!(refused.contains("is not what"), "{refused}");
        }
        let names = std::fs::read_dir(into.join("web1")).expect("a folder").flatten().map(|one| one.file_name());
        let mut names: Vec<_> = names.filter_map(|name| name.into_string().ok()).collect();
        names.sort();
        assert_eq!(names, ["kept", "out"]);
    }
}
