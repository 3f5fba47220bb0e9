//! What people do to a store that is not open: look at all of it, take it out,
//! put it in, make it small.

use super::checkpoint::{self, Checkpoint};
use super::journal::Survey;
use super::open::{self, Options};
use super::recover::{self, Decision, Evidence, Loss};
use super::state::{Materialised, decode};
use super::{Folder, INLINE_BYTES_MAX, Stored, Value, disk, failed, frame, migrate, probe, values};
use crate::{Revision, StoreError};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// What was looked at, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub what: String,
    pub said: String,
    pub good: bool,
    /// What is to be done, where something is.
    pub help: Option<String>,
}

impl Finding {
    pub fn good(what: &str, said: String) -> Self {
        Self { what: what.to_owned(), said, good: true, help: None }
    }

    pub fn bad(what: &str, said: String, help: &str) -> Self {
        Self { what: what.to_owned(), said, good: false, help: Some(help.to_owned()) }
    }
}

/// What is said of the whole, and looked for by whoever reads on.
pub const WHOLE: &str = "whole";
const CLOSE_TRIES: u32 = 1_000;
const CLOSE_PAUSE: Duration = Duration::from_millis(10);
/// Mended by itself: the others hold the same.
const MENDS: &str = "nothing is lost: it is mended at the next start";
const RESTORE: &str = "restore a backup: hostler-control-plane restore FILE";

/// A store that is not open, looked at and not changed.
struct Look {
    folder: Folder,
    _lock: File,
    survey: Survey,
    /// Those that can be read.
    checkpoints: Vec<Checkpoint>,
    tried: Result<Revision, String>,
}

impl Look {
    fn at(folder: &Path, findings: &mut Vec<Finding>) -> Result<Self, StoreError> {
        let folder = Folder { root: folder.to_owned() };
        if !folder.root.exists() {
            return Err(StoreError::Lost(format!("there is no store in {}", folder.root.display())));
        }
        let lock = folder.lock()?;
        findings.push(look_at_format(&folder));
        let survey = Survey::look(&folder.journal()).map_err(failed("read the journal"))?;
        findings.extend(look_at_journal(&survey));
        let checkpoints = look_at_checkpoints(&folder, findings)?;
        let tried = probe::try_state(&folder, &open::Probe::InProcess);
        Ok(Self { folder, _lock: lock, survey, checkpoints, tried })
    }

    fn decide(&self, state: Option<Revision>) -> Result<Decision, Loss> {
        recover::decide(&Evidence {
            journal: self.survey.ranges(),
            checkpoints: self.checkpoints.iter().map(|one| (one.start, one.end)).collect(),
            state,
            seen: 0,
        })
    }

    /// What checkpoint and journal lead to without the state.
    fn rebuilt(&self) -> Option<Materialised> {
        let decision = self.decide(None).ok()?;
        let mut memory = Materialised::in_memory(&self.folder.values());
        open::build(&mut memory, &decision, &self.checkpoints, &self.survey).ok()?;
        Some(memory)
    }

    /// The state as it would be opened; nothing where something was lost.
    fn settled(&self) -> Option<Materialised> {
        let decision = self.decide(self.tried.as_ref().ok().copied()).ok()?;
        let rebuilt = self.rebuilt().filter(|state| state.summary().revision == decision.newest);
        let there = || self.folder.state().exists().then(|| probe::open_state(&self.folder).ok());
        rebuilt.or_else(|| there().flatten())
    }
}

/// Reads everything and changes nothing.
pub fn verify(folder: &Path) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    let look = Look::at(folder, &mut findings)?;
    findings.push(look_at_state(&look));
    findings.push(match look.decide(look.tried.as_ref().ok().copied()) {
        Ok(decision) if decision.journal_lacks => Finding::bad(
            WHOLE,
            format!("all of it up to revision {}, though not from the journal", decision.newest),
            MENDS,
        ),
        Ok(decision) => Finding::good(WHOLE, format!("all of it up to revision {}", decision.newest)),
        Err(loss) => Finding::bad(WHOLE, format!("revisions {} to {} can't be read", loss.first, loss.newest), RESTORE),
    });
    if let Some(state) = look.settled() {
        findings.push(look_at_values(&look.folder, &state));
    }
    Ok(findings)
}

