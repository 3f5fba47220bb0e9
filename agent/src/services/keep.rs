//! What of services survives the agent, and the acts of late, for whoever asks on
//! the host itself.

use crate::files;
use hostler_agent_core::supervision::Kept;
use hostler_types::{Act, Brake, BrakeKind, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const FILE: &str = "services.json";
const PAUSE: &str = "paused.json";
const ACTS: &str = "acts.jsonl";
const VERSION: u16 = 1;
/// What a bad night leaves behind fits; the control plane has the rest.
pub const ACTS_MAX: usize = 200;
/// Written anew when it has grown to twice what is kept: an act is a few hundred bytes.
const ACTS_BYTES_MAX: u64 = 512 * 1024;

#[derive(Default, Serialize, Deserialize)]
struct OnDisk {
    version: u16,
    kept: Kept,
}

pub fn load(state_dir: &Path) -> Kept {
    let path = state_dir.join(FILE);
    let read = files::read_if_there(&path).map(|bytes| bytes.map(|bytes| serde_json::from_slice::<OnDisk>(&bytes)));
    match read {
        Ok(None) => Kept::default(),
        Ok(Some(Ok(held))) if held.version == VERSION => held.kept,
        Ok(Some(_)) | Err(_) => {
            tracing::warn!(path = %path.display(), "what was known of services can't be read; what runs is looked at anew");
            Kept::default()
        }
    }
}

/// Durable when it returns.
pub fn save(state_dir: &Path, kept: Kept) -> io::Result<()> {
    let bytes = serde_json::to_vec(&OnDisk { version: VERSION, kept })?;
    files::replace(&state_dir.join(FILE), &bytes, files::PRIVATE)
}

#[derive(Serialize, Deserialize)]
struct Pause {
    until_ms: Option<u64>,
    words: String,
}

pub fn load_pause(state_dir: &Path) -> Option<Brake> {
    let bytes = files::read_if_there(&state_dir.join(PAUSE)).ok()??;
    let Pause { until_ms, words } = serde_json::from_slice(&bytes).ok()?;
    Some(Brake { kind: BrakeKind::Paused, check: None, until: until_ms.map(Timestamp::from_millis), words })
}

pub fn save_pause(state_dir: &Path, brake: Option<&Brake>) -> io::Result<()> {
    let path = state_dir.join(PAUSE);
    let Some(brake) = brake else { return files::remove_if_there(&path) };
    let pause = Pause { until_ms: brake.until.map(Timestamp::as_millis), words: brake.words.clone() };
    files::replace(&path, &serde_json::to_vec(&pause)?, files::PRIVATE)
}

pub fn forget(state_dir: &Path) -> io::Result<()> {
    files::remove_if_there(&state_dir.join(FILE))?;
    files::remove_if_there(&state_dir.join(PAUSE))?;
    files::remove_if_there(&state_dir.join(ACTS))
}

/// The acts of late, the newest last. What is lost of it in a crash is in the spool.
pub struct Acts {
    path: PathBuf,
    acts: VecDeque<Act>,
}

impl Acts {
    pub fn open(state_dir: &Path) -> Self {
        let path = state_dir.join(ACTS);
        let text = files::read_if_there(&path).ok().flatten().unwrap_or_default();
        let mut all = Self { path, acts: VecDeque::new() };
        for line in String::from_utf8_lossy(&text).lines() {
            if let Ok(act) = serde_json::from_str(line) {
                all.take(act);
            }
        }
        all
    }

    /// One with the same id takes the place of the one before.
    fn take(&mut self, act: Act) {
        match self.acts.iter_mut().rev().find(|one| one.id == act.id) {
            Some(one) => *one = act,
            None => self.acts.push_back(act),
        }
        while self.acts.len() > ACTS_MAX {
            self.acts.pop_front();
        }
    }

    pub fn add(&mut self, acts: &[Act]) -> io::Result<()> {
        let mut lines = Vec::new();
        for act in acts {
            self.take(act.clone());
            serde_json::to_writer(&mut lines, act)?;
            lines.push(b'\n');
        }
        let mut file = std::fs::OpenOptions::new();
        let mut file =
            std::os::unix::fs::OpenOptionsExt::mode(file.create(true).append(true), files::PRIVATE).open(&self.path)?;
        if file.metadata()?.len() > ACTS_BYTES_MAX {
            let mut all = Vec::new();
            for act in &self.acts {
                serde_json::to_writer(&mut all, act)?;
                all.push(b'\n');
            }
            return files::replace(&self.path, &all, files::PRIVATE);
        }
        file.write_all(&lines)
    }

    pub fn of(&self, service: &str) -> Vec<Act> {
        self.acts.iter().filter(|act| service.is_empty() || act.service.as_str() == service).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_types::{Deed, Name};

    fn act(id: &str, result: Option<&str>) -> Act {
        Act {
            id: id.into(),
            at: Timestamp::from_millis(7),
            service: Name::new("api").expect("a name"),
            replica: 0,
            deed: Deed::Restarted,
            by: "itself".into(),
            saw: Vec::new(),
            rule: String::new(),
            origin: String::new(),
            allowed: Vec::new(),
            refused: Vec::new(),
            result: result.map(str::to_owned),
            tail: Vec::new(),
        }
    }

    #[test]
    fn acts_are_kept_with_their_results_through_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut acts = Acts::open(folder.path());
        acts.add(&[act("a", None), act("b", None)]).expect("written");
        acts.add(&[act("a", Some("passing"))]).expect("written");
        for acts in [acts, Acts::open(folder.path())] {
            let all = acts.of("api");
            assert_eq!(all.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
            assert_eq!(all[0].result.as_deref(), Some("passing"));
            assert!(acts.of("web").is_empty());
        }
    }

    #[test]
    fn what_cannot_be_read_is_looked_at_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(load(folder.path()), Kept::default());
        std::fs::write(folder.path().join(FILE), "{").expect("written");
        assert_eq!(load(folder.path()), Kept::default());
    }
}
