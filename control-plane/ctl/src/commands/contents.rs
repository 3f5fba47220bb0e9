//! The content of a spec's files: sent where it is missing, fetched where it is
//! to be compared.

use crate::client::Client;
use crate::folder::{self, Input};
use crate::plan_view::FileChanges;
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::spec::{Object, Target};
use similar::{ChangeTag, TextDiff};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

/// Well under what one message may have.
const PIECE_BYTES: usize = 256 * 1024;
/// Nobody reads the lines of more.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Two texts with nothing in common take quadratic time; after this long the
/// difference is a coarser one, and still right.
const COMPARE_TIME_MAX: Duration = Duration::from_secs(1);

/// `files/haproxy.cfg` and its digest, for all that objects refer to.
pub fn files_of<'a>(objects: impl IntoIterator<Item = &'a Object>) -> BTreeMap<String, String> {
    let links = objects.into_iter().flat_map(|object| &object.links);
    let file = |link: &hostler_types::spec::Link| match &link.to {
        Target::File { file, digest } => Some((file.clone(), digest.clone())),
        _ => None,
    };
    links.filter_map(file).collect()
}

/// Its lines, where it is text that somebody could read, and still there.
pub async fn text(
    client: &mut Client,
    input: Option<&Input>,
    file: &str,
    digest: &str,
) -> Result<Option<String>, Problem> {
    let known = input.and_then(|input| input.source.contents.as_ref()?.get(file));
    if let Some(content) = known.filter(|content| content.digest == digest) {
        if content.size > TEXT_BYTES_MAX as u64 {
            return Ok(None);
        }
        let bytes = input.and_then(|input| fs::read(input.contents.get(file)?).ok());
        return Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()));
    }
    let answer = client.get_file(wire::GetFileRequest { digest: digest.to_owned() }).await;
    let mut pieces = match answer {
        Ok(answer) => answer.into_inner(),
        // Gone with its version: only its name is told.
        Err(status) if status.code() == tonic::Code::NotFound => return Ok(None),
        Err(status) => return Err(status.into()),
    };
    let mut content = Vec::new();
    while let Some(piece) = pieces.message().await? {
        content.extend_from_slice(&piece.data);
        if content.len() > TEXT_BYTES_MAX {
            return Ok(None);
        }
    }
    Ok(String::from_utf8(content).ok())
}

pub fn compared<'a>(before: &'a str, after: &'a str) -> TextDiff<'a, 'a, 'a, str> {
    TextDiff::configure().timeout(COMPARE_TIME_MAX).diff_lines(before, after)
}

/// How many lines come and go in each file whose content changes.
pub async fn changes(
    client: &mut Client,
    plan: &wire::PlanResponse,
    input: Option<&Input>,
) -> Result<FileChanges, Problem> {
    let mut changes = FileChanges::new();
    let fields = plan.changes.iter().flat_map(|change| &change.fields);
    let changed: BTreeSet<_> = fields.filter_map(content_change).collect();
    for (file, from, to) in changed {
        let (old, new) = (text(client, None, &file, &from).await?, text(client, input, &file, &to).await?);
        if let (Some(old), Some(new)) = (old, new) {
            let diff = compared(&old, &new);
            let count = |tag| diff.iter_all_changes().filter(|change| change.tag() == tag).count();
            changes.insert((from, to), (count(ChangeTag::Insert), count(ChangeTag::Delete)));
        }
    }
    Ok(changes)
}

/// A field that names the same file before and after: the file and both digests.
fn content_change(field: &wire::FieldChange) -> Option<(String, String, String)> {
    let text = |json: &str| serde_json::from_str::<String>(json).ok();
    let (before, after) = (text(&field.before_json)?, text(&field.after_json)?);
    let ((old, from), (new, to)) = (before.split_once("@sha256:")?, after.split_once("@sha256:")?);
    (old == new).then(|| (new.to_owned(), from.to_owned(), to.to_owned()))
}

/// Sends the content that the control plane does not have.
pub async fn send(client: &mut Client, files: &BTreeMap<String, String>, input: &Input) -> Result<(), Problem> {
    if files.is_empty() {
        return Ok(());
    }
    let digests: BTreeSet<&String> = files.values().collect();
    let request = wire::FindMissingFilesRequest { digests: digests.into_iter().cloned().collect() };
    let mut missing: BTreeSet<String> =
        client.find_missing_files(request).await?.into_inner().digests.into_iter().collect();
    for (file, digest) in files {
        // The same content under two names is sent once.
        if !missing.remove(digest) {
            continue;
        }
        let Some(path) = input.contents.get(file) else {
            let told = format!("{file}@sha256:{digest} is not on the control plane: apply the folder that holds it");
            return Err(Problem::Failed(told));
        };
        let read = fs::read(path);
        let content = read.map_err(|source| Problem::File { operation: "read", path: path.clone(), source })?;
        if folder::digest(&content) != *digest {
            return Err(Problem::Failed(format!("{} changed while it was read: try again", path.display())));
        }
        let pieces: Vec<_> =
            content.chunks(PIECE_BYTES).map(|piece| wire::PutFileRequest { data: piece.to_vec() }).collect();
        client.put_file(tokio_stream::iter(pieces)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_that_stays_the_same_one_is_compared() {
        let field = |before: &str, after: &str| wire::FieldChange {
            path: "files".into(),
            before_json: serde_json::json!(before).to_string(),
            after_json: serde_json::json!(after).to_string(),
        };
        let found = content_change(&field("files/a@sha256:01", "files/a@sha256:02"));
        assert_eq!(found, Some(("files/a".into(), "01".into(), "02".into())));
        assert_eq!(content_change(&field("files/a@sha256:01", "files/b@sha256:02")), None);
        assert_eq!(content_change(&field("10s", "20s")), None);
        assert_eq!(content_change(&wire::FieldChange::default()), None);
    }
}