/// Hands out every key and value as they would be after opening, and changes
/// nothing.
pub fn read_all(folder: &Path, take: &mut dyn FnMut(&str, &[u8])) -> Result<(), StoreError> {
    let look = Look::at(folder, &mut Vec::new())?;
    let state =
        look.settled().ok_or_else(|| StoreError::Lost("hostler-control-plane store verify says what".to_owned()))?;
    state.each(None, usize::MAX, |key, raw| {
        take(key, &state.record(key, raw)?.entry.value);
        Ok(())
    })?;
    Ok(())
}

/// Waits until whoever had it open has let it go.
pub fn wait_closed(folder: &Path) -> Result<(), StoreError> {
    let mut tries = 0;
    loop {
        match (Folder { root: folder.to_owned() }).lock() {
            Err(StoreError::InUse(_)) if tries < CLOSE_TRIES => {
                tries += 1;
                std::thread::sleep(CLOSE_PAUSE);
            }
            outcome => return outcome.map(drop),
        }
    }
}

/// Keeps everybody out of a store for as long as the lock is held; fails where another
/// process has it open.
pub fn keep_closed(folder: &Path) -> Result<File, StoreError> {
    Folder { root: folder.to_owned() }.lock()
}

fn look_at_format(folder: &Folder) -> Finding {
    match migrate::layout(folder) {
        Some(number) if number > open::FORMAT => {
            Finding::bad("format", format!("layout {number} is newer than this version reads"), "upgrade")
        }
        Some(number) => Finding::good("format", format!("layout {number}")),
        None => Finding::bad("format", "the file that says which layout this is can't be read".to_owned(), MENDS),
    }
}

fn look_at_journal(survey: &Survey) -> Vec<Finding> {
    let ranges = survey.ranges();
    let mut findings: Vec<Finding> = survey
        .segments
        .iter()
        .filter_map(|segment| {
            let at = segment.damaged_at?;
            let help = "it is held against state and checkpoints below";
            Some(Finding::bad(&format!("journal {}", segment.path.display()), format!("damaged at byte {at}"), help))
        })
        .collect();
    if findings.is_empty() {
        let text = match (ranges.first(), ranges.last()) {
            (Some(first), Some(last)) => {
                let plural = if survey.segments.len() == 1 { "" } else { "s" };
                format!("{} segment{plural}, revisions {} to {}", survey.segments.len(), first.0, last.1)
            }
            _ => "empty".to_owned(),
        };
        findings.push(Finding::good("journal", text));
    }
    findings
}

fn look_at_checkpoints(folder: &Folder, findings: &mut Vec<Finding>) -> Result<Vec<Checkpoint>, StoreError> {
    let mut good = Vec::new();
    for one in checkpoint::look(&folder.checkpoints()).map_err(failed("list the checkpoints"))? {
        match checkpoint::read(&one, |_, _| Ok(())) {
            Ok(_) => {
                let text = format!("revision {} to {}", one.start, one.end);
                findings.push(Finding::good("checkpoint", text));
                good.push(one);
            }
            Err(error) => findings.push(Finding::bad("checkpoint", error.to_string(), MENDS)),
        }
    }
    Ok(good)
}

