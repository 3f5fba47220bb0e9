//! What of tasks survives the agent: a file for each, named by its id, that is
//! replaced whole before what it says is done.
//!
//! A line of JSON says how it stands; behind it is the offer as it was on the wire,
//! if it is not over, and then the report.

use crate::files;
use hostler_agent_core::tasks::{Acting, Kept, Over, Record};
use hostler_proto::agent as wire;
use hostler_types::time::whole_millis;
use hostler_types::{Stamp, TaskId, TaskOffer, TaskReport, Timestamp};
use prost::Message;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

const FOLDER: &str = "tasks";
const VERSION: u16 = 1;
/// How a file is called that takes another's place.
const BESIDE: &str = ".new";

#[derive(Serialize, Deserialize)]
struct Head {
    version: u16,
    lineage: u64,
    term: u64,
    /// When it was over.
    over_ms: Option<u64>,
    step: Option<Step>,
}

/// Of one that is not over.
#[derive(Serialize, Deserialize)]
struct Step {
    began_ms: u64,
    boot: String,
    #[serde(default = "unknown")]
    uptime_ms: u64,
    #[serde(default = "unknown")]
    left_ms: u64,
    said: String,
    cancel: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    notes: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    acting: Option<Acting>,
    offer_bytes: usize,
}

/// Older agents did not write it: so nothing that runs began since, and all time is left.
const fn unknown() -> u64 {
    u64::MAX
}

#[derive(Debug, Default)]
pub struct Loaded {
    pub open: Vec<Record>,
    pub over: Vec<Over>,
}

pub struct Journal {
    folder: PathBuf,
}

impl Journal {
    pub fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join(FOLDER) }
    }

    fn path(&self, id: &TaskId) -> PathBuf {
        self.folder.join(id.as_str())
    }

    /// What can't be read counts as over, since it may have been done.
    pub fn load(&self, now: Timestamp) -> io::Result<Loaded> {
        let mut loaded = Loaded::default();
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(loaded),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let Ok(id) = TaskId::parse(&name) else { continue };
            if name.ends_with(BESIDE) {
                files::remove_if_there(&entry.path())?;
                continue;
            }
            match decode(&std::fs::read(entry.path())?) {
                Some(Kept::Open(record)) => loaded.open.push(*record),
                Some(Kept::Over { report, stamp }) => loaded.over.push(Over { id, at: report.at, stamp }),
                None => {
                    tracing::error!(task = %id, "what was kept of a task can't be read: it is not done again");
                    loaded.over.push(Over { id, at: now, stamp: Stamp::default() });
                }
            }
        }
        Ok(loaded)
    }

    /// Durable when it returns.
    pub fn keep(&self, kept: &Kept) -> io::Result<()> {
        files::private_folder(&self.folder)?;
        files::replace(&self.path(kept.id()), &encode(kept)?, files::PRIVATE)
    }

    /// How one ended.
    pub fn end_of(&self, id: &TaskId) -> Option<TaskReport> {
        match decode(&files::read_if_there(&self.path(id)).ok()??)? {
            Kept::Over { report, .. } => Some(*report),
            Kept::Open(_) => None,
        }
    }

    pub fn forget(&self, id: &TaskId) -> io::Result<()> {
        files::remove_if_there(&self.path(id))
    }
}

