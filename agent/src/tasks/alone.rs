//! What the host begins by itself while it is cut off: does what
//! [`hostler_agent_core::alone`] decides, and keeps what it must not forget.

use super::{Came, Running, Worker};
use crate::files;
use crate::gone::Standing;
use hostler_agent_core::alone::{Effect, Input, Kept};
use hostler_agent_core::tasks;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

const FILE: &str = "schedules.json";
const VERSION: u16 = 1;

#[derive(Serialize, Deserialize)]
struct OnDisk {
    version: u16,
    kept: Kept,
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

/// What belongs to the node that this host was before.
pub fn forget(state_dir: &Path) -> io::Result<()> {
    files::remove_if_there(&path(state_dir))
}

/// Without it the ledger still does nothing twice.
pub fn load(state_dir: &Path) -> Kept {
    let path = path(state_dir);
    let held = match files::read_if_there(&path) {
        Ok(None) => return Kept::default(),
        Ok(Some(bytes)) => serde_json::from_slice::<OnDisk>(&bytes).ok(),
        Err(_) => None,
    };
    held.filter(|held| held.version == VERSION).map(|held| held.kept).unwrap_or_else(|| {
        tracing::warn!(path = %path.display(), "which schedules this host began by itself can't be read; its tasks still say which were done");
        Kept::default()
    })
}

impl Worker {
    /// Those of the orders that are in force now.
    pub(super) async fn hold_schedules(&mut self, running: &mut Running) {
        // Without orders nothing is known, which is no reason to forget.
        let Some(orders) = self.orders.borrow_and_update().clone() else { return };
        self.alone(running, Input::Schedules(orders.desired.schedules.clone())).await;
        self.view.lock().schedules = running.alone.held().to_vec();
        self.bring_contents(running);
    }

    /// While it can be had: a host that is cut off has only what it holds.
    fn bring_contents(&self, running: &mut Running) {
        let (wanted, scripts) = (running.alone.contents(), running.hands.scripts.clone());
        if !wanted.is_empty() {
            running.doing.spawn(async move {
                scripts.bring(&wanted).await;
                Came::Nothing
            });
        }
    }

    pub(super) async fn link_changed(&mut self, running: &mut Running) {
        let input = match *self.standing.borrow_and_update() {
            Standing::Connected => Input::Connected,
            Standing::Away => Input::Away,
            Standing::Refused => Input::Refused,
        };
        let is_back = matches!(input, Input::Connected);
        self.alone(running, input).await;
        if is_back {
            self.bring_contents(running);
        }
    }

    pub(super) async fn alone(&self, running: &mut Running, input: Input) {
        for effect in running.alone.step(self.now(), input) {
            match effect {
                Effect::Keep => self.keep_marks(running.alone.kept().clone()).await,
                Effect::Begin { schedule, offer } => {
                    let corrected = self.what_holds(running).await;
                    tracing::info!(%schedule, task = %offer.id, "due, and the control plane can't be reached: this host begins it");
                    self.step(running, tasks::Input::Alone { schedule, offer, corrected }).await;
                }
            }
        }
    }

    async fn keep_marks(&self, kept: Kept) {
        let path = path(&self.state_dir);
        let writing = tokio::task::spawn_blocking(move || {
            if kept.is_empty() {
                return files::remove_if_there(&path);
            }
            files::replace(&path, &serde_json::to_vec(&OnDisk { version: VERSION, kept })?, files::PRIVATE)
        });
        if let Ok(Err(error)) = writing.await {
            tracing::warn!(error = %error, "keeping which schedules this host begins by itself failed; its tasks still say which were done");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_as_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(load(folder.path()).is_empty());
        let marked = r#"{"version":1,"kept":{"refused":true,"marks":{"tidy":5}}}"#;
        std::fs::write(path(folder.path()), marked).expect("written");
        let kept = load(folder.path());
        assert_eq!(serde_json::to_string(&OnDisk { version: VERSION, kept }).expect("json"), marked);
        for text in ["", "{}", r#"{"version":2,"kept":{"refused":true,"marks":{}}}"#] {
            std::fs::write(path(folder.path()), text).expect("written");
            assert!(load(folder.path()).is_empty(), "{text}");
        }
        forget(folder.path()).expect("forgotten");
        forget(folder.path()).expect("it may be gone");
    }
}
