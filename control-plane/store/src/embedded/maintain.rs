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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// Damaged, and mended at the next start: something else holds the same.
    Mends,
    Bad,
}

/// What was looked at, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub what: String,
    pub said: String,
    pub verdict: Verdict,
    /// What is to be done, where something is.
    pub help: Option<String>,
}

impl Finding {
    pub fn good(what: &str, said: String) -> Self {
        Self { what: what.to_owned(), said, verdict: Verdict::Good, help: None }
    }

    pub fn bad(what: &str, said: String, help: &str) -> Self {
        Self { what: what.to_owned(), said, verdict: Verdict::Bad, help: Some(help.to_owned()) }
    }

    fn mends(what: &str, said: String) -> Self {
        let help = Some("nothing is lost: it is mended at the next start".to_owned());
        Self { what: what.to_owned(), said, verdict: Verdict::Mends, help }
    }

    pub fn is_good(&self) -> bool {
        self.verdict == Verdict::Good
    }
}

/// What is said of the whole, and looked for by whoever reads on.
pub const WHOLE: &str = "whole";
const CLOSE_TRIES: u32 = 1_000;
const CLOSE_PAUSE: Duration = Duration::from_millis(10);
const RESTORE: &str = "restore a backup: hostler-control-plane restore FILE";

/// A store that is not open, looked at and not changed.
struct Look {
    folder: Folder,
    _lock: File,
    survey: Survey,
    /// Those that can be read.
    checkpoints: Vec<Checkpoint>,
    /// The newest revision that any of them speaks of, readable or not.
    seen: Revision,
    tried: Result<Revision, String>,
    /// What checkpoint and journal lead to without the state.
    rebuilt: Option<Materialised>,
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
        let listed = checkpoint::look(&folder.checkpoints()).map_err(failed("list the checkpoints"))?;
        let seen = listed.iter().map(|one| one.end).max().unwrap_or(0);
        let checkpoints = look_at_checkpoints(listed, findings);
        let tried = probe::try_state(&folder, &open::Probe::InProcess);
        let mut look = Self { folder, _lock: lock, survey, checkpoints, seen, tried, rebuilt: None };
        look.rebuilt = look.rebuild();
        Ok(look)
    }

    fn decide(&self, state: Option<Revision>) -> Result<Decision, Loss> {
        recover::decide(&Evidence {
            journal: self.survey.ranges(),
            checkpoints: self.checkpoints.iter().map(|one| (one.start, one.end)).collect(),
            state,
            seen: self.seen,
        })
    }

    fn rebuild(&self) -> Option<Materialised> {
        let decision = self.decide(None).ok()?;
        let mut memory = Materialised::in_memory(&self.folder.values());
        open::build(&mut memory, &decision, &self.checkpoints, &self.survey).ok()?;
        Some(memory)
    }

    /// What a start would decide.
    fn decision(&self) -> Result<Decision, Loss> {
        self.decide(self.tried.as_ref().ok().copied())
    }

    /// The state as it would be opened; nothing where something was lost.
    fn settled(self) -> Option<Materialised> {
        let newest = self.decision().ok()?.newest;
        let there = self.folder.state().exists();
        let rebuilt = self.rebuilt.filter(|state| state.summary().revision == newest);
        rebuilt.or_else(|| there.then(|| probe::open_state(&self.folder).ok()).flatten())
    }
}

/// Reads everything and changes nothing.
pub fn verify(folder: &Path) -> Result<Vec<Finding>, StoreError> {
    inspect(folder, &mut |_, _| {})
}

/// Likewise, and hands out every key and value as they would be after opening, where
/// they can be read.
pub fn inspect(folder: &Path, take: &mut dyn FnMut(&str, &[u8])) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    let look = Look::at(folder, &mut findings)?;
    findings.push(look_at_state(&look));
    findings.push(match look.decision() {
        Ok(decision) if decision.journal_lacks => {
            Finding::mends(WHOLE, format!("all of it up to revision {}, though not from the journal", decision.newest))
        }
        Ok(decision) => Finding::good(WHOLE, format!("all of it up to revision {}", decision.newest)),
        Err(loss) => Finding::bad(WHOLE, format!("revisions {} to {} can't be read", loss.first, loss.newest), RESTORE),
    });
    if let Some(state) = look.settled() {
        findings.push(look_at_values(&state, take));
    }
    Ok(findings)
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
        None => Finding::mends("format", "the file that says which layout this is can't be read".to_owned()),
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

/// Those that can be read.
fn look_at_checkpoints(listed: Vec<Checkpoint>, findings: &mut Vec<Finding>) -> Vec<Checkpoint> {
    let mut good = Vec::new();
    for one in listed {
        match checkpoint::read(&one, |_, _| Ok(())) {
            Ok(_) => {
                findings.push(Finding::good("checkpoint", format!("revision {} to {}", one.start, one.end)));
                good.push(one);
            }
            Err(error) => findings.push(Finding::mends("checkpoint", error.to_string())),
        }
    }
    good
}

fn look_at_state(look: &Look) -> Finding {
    if !look.folder.state().exists() {
        return Finding::good("state", "not there, and made at the next start".to_owned());
    }
    if let Err(why) = &look.tried {
        return Finding::mends("state", why.clone());
    }
    let summary = probe::open_state(&look.folder).map(|state| state.summary());
    let rebuilt = look.rebuilt.as_ref().map(Materialised::summary);
    match (summary, rebuilt) {
        (Ok(found), Some(rebuilt)) if found.revision == rebuilt.revision && found != rebuilt => {
            Finding::bad("state", "it differs from what journal and checkpoint lead to".to_owned(), RESTORE)
        }
        (Ok(found), _) => Finding::good("state", format!("{} records at revision {}", found.records, found.revision)),
        (Err(why), _) => Finding::mends("state", why),
    }
}

/// Each large value that a record names; all values are handed on.
fn look_at_values(state: &Materialised, take: &mut dyn FnMut(&str, &[u8])) -> Finding {
    let mut large = 0;
    let mut bad = Vec::new();
    let each = state.each(None, usize::MAX, |key, raw| {
        large += u64::from(matches!(decode(key, raw)?.value, Value::Blob { .. }));
        match state.record(key, raw) {
            Ok(record) => take(key, &record.entry.value),
            Err(error) => bad.push(error.to_string()),
        }
        Ok(())
    });
    bad.extend(each.err().map(|error| error.to_string()));
    match bad.first() {
        None => Finding::good("values", format!("{large} large ones")),
        Some(first) => {
            let more = if bad.len() == 1 { String::new() } else { format!(", and {} more", bad.len() - 1) };
            Finding::bad("values", format!("{first}{more}"), "restore these files below store/values from a backup")
        }
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