fn look_at_state(look: &Look) -> Finding {
    if !look.folder.state().exists() {
        return Finding::good("state", "not there, and made at the next start".to_owned());
    }
    if let Err(why) = &look.tried {
        return Finding::bad("state", why.clone(), MENDS);
    }
    let summary = probe::open_state(&look.folder).map(|state| state.summary());
    let rebuilt = look.rebuilt().map(|state| state.summary());
    match (summary, rebuilt) {
        (Ok(found), Some(rebuilt)) if found.revision == rebuilt.revision && found != rebuilt => {
            Finding::bad("state", "it differs from what journal and checkpoint lead to".to_owned(), RESTORE)
        }
        (Ok(found), _) => Finding::good("state", format!("{} records at revision {}", found.records, found.revision)),
        (Err(why), _) => Finding::bad("state", why, MENDS),
    }
}

/// Each large value that a record names.
fn look_at_values(folder: &Folder, state: &Materialised) -> Finding {
    let mut count = 0;
    let mut bad = Vec::new();
    let each = state.each(None, usize::MAX, |key, record| {
        if let Value::Blob { digest, .. } = decode(key, record)?.value {
            count += 1;
            if let Err(error) = values::read(&folder.values(), &digest) {
                bad.push(format!("the value of {key} ({}): {error}", values::name(&digest)));
            }
        }
        Ok(())
    });
    bad.extend(each.err().map(|error| error.to_string()));
    match bad.first() {
        None => Finding::good("values", format!("{count} large ones")),
        Some(first) => Finding::bad(
            "values",
            if bad.len() == 1 { first.clone() } else { format!("{first}, and {} more", bad.len() - 1) },
            "restore these files below store/values from a backup",
        ),
    }
}

#[derive(Serialize, Deserialize)]
struct Head {
    #[serde(rename = "hostler-export")]
    format: u32,
    revision: u64,
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    created: u64,
    modified: u64,
    /// Base64.
    value: String,
}

#[derive(Serialize, Deserialize)]
struct Tail {
    records: u64,
    /// Over the lines between the first and this one.
    sha256: String,
}

const EXPORT_FORMAT: u32 = 1;

fn json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| failed("write JSON")(error.into()))
}

/// All of it, a record a line. What is leased is left out: it would be gone.
/// Returns how many.
pub fn export(options: Options, out: &mut dyn Write) -> Result<u64, StoreError> {
    let (_backend, state) = open::open(options)?;
    let write = |out: &mut dyn Write, line: &str| writeln!(out, "{line}").map_err(failed("write the export"));
    write(out, &json(&Head { format: EXPORT_FORMAT, revision: state.summary().revision })?)?;
    let mut sums = ring::digest::Context::new(&ring::digest::SHA256);
    let mut records = 0;
    state.each(None, usize::MAX, |key, raw| {
        let record = state.record(key, raw)?;
        if record.lease.is_some() {
            return Ok(());
        }
        let value = data_encoding::BASE64.encode(&record.entry.value);
        let (created, modified) = (record.entry.created, record.entry.modified);
        let line = json(&Line { key: key.to_owned(), created, modified, value })?;
        sums.update(line.as_bytes());
        records += 1;
        write(out, &line)
    })?;
    let sha256 = data_encoding::HEXLOWER.encode(sums.finish().as_ref());
    write(out, &json(&Tail { records, sha256 })?)?;
    Ok(records)
}

