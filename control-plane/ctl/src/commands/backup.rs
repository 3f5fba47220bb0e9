//! `hostlerctl system backup`

use crate::cli::Format;
use crate::client::Client;
use crate::output::{Out, plural};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

fn problem(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> Problem {
    let path = path.to_owned();
    move |source| Problem::File { operation, path: path.clone(), source }
}

/// Written beside and renamed: a file of that name is a whole backup.
pub async fn run(
    client: &mut Client,
    out: &Out,
    format: Format,
    file: &Path,
    passphrase_file: Option<&Path>,
) -> Result<(), Problem> {
    if file.exists() {
        return Err(Problem::Usage(format!("{} is there already: backups are never overwritten", file.display())));
    }
    let passphrase = passphrase_file.map(read_passphrase).transpose()?.unwrap_or_default();
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = file.with_file_name(name);
    let outcome = receive(client, &partial, passphrase.clone()).await;
    let (head, bytes) = match outcome {
        Ok(received) => received,
        Err(error) => {
            let _ = fs::remove_file(&partial);
            return Err(error);
        }
    };
    fs::rename(&partial, file).map_err(problem("write", file))?;
    if format != Format::Table {
        let sealed = !passphrase.is_empty();
        return out.json(&json!({
            "file": file.display().to_string(),
            "revision": head.revision,
            "nodes": head.nodes,
            "bytes": bytes,
            "sealed": sealed,
        }));
    }
    let size = match bytes {
        0..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    };
    let nodes = plural(head.nodes as usize, "node");
    out.line(format!("saved revision {} ({nodes}) to {}, {size}", head.revision, file.display()))?;
    if passphrase.is_empty() {
        out.line("it holds the fleet's keys, and whoever has it can read them: keep it as you keep keys, or seal it")?;
        out.line("by --passphrase-file FILE")?;
    }
    out.line(format!("to come back:  hostler-control-plane restore {}", file.display()))
}

fn read_passphrase(path: &Path) -> Result<String, Problem> {
    let text = fs::read_to_string(path).map_err(problem("read", path))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(Problem::Usage(format!("{}: its first line is empty, and is to be the passphrase", path.display()))),
    }
}

async fn receive(
    client: &mut Client,
    partial: &Path,
    passphrase: String,
) -> Result<(wire::BackupResponse, u64), Problem> {
    let mut pieces = client.backup(wire::BackupRequest { passphrase }).await?.into_inner();
    let mut file = create(partial).map_err(problem("write", partial))?;
    let (mut head, mut bytes) = (None, 0);
    while let Some(piece) = pieces.message().await? {
        file.write_all(&piece.data).map_err(problem("write", partial))?;
        bytes += piece.data.len() as u64;
        head.get_or_insert(piece);
    }
    file.sync_all().map_err(problem("write", partial))?;
    Ok((head.unwrap_or_default(), bytes))
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}
