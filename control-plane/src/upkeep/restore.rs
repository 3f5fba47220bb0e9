//! Putting a backup in the place of what is there, or of nothing.

use super::archive::{self, Manifest};
use super::verify;
use crate::{clock, files, records};
use anyhow::{Context, Result, bail};
use hostler_proto::store as rest;
use hostler_store::{Finding, Options, Txn, Verdict};
use hostler_types::Timestamp;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::path::{Path, PathBuf};

/// What the next start is to say, once.
pub const NOTE: &str = "restored";

pub struct Restored {
    pub manifest: Manifest,
    /// Where what was there before lies now.
    pub before: Option<PathBuf>,
    /// What of the backup was damaged when it was taken.
    pub warnings: Vec<Finding>,
}

/// All of it is unpacked, checked and opened beside the folder before it takes its
/// place; until then nothing has changed.
pub fn restore(file: &Path, passphrase: &str, data: &Path, replace: bool) -> Result<Restored> {
    let is_taken = fs::read_dir(data).is_ok_and(|mut entries| entries.next().is_some());
    if is_taken && !replace {
        bail!(
            "{} is not empty: give --replace, and what is there is kept beside it, or another --data-dir",
            data.display()
        );
    }
    // Held until what is there was put away: nobody may start on it meanwhile.
    let store = data.join("store");
    let held = store.exists().then(|| hostler_store::keep_closed(&store)).transpose();
    let _held = held.context("stop the control plane first")?;
    let beside = sibling(data, "restoring");
    let _ = fs::remove_dir_all(&beside);
    files::private_folder(&beside).with_context(|| format!("make {}", beside.display()))?;
    let outcome = unpack(file, passphrase, &beside).and_then(|(manifest, warnings)| {
        let before = put_in_place(&beside, data, is_taken)?;
        Ok(Restored { manifest, before, warnings })
    });
    let _ = fs::remove_dir_all(&beside);
    outcome
}

/// In one step: there is always a whole folder in the place.
fn put_in_place(beside: &Path, data: &Path, is_taken: bool) -> Result<Option<PathBuf>> {
    let parent = data.parent().unwrap_or(Path::new("/"));
    if !is_taken {
        let _ = fs::remove_dir(data);
        fs::rename(beside, data).with_context(|| format!("put it at {}", data.display()))?;
        files::sync_folder(parent).context("sync the folder")?;
        return Ok(None);
    }
    renameat_with(CWD, beside, CWD, data, RenameFlags::EXCHANGE)
        .with_context(|| format!("put it at {} (is it a mount point?)", data.display()))?;
    let when = clock::wall().to_string().replace(':', "-");
    let to = sibling(data, &format!("before-{when}"));
    fs::rename(beside, &to).with_context(|| format!("what was there lies in {} now", beside.display()))?;
    files::sync_folder(parent).context("sync the folder")?;
    Ok(Some(to))
}

fn sibling(data: &Path, word: &str) -> PathBuf {
    let name = data.file_name().unwrap_or_default().to_string_lossy();
    data.with_file_name(format!("{name}.{word}"))
}

fn unpack(file: &Path, passphrase: &str, into: &Path) -> Result<(Manifest, Vec<Finding>)> {
    let manifest = archive::read(file, passphrase, into).with_context(|| format!("read {}", file.display()))?;
    let bad: Vec<Finding> = verify::verify(into, None)?.into_iter().filter(|finding| !finding.is_good()).collect();
    if let Some(bad) = bad.iter().find(|finding| is_needed(finding)) {
        bail!("the backup was damaged before it was taken: {}: {}", bad.what, bad.said);
    }
    begin_lineage(into)?;
    let note = format!(
        "restored what was at {} (revision {}): what was ordered since is forgotten",
        Timestamp::from_millis(manifest.at_ms),
        manifest.revision
    );
    files::write_private(&into.join(NOTE), note.as_bytes()).context("leave a note for the next start")?;
    rustix::fs::syncfs(fs::File::open(into)?).context("sync the restored folder")?;
    Ok((manifest, bad))
}

/// Without it there is nothing to come back to. All else is mended at the next start,
/// or can be brought again, and is said.
fn is_needed(finding: &Finding) -> bool {
    matches!(&*finding.what, hostler_store::WHOLE | "keys") && finding.verdict == Verdict::Bad
}

/// What was ordered after the backup was taken must not count as newer than what
/// is ordered from now on.
pub fn begin_lineage(data: &Path) -> Result<()> {
    let store = hostler_store::open_with(Options::new(&data.join("store"))).context("open the restored store")?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let stored = store.get(records::META).await?;
        let known = stored.and_then(|entry| records::decode::<rest::Meta>(records::META, &entry.value).ok());
        let meta = next_lineage(known.unwrap_or_default(), clock::wall());
        store.commit(Txn::new().put(records::META, records::encode(&meta))).await?;
        anyhow::Ok(())
    })?;
    let folder = data.join("store");
    drop(store);
    hostler_store::wait_closed(&folder).context("close the restored store")
}

fn next_lineage(known: rest::Meta, now: Timestamp) -> rest::Meta {
    rest::Meta { lineage: (known.lineage + 1).max(now.as_millis() / 1000), ..known }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lineage_only_grows() {
        let meta = |lineage| rest::Meta { lineage, created_at_ms: 3 };
        let now = Timestamp::from_millis(50_000);
        assert_eq!(next_lineage(meta(7), now), meta(50), "the time, as a rule");
        assert_eq!(next_lineage(meta(90), now), meta(91), "even where a clock went back");
    }
}