/// Makes a store of an export, where none is. Returns how many records.
pub fn import(folder: &Path, input: &mut dyn BufRead) -> Result<u64, StoreError> {
    let folder = Folder { root: folder.to_owned() };
    let taken = fs::read_dir(&folder.root).is_ok_and(|mut entries| entries.next().is_some());
    if taken {
        return Err(StoreError::InUse(format!("{} holds a store already; it", folder.root.display())));
    }
    disk::make_folder(&folder.root).map_err(failed("make the store's folder"))?;
    let _lock = folder.lock()?;
    let wrong = |line: usize, why: &str| StoreError::Damaged(format!("line {line} of the export: {why}"));
    let mut values = values::Values::open(folder.values()).map_err(failed("make the store's folders"))?;
    let mut state = Materialised::in_memory(&folder.values());
    let mut sums = ring::digest::Context::new(&ring::digest::SHA256);
    let (mut head, mut tail, mut records) = (None, None, 0);
    for (index, line) in input.lines().enumerate() {
        let (number, line) = (index + 1, line.map_err(failed("read the export"))?);
        if head.is_none() {
            let found: Head = serde_json::from_str(&line).map_err(|_| wrong(number, "it is no export of a store"))?;
            if found.format != EXPORT_FORMAT {
                return Err(wrong(number, "it was written by another version"));
            }
            head = Some(found);
        } else if let Ok(found) = serde_json::from_str::<Line>(&line) {
            sums.update(line.as_bytes());
            records += 1;
            let record =
                read_line(&found, &mut values).ok_or_else(|| wrong(number, "its key or value can't be read"))?;
            state.load(&[(Arc::from(found.key), frame::encode_record(&record).into())])?;
        } else {
            let found: Tail = serde_json::from_str(&line).map_err(|_| wrong(number, "it is no record"))?;
            tail = Some(found);
        }
    }
    let (Some(head), Some(tail)) = (head, tail) else {
        return Err(wrong(records as usize + 2, "the export ends early"));
    };
    if tail.records != records || tail.sha256 != data_encoding::HEXLOWER.encode(sums.finish().as_ref()) {
        return Err(wrong(records as usize + 2, "it is not what was exported"));
    }
    state.seal(head.revision)?;
    disk::make_folder(&folder.checkpoints()).map_err(failed("make the store's folders"))?;
    checkpoint::write(&folder.checkpoints(), &RwLock::new(state))?;
    migrate::write_format(&folder)?;
    Ok(records)
}

fn read_line(line: &Line, values: &mut values::Values) -> Option<Stored> {
    if !line.key.starts_with('/') || line.key.len() > crate::KEY_BYTES_MAX {
        return None;
    }
    let value = data_encoding::BASE64.decode(line.value.as_bytes()).ok()?;
    let value = if value.len() > INLINE_BYTES_MAX {
        Value::Blob { digest: values.put(&value).ok()?, size: u32::try_from(value.len()).ok()? }
    } else {
        Value::Inline(Bytes::from(value))
    };
    Some(Stored { created: line.created, modified: line.modified, lease: None, value })
}

/// Writes it all anew, and drops what is not needed any more. Returns how many
/// bytes it took before and takes now.
pub fn compact(options: Options) -> Result<(u64, u64), StoreError> {
    let folder = Folder { root: options.folder.clone() };
    let before = taken(&folder.root);
    let (backend, state) = open::open(options)?;
    let state = RwLock::new(state);
    let written = checkpoint::write(&folder.checkpoints(), &state)?;
    let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    checkpoint::prove(&written, &state)?;
    let wanted = state.summary();
    drop(state);
    // From here on the checkpoint alone would do.
    for old in backend.checkpoints.iter().filter(|old| old.path != written.checkpoint.path) {
        disk::remove("checkpoint.remove", &old.path).map_err(failed("remove an old checkpoint"))?;
    }
    for segment in super::sorted_files(&folder.journal()).map_err(failed("list the journal"))? {
        disk::remove("journal.remove", &segment).map_err(failed("remove an old segment"))?;
    }
    fs::remove_dir_all(folder.state()).map_err(failed("remove the old state"))?;
    let again = Options { probe: open::Probe::InProcess, ..Options::new(&folder.root) };
    drop(backend);
    let (_backend, state) = open::open(again)?;
    state.flush()?;
    if state.summary() != wanted {
        return Err(StoreError::Damaged("what came back is not what was there; restore a backup".to_owned()));
    }
    Ok((before, taken(&folder.root)))
}

fn taken(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => taken(&entry.path()),
            Ok(meta) => std::os::unix::fs::MetadataExt::blocks(&meta) * 512,
            Err(_) => 0,
        })
        .sum()
}
