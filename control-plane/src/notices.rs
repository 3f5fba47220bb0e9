//! Telling people. `hostler-core` decides what is told; here it is fed with what
//! changes, what it decides is written, and what waits is sent.
//!
//! One task owns alerts and outbox, and is the only one that writes them: an alert
//! and its notices are one commit. Whatever is on its way when the process ends is
//! sent again by the next one, under the same id.

mod heartbeat;
mod keeper;

use crate::app::App;
use crate::journal::Filter;
use crate::{clock, deliveries};
use hostler_core::notices::{Ack, Alerts, Notice, Notifier, Outbox, Rules, Silence, Subject};
use hostler_types::notifier::is_built_in;
use hostler_types::{EventKind, Name, Now, Timestamp};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Operators who ask at once; the next one waits.
const COMMANDS: usize = 16;

/// What an operator has decided.
#[derive(Debug)]
pub enum Command {
    Ack(Subject, Ack),
    Silence(Silence),
    EndSilence(String),
}

/// What an operator has decided, and who is told that it is written.
type Asked = (Command, oneshot::Sender<()>);

pub struct Board {
    pub alerts: Alerts,
    pub outbox: Outbox,
}

/// For whoever asks; the keeper alone changes what is in it.
pub struct Notices {
    board: Mutex<Board>,
    commands: mpsc::Sender<Asked>,
    asked: Mutex<Option<mpsc::Receiver<Asked>>>,
}

impl Notices {
    /// Empty, until the keeper has read what was kept.
    pub fn new(now: Now) -> Arc<Self> {
        let (commands, asked) = mpsc::channel(COMMANDS);
        let alerts = Alerts::new(now, Rules::default(), [], []);
        let board = Mutex::new(Board { alerts, outbox: Outbox::default() });
        Arc::new(Self { board, commands, asked: Mutex::new(Some(asked)) })
    }

    /// Held for a look, never across an await.
    pub fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when it is durable; `false` if this control plane is ending.
    pub async fn decide(&self, command: Command) -> bool {
        let (done, written) = oneshot::channel();
        self.commands.send((command, done)).await.is_ok() && written.await.is_ok()
    }
}

pub fn spawn(app: &Arc<App>) {
    let asked = app.notices.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(asked) = asked {
        let keeper = keeper::run(Arc::clone(app), asked);
        app.tracker.spawn(keeper);
    }
    if let Some(url) = app.config.heartbeat_url.clone() {
        app.tracker.spawn(heartbeat::run(Arc::clone(app), url));
    }
}

/// The events that show how something came about.
pub fn about(subject: &Subject) -> Option<Filter> {
    let since = Timestamp::default();
    let of_node = |node: &Name, kind: &str, subject: String| {
        Some(Filter { node: node.to_string(), kind: kind.to_owned(), subject, since })
    };
    match subject {
        Subject::Fleet | Subject::Cause(_) => None,
        Subject::Schedule(schedule) => {
            let (kind, subject) = (EventKind::RUN.to_owned(), format!("schedule/{schedule}"));
            Some(Filter { node: String::new(), kind, subject, since })
        }
        Subject::Node(node) => of_node(node, EventKind::NODE, String::new()),
        Subject::Check { node, check } => of_node(node, EventKind::CHECK, check.to_string()),
    }
}

/// Why a notice was not taken.
#[derive(Debug)]
pub struct Refusal {
    pub why: String,
    /// So long whoever refused it wants to be left alone.
    pub pause: Option<Duration>,
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self { why, pause: None }
    }
}

/// How a notifier delivers.
pub enum Way {
    Server(Notifier),
    /// By a plugin, on a node.
    Plugin(Name),
}

impl Way {
    /// Where it leads, for people.
    pub fn target(&self) -> String {
        match self {
            Self::Server(notifier) => notifier.target(),
            Self::Plugin(plugin) => format!("plugin {plugin}"),
        }
    }
}

/// A notifier as it is applied now.
pub fn way(app: &App, name: &Name) -> Result<Way, String> {
    use hostler_types::spec::{Body, Kind};
    let world = app.mirror.now();
    let found = world.specs.applied.get(Kind::Notifier, name).map(|one| &one.object.body);
    let Some(Body::Notifier(spec)) = found else { return Err("there is no such notifier any more".to_owned()) };
    if !is_built_in(spec.plugin.as_str()) {
        return Ok(Way::Plugin(spec.plugin.clone()));
    }
    Notifier::parse(spec.plugin.as_str(), &spec.with.0).map(Way::Server).map_err(|problems| {
        let lines = problems.iter().map(|one| format!("{} {}", one.path, one.message));
        format!("the notifier can't be used: {}", lines.collect::<Vec<_>>().join("; "))
    })
}

/// What the notifier's server said when it took the notice, or why it did not.
pub async fn deliver(app: &App, name: &Name, way: &Way, notice: &Notice) -> Result<String, Refusal> {
    match way {
        Way::Server(notifier) => Ok(hostler_notify::deliver(notifier, notice, |name| secret(app, name)).await?),
        Way::Plugin(plugin) => deliveries::deliver(app, name, plugin, notice).await,
    }
}

fn secret(app: &App, name: &str) -> Result<String, String> {
    let name = Name::new(name).map_err(|error| error.to_string())?;
    let world = app.mirror.now();
    let value = world.secrets.get(&name).map(|record| app.vault.value(record, &name)).transpose();
    match value.map_err(|error| error.to_string())?.flatten() {
        Some(value) => String::from_utf8(value.to_vec()).map_err(|_| format!("secret {name} is no text")),
        None => Err(format!("secret {name} has no value: hostlerctl secret set {name}")),
    }
}

fn now() -> Now {
    clock::now()
}