/// Removes what belongs to the node that this host was before.
pub fn forget(state_dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(state_dir.join(FOLDER)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn encode(kept: &Kept) -> io::Result<Vec<u8>> {
    let (stamp, report, offer) = match kept {
        Kept::Over { report, stamp } => (*stamp, &**report, None),
        Kept::Open(record) => (record.offer.stamp, &record.report, Some(record)),
    };
    let bytes = offer.map(|record| wire::TaskOffer::from(&record.offer).encode_to_vec()).unwrap_or_default();
    let step = offer.map(|record| Step {
        began_ms: record.step_began.as_millis(),
        boot: record.boot.clone(),
        uptime_ms: whole_millis(record.uptime),
        left_ms: whole_millis(record.left),
        said: record.said.clone(),
        cancel: record.cancel.clone(),
        notes: record.notes.clone(),
        acting: record.acting.clone(),
        offer_bytes: bytes.len(),
    });
    let over_ms = report.state.is_over().then(|| report.at.as_millis());
    let head = Head { version: VERSION, lineage: stamp.lineage, term: stamp.term, over_ms, step };
    let mut all = serde_json::to_vec(&head)?;
    all.push(b'\n');
    all.extend(bytes);
    all.extend(wire::TaskReport::from(report).encode_to_vec());
    Ok(all)
}

fn decode(bytes: &[u8]) -> Option<Kept> {
    let (head, rest) = bytes.split_at_checked(bytes.iter().position(|byte| *byte == b'\n')? + 1)?;
    let Head { version, lineage, term, step, .. } = serde_json::from_slice(head).ok()?;
    if version != VERSION {
        return None;
    }
    let (offer, report) = rest.split_at_checked(step.as_ref().map_or(0, |step| step.offer_bytes))?;
    let report = TaskReport::try_from(wire::TaskReport::decode(report).ok()?).ok()?;
    let Some(step) = step else {
        let report = Box::new(report);
        return Some(Kept::Over { report, stamp: Stamp { lineage, term, generation: 0 } });
    };
    let Step { began_ms, boot, uptime_ms, left_ms, said, cancel, notes, acting, .. } = step;
    let offer = TaskOffer::try_from(wire::TaskOffer::decode(offer).ok()?).ok()?;
    let step_began = Timestamp::from_millis(began_ms);
    let (uptime, left) = (Duration::from_millis(uptime_ms), Duration::from_millis(left_ms).min(offer.timeout));
    let record = Record { offer, report, step_began, boot, uptime, left, said, notes, acting, cancel };
    Some(Kept::Open(Box::new(record)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_agent_core::tasks::{Back, Part};
    use hostler_types::task::Command;
    use hostler_types::{TaskState, TaskStep};
    use std::time::Duration;

    fn record() -> Record {
        let id = TaskId::of_run(5, 7);
        let command = Command { argv: vec!["df".into(), "a\nb".into()], ..Command::default() };
        let offer = TaskOffer {
            id: id.clone(),
            stamp: Stamp { lineage: 5, term: 2, generation: 0 },
            title: "run/7".into(),
            by: "ada".into(),
            reason: String::new(),
            steps: vec![TaskStep::Command(command), TaskStep::Drain],
            timeout: Duration::from_secs(30),
            begin_by: Timestamp::from_millis(99),
        };
        let mut report = TaskReport::new(id, TaskState::Running, Timestamp::from_millis(7), "step 1 of 2");
        report.began = Some(Timestamp::from_millis(6));
        let (boot, said, cancel) = ("one".to_owned(), "well".to_owned(), Some("by ada".to_owned()));
        let (uptime, left) = (Duration::from_millis(9), Duration::from_millis(29_999));
        let part = Part { id: "drain".into(), summary: "drain web1".into(), reversible: true };
        let back = Back { why: "no".into(), left: 1, undone: vec!["stop".into()], stays: Vec::new() };
        let acting = Some(Acting { plan: vec![part], done: 1, back: Some(back) });
        let (step_began, notes) = (Timestamp::from_millis(6), "done: drain web1\n".to_owned());
        Record { offer, report, step_began, boot, uptime, left, said, notes, acting, cancel }
    }

    #[test]
    fn what_was_kept_is_there_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = Journal::new(folder.path());
        assert!(journal.load(Timestamp::default()).expect("read").open.is_empty());
        let record = record();
        journal.keep(&Kept::Open(Box::new(record.clone()))).expect("kept");
        let loaded = journal.load(Timestamp::default()).expect("read");
        assert_eq!((loaded.open, loaded.over), (vec![record.clone()], vec![]));
        assert_eq!(journal.end_of(&record.offer.id), None);

        let report = TaskReport { state: TaskState::Failed, exit: Some(3), output: "no\n".into(), ..record.report };
        let over = Kept::Over { report: Box::new(report.clone()), stamp: record.offer.stamp };
        journal.keep(&over).expect("kept");
        let loaded = journal.load(Timestamp::default()).expect("read");
        let told = Over { id: report.id.clone(), at: report.at, stamp: record.offer.stamp };
        assert_eq!((loaded.open, loaded.over), (vec![], vec![told]));
        assert_eq!(journal.end_of(&report.id), Some(report.clone()));
        journal.forget(&report.id).expect("forgotten");
        assert_eq!(journal.end_of(&report.id), None);
    }

    #[test]
    fn what_cannot_be_read_is_not_done_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = Journal::new(folder.path());
        let record = record();
        journal.keep(&Kept::Open(Box::new(record.clone()))).expect("kept");
        let path = journal.path(&record.offer.id);
        let whole = std::fs::read(&path).expect("there");
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).expect("written");
            let loaded = journal.load(Timestamp::from_millis(9)).expect("read");
            assert_eq!(loaded.open.len() + loaded.over.len(), 1, "cut at {cut}");
        }
    }
}
