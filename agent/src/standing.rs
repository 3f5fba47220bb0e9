//! Where every check stood, on disk, so that a restart neither forgets a failing
//! check nor reports it anew.
//!
//! The spool is written first; whatever it holds beyond this file's mark wins.

use crate::files;
use hostler_agent_core::hash::fnv1a;
use hostler_agent_core::health::Standing;
use hostler_types::{CheckAssignment, CheckState, Name, Timestamp, Transition};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

const FILE: &str = "standing.json";
const VERSION: u16 = 1;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct OnDisk {
    version: u16,
    /// The spool's last record when this was written.
    sequence: u64,
    checks: BTreeMap<Name, One>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct One {
    state: CheckState,
    since_ms: u64,
    summary: String,
    /// What the check looks at: another target has another history.
    target: u64,
    #[serde(default)]
    proven: bool,
}

#[derive(Clone, Debug)]
pub struct Standings {
    path: PathBuf,
    held: OnDisk,
}

pub fn target(check: &CheckAssignment) -> u64 {
    fnv1a(&[check.plugin.as_str(), &check.config_json])
}

impl Standings {
    /// A file that cannot be read is as none: the checks start anew.
    pub fn open(state_dir: &Path, spooled: &BTreeMap<Name, (u64, Transition)>) -> Self {
        let path = state_dir.join(FILE);
        let read = files::read_if_there(&path).map(|text| text.map(|text| serde_json::from_slice::<OnDisk>(&text)));
        let mut held = match read {
            Ok(None) => OnDisk::default(),
            Ok(Some(Ok(held))) if held.version == VERSION => held,
            Ok(Some(_)) | Err(_) => {
                tracing::warn!(path = %path.display(), "the checks' last states cannot be read; they start anew");
                OnDisk::default()
            }
        };
        for (check, (sequence, transition)) in spooled {
            let newer = *sequence > held.sequence;
            if let Some(one) = held.checks.get_mut(check).filter(|_| newer) {
                one.state = transition.to;
                one.since_ms = transition.at.as_millis();
                one.summary.clone_from(&transition.summary);
            }
        }
        Self { path, held }
    }

    pub fn get(&self, check: &CheckAssignment) -> Option<Standing> {
        let one = self.held.checks.get(&check.name).filter(|one| one.target == target(check))?;
        let proven = one.proven || matches!(one.state, CheckState::Passing | CheckState::Warning);
        let (state, since) = (one.state, Timestamp::from_millis(one.since_ms));
        Some(Standing { state, since, summary: one.summary.clone(), proven })
    }

    pub fn set(&mut self, check: &CheckAssignment, standing: Standing) {
        let one = One {
            state: standing.state,
            since_ms: standing.since.as_millis(),
            summary: standing.summary,
            target: target(check),
            proven: standing.proven,
        };
        self.held.checks.insert(check.name.clone(), one);
    }

    pub fn remove(&mut self, check: &Name) -> bool {
        self.held.checks.remove(check).is_some()
    }

    /// Durable when it returns; `sequence` is the spool's last record.
    pub fn save(&mut self, sequence: u64) -> io::Result<()> {
        (self.held.version, self.held.sequence) = (VERSION, sequence);
        files::replace(&self.path, &serde_json::to_vec(&self.held)?, files::PRIVATE)
    }

    pub fn forget(state_dir: &Path) -> io::Result<()> {
        files::remove_if_there(&state_dir.join(FILE))
    }
}
