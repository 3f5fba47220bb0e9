//! `hostlerctl apply`, `get` and `delete`

use super::confirm;
use crate::cli::{DeleteArgs, Format, GetArgs};
use crate::client::Client;
use crate::output::{Cell, Out, Tone, plural};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::spec::{Object, SourceFile, read_files, read_json, to_value, write_yaml};
use serde_json::json;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A spec is written by people.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Reads every file named, and every `.yaml` and `.yml` in every folder named.
pub fn read(paths: &[PathBuf]) -> Result<Vec<wire::Document>, Problem> {
    let mut files = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            let read = std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
            read.map_err(|source| Problem::File { operation: "read", path: path.clone(), source })?;
            if text.len() as u64 > FILE_BYTES_MAX {
                return Err(Problem::Failed("standard input is larger than 1 MiB: is it a spec?".into()));
            }
            files.push(SourceFile { path: "<stdin>".to_owned(), text });
        } else if path.is_dir() {
            let before = files.len();
            for file in spec_files(path)? {
                files.push(read_file(&file)?);
            }
            if files.len() == before {
                return Err(Problem::Failed(format!("{} holds no .yaml file", path.display())));
            }
        } else {
            files.push(read_file(path)?);
        }
    }
    Ok(read_files(&files)?.iter().map(to_document).collect())
}

/// Of the folder itself: `env/` and `files/` below it mean something else.
fn spec_files(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let failed = |source| Problem::File { operation: "read the folder", path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if yaml && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_file(path: &Path) -> Result<SourceFile, Problem> {
    let failed = |source| Problem::File { operation: "read", path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > FILE_BYTES_MAX {
        return Err(Problem::Failed(format!("{} is larger than 1 MiB: is it a spec?", path.display())));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    Ok(SourceFile { path: path.display().to_string(), text })
}

fn to_document(object: &Object) -> wire::Document {
    wire::Document {
        kind: object.body.kind().word().to_owned(),
        name: object.name.to_string(),
        body_json: object.body.to_json(false).to_string(),
        origin: object.origin.clone(),
    }
}

pub async fn apply(
    mut client: Client,
    out: &Out,
    format: Format,
    documents: Vec<wire::Document>,
    dry_run: bool,
) -> Result<(), Problem> {
    let answer = client.apply(wire::ApplyRequest { documents, dry_run }).await?.into_inner();
    if format != Format::Table {
        let changes = answer.changes.iter().map(
            |change| json!({ "kind": change.kind, "name": change.name, "act": change.act, "effect": change.effect }),
        );
        return out
            .json(&json!({ "changes": changes.collect::<Vec<_>>(), "revision": answer.revision, "dry_run": dry_run }));
    }
    let changed = print_changes(out, &answer.changes)?;
    let unchanged = answer.changes.len() - changed;
    let same = if unchanged > 0 { format!(", {unchanged} unchanged") } else { String::new() };
    match (changed, dry_run) {
        (0, _) => out.line(format!("nothing to do{same}")),
        (_, true) => out.line(format!("{} would change{same}.  Nothing was done.", plural(changed, "object"))),
        (_, false) => out.line(format!("{} applied{same}", plural(changed, "object"))),
    }
}

fn print_changes(out: &Out, changes: &[wire::Change]) -> Result<usize, Problem> {
    let rows: Vec<Vec<Cell>> = changes
        .iter()
        .filter(|change| change.act != "unchanged")
        .map(|change| {
            let tone = match change.act.as_str() {
                "create" => Tone::Good,
                "delete" => Tone::Bad,
                _ => Tone::Uneasy,
            };
            vec![
                Cell::new(&change.act).tone(tone),
                Cell::new(&change.kind),
                Cell::new(&change.name),
                Cell::new(&change.effect),
            ]
        })
        .collect();
    if !rows.is_empty() {
        out.print(&out.table(&["ACT", "KIND", "NAME", "EFFECT"], &rows))?;
    }
    Ok(rows.len())
}

pub async fn get(mut client: Client, out: &Out, format: Format, args: GetArgs) -> Result<(), Problem> {
    let request = wire::GetObjectsRequest { kind: args.kind.clone(), name: args.name.unwrap_or_default() };
    let documents = client.get_objects(request).await?.into_inner().documents;
    let objects: Vec<Object> =
        documents.iter().map(|one| read_json(&one.kind, &one.name, &one.body_json, "")).collect::<Result<_, _>>()?;
    match format {
        Format::Json => out.json(&to_value(&objects, args.full)),
        // What is printed can be applied.
        _ if objects.is_empty() => {
            eprintln!("no {} is applied", args.kind);
            Ok(())
        }
        _ => out.print(&write_yaml(&objects, args.full)),
    }
}

pub async fn delete(mut client: Client, out: &Out, args: DeleteArgs) -> Result<(), Problem> {
    confirm(&format!("{} {} goes.", args.kind, args.names.join(", ")), args.yes)?;
    let request = wire::DeleteObjectsRequest { kind: args.kind, names: args.names };
    let answer = client.delete_objects(request).await?.into_inner();
    out.line(format!("{} deleted", plural(answer.changes.len(), "object")))
}
