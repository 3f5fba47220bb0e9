//! Which layout a folder has, and bringing older ones up: one way, and what was
//! there is kept.

use super::open::FORMAT;
use super::{Folder, checkpoint, disk, failed};
use crate::StoreError;
use std::fs;

const WORD: &str = "hostler-store ";

/// Makes sure that the folder has this layout.
pub(super) fn prepare(folder: &Folder) -> Result<(), StoreError> {
    match layout(folder) {
        Some(FORMAT) => return Ok(()),
        Some(newer) if newer > FORMAT => {
            return Err(StoreError::Damaged(format!(
                "{} has layout {newer}, and this version reads up to {FORMAT}: upgrade",
                folder.root.display()
            )));
        }
        _ if folder.root.join("db").exists() => first_layout::bring_up(folder)?,
        // New, or a damaged file; every other one says what it is by itself.
        _ => {}
    }
    write_format(folder)
}

pub(super) fn write_format(folder: &Folder) -> Result<(), StoreError> {
    disk::write_whole("format", &folder.format(), line(FORMAT).as_bytes()).map_err(failed("write the store's format"))
}

/// With a checksum: a damaged number must not be taken for a newer layout.
fn line(layout: u32) -> String {
    let said = format!("{WORD}{layout}");
    format!("{said} {:08x}\n", crc32c::crc32c(said.as_bytes()))
}

/// Which layout the folder says it has; none if the file is damaged.
pub(super) fn layout(folder: &Folder) -> Option<u32> {
    let text = fs::read_to_string(folder.format()).ok()?;
    let layout = text.strip_prefix(WORD)?.split(' ').next()?.parse().ok()?;
    (line(layout) == text).then_some(layout)
}

/// Before there was a journal: sled alone, in the folder itself.
mod first_layout {
    use super::{Folder, StoreError, checkpoint, disk, failed, fs};
    use crate::LeaseId;
    use crate::embedded::state::Materialised;
    use crate::embedded::{INLINE_BYTES_MAX, Stored, Value, frame, values};
    use bytes::Bytes;
    use std::sync::{Arc, RwLock};

    const REVISION_KEY: &[u8] = b"revision";
    const PARTS: [&str; 4] = ["db", "conf", "blobs", "snap"];

    fn damaged() -> StoreError {
        StoreError::Damaged("the store that is brought to the new layout".to_owned())
    }

    fn sled_failed(source: sled::Error) -> StoreError {
        StoreError::Backend { operation: "read the store of the older layout", source: Arc::new(source) }
    }

    /// created, modified, lease: 8 bytes each, then the value.
    fn record(bytes: &[u8], beside: &mut values::Values) -> Result<Vec<u8>, StoreError> {
        let number = |at: usize| Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        let parts = (number(0), number(8), number(16), bytes.get(24..));
        let (Some(created), Some(modified), Some(lease), Some(value)) = parts else { return Err(damaged()) };
        let size = u32::try_from(value.len()).unwrap_or(u32::MAX);
        let value = if value.len() > INLINE_BYTES_MAX {
            Value::Blob { digest: beside.put(value).map_err(failed("write a value"))?, size }
        } else {
            Value::Inline(Bytes::copy_from_slice(value))
        };
        let lease = (lease != 0).then_some(LeaseId(lease));
        Ok(frame::encode_record(&Stored { created, modified, lease, value }))
    }

    pub(super) fn bring_up(folder: &Folder) -> Result<(), StoreError> {
        let mut beside = values::Values::open(folder.values()).map_err(failed("make the store's folders"))?;
        let mut state = Materialised::in_memory(&folder.values());
        let db = sled::open(&folder.root).map_err(sled_failed)?;
        let revision = match db.get(REVISION_KEY).map_err(sled_failed)? {
            Some(bytes) => u64::from_be_bytes(*bytes.first_chunk().ok_or_else(damaged)?),
            None => 0,
        };
        for item in db.range(&b"/"[..]..&b"0"[..]) {
            let (key, bytes) = item.map_err(sled_failed)?;
            let key = std::str::from_utf8(&key).map_err(|_| damaged())?;
            state.load(&[(Arc::from(key), record(&bytes, &mut beside)?.into())])?;
        }
        state.seal(revision)?;
        drop(db);
        disk::make_folder(&folder.checkpoints()).map_err(failed("make the store's folders"))?;
        checkpoint::write(&folder.checkpoints(), &RwLock::new(state))?;
        // The checkpoint is durable: what it was made from becomes the backup.
        let backup = folder.root.join("before-layout-1");
        disk::make_folder(&backup).map_err(failed("keep the older layout"))?;
        for part in
            PARTS.iter().map(|part| (folder.root.join(part), backup.join(part))).filter(|(from, _)| from.exists())
        {
            fs::rename(&part.0, &part.1).map_err(failed("keep the older layout"))?;
        }
        tracing::info!(revision, kept = %backup.display(), "the store was brought to the layout with a journal");
        Ok(())
    }
}
