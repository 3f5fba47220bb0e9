//! Tells people when the control plane is gone: does what
//! [`hostler_agent_core::gone`] decides, and keeps what it must not forget.

use crate::clock::{self, Alarm};
use crate::orders::Orders;
use crate::spool::Spool;
use crate::vault::Vault;
use crate::view::View;
use crate::{files, memory, notify};
use hostler_agent_core::gone::{Effect, Gone, Input, Kept, Seen, Terms};
use hostler_types::notice::Notice;
use hostler_types::{CheckState, EventKind, Name, Now};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

const FILE: &str = "gone.json";
const VERSION: u16 = 1;

/// How this host and its control plane stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Connected,
    Away,
    /// It answers, and does not want this host.
    Refused,
}

#[derive(Serialize, Deserialize)]
struct OnDisk {
    version: u16,
    kept: Kept,
}

pub struct Watcher {
    pub path: PathBuf,
    pub name: Name,
    pub spool: Spool,
    pub view: Arc<View>,
    pub vault: Arc<Vault>,
    pub orders: watch::Receiver<Option<Arc<Orders>>>,
    pub standing: watch::Receiver<Standing>,
}

struct Done {
    number: u64,
    notifier: Name,
    title: String,
    answer: Result<String, String>,
}

pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

/// What belongs to the node that this host was before.
pub fn forget(state_dir: &Path) -> io::Result<()> {
    files::remove_if_there(&path(state_dir))
}

impl Watcher {
    /// Sleeps for as long as there is nothing to tell.
    pub async fn run(mut self, stop: CancellationToken, seed: u64) {
        let mut gone = Gone::new(self.now(), self.load(), self.terms(), seed);
        let mut tries: JoinSet<Done> = JoinSet::new();
        // A try that breaks must not be waited for.
        let mut numbers: BTreeMap<Id, u64> = BTreeMap::new();
        let (mut input, mut alarm) = (Input::Tick, Alarm::unset());
        loop {
            for effect in gone.step(self.now(), input, &|| self.seen()) {
                match effect {
                    Effect::Keep => self.keep(gone.kept().clone()).await,
                    Effect::Try { number, notifier, notice } => {
                        let id = tries.spawn(self.attempt(number, notifier, *notice)).id();
                        numbers.insert(id, number);
                    }
                    Effect::GaveUp { notifier, title } => {
                        tracing::error!(%notifier, title, "gave up telling, after two days");
                    }
                }
            }
            // None of these has taken anything when it is dropped.
            input = tokio::select! {
                () = stop.cancelled() => return,
                changed = self.orders.changed() => match changed {
                    Ok(()) => Input::Terms(self.terms()),
                    Err(_) => return,
                },
                changed = self.standing.changed() => match changed {
                    Ok(()) => match *self.standing.borrow_and_update() {
                        Standing::Connected => Input::Connected,
                        Standing::Away => Input::Away,
                        Standing::Refused => Input::Refused,
                    },
                    Err(_) => return,
                },
                Some(ended) = tries.join_next_with_id(), if !tries.is_empty() => match ended {
                    Ok((id, done)) => {
                        numbers.remove(&id);
                        self.finish(done).await
                    }
                    Err(error) => {
                        tracing::error!(error = %error, "a try to tell broke");
                        let number = numbers.remove(&error.id());
                        number.map_or(Input::Tick, |number| Input::Finished { number, taken: false })
                    }
                },
                () = alarm.until(gone.next_deadline()) => Input::Tick,
            };
            if tries.is_empty() && matches!(input, Input::Finished { .. }) {
                memory::give_back();
            }
        }
    }

    /// By the control plane's clock.
    fn now(&self) -> Now {
        self.view.lock().corrected(clock::now())
    }

    fn terms(&mut self) -> Option<Terms> {
        let orders = self.orders.borrow_and_update();
        let orders = orders.as_ref()?;
        let watch = orders.desired.watch.as_ref()?;
        Some(Terms {
            lineage: orders.stamp.lineage,
            term: orders.stamp.term,
            gone_after: watch.gone_after,
            tell: watch.tell.iter().cloned().collect(),
        })
    }

    fn seen(&self) -> Seen {
        let view = self.view.lock();
        let critical = view.checks.iter().filter(|(_, seen)| seen.state == CheckState::Critical);
        Seen {
            node: self.name.to_string(),
            addresses: vec![view.link.address.clone()],
            error: view.link.last_error.clone().unwrap_or_default(),
            critical: critical.map(|(check, seen)| format!("{check}: {}", seen.report.summary)).collect(),
        }
    }

    fn attempt(&self, number: u64, notifier: Name, notice: Notice) -> impl Future<Output = Done> + Send + 'static {
        let orders = self.orders.borrow().clone();
        let vault = Arc::clone(&self.vault);
        async move {
            let notifiers = orders.as_ref().map(|orders| orders.desired.notifiers.as_slice()).unwrap_or_default();
            let answer = match notifiers.iter().find(|one| one.name == notifier) {
                Some(by) => notify::deliver(by, &notice, &vault).await,
                None => Err("this host does not know the notifier any more".to_owned()),
            };
            Done { number, notifier, title: notice.title, answer }
        }
    }

    async fn finish(&self, Done { number, notifier, title, answer }: Done) -> Input {
        match &answer {
            Ok(answer) => {
                tracing::info!(%notifier, title, answer, "told");
                self.spool.event(EventKind::AGENT, "gone", format!("told {notifier}: {title} ({answer})")).await;
            }
            Err(why) => tracing::warn!(%notifier, title, why, "can't be told yet; it is tried again"),
        }
        Input::Finished { number, taken: answer.is_ok() }
    }

    fn load(&self) -> Kept {
        let held = match files::read_if_there(&self.path) {
            Ok(None) => return Kept::default(),
            Ok(Some(bytes)) => serde_json::from_slice::<OnDisk>(&bytes).ok(),
            Err(_) => None,
        };
        held.filter(|held| held.version == VERSION).map(|held| held.kept).unwrap_or_else(|| {
            tracing::warn!(path = %self.path.display(), "what was told of the control plane can't be read; it may be told again");
            Kept::default()
        })
    }

    async fn keep(&self, kept: Kept) {
        let path = self.path.clone();
        let writing = tokio::task::spawn_blocking(move || {
            if kept.is_empty() {
                return files::remove_if_there(&path);
            }
            files::replace(&path, &serde_json::to_vec(&OnDisk { version: VERSION, kept })?, files::PRIVATE)
        });
        if let Ok(Err(error)) = writing.await {
            tracing::warn!(error = %error, "keeping what was told failed; after a restart it may be told again");
        }
    }
}
