//! Delivers notices by plugins, for the control plane, which runs none.

use crate::checks::log_sink;
use crate::logging::whole;
use crate::orders::Orders;
use crate::plugins::{Readiness, Running, Table};
use crate::vault::Vault;
use hostler_plugin_host::answer::Instant;
use hostler_plugin_host::{Done, Notice, NoticeOutcome, RunContext, RunRequest, Work, World};
use hostler_proto::agent::{self as wire, from_agent};
use hostler_types::time::whole_millis;
use hostler_types::units::format_duration;
use hostler_types::{Name, NotifierAssignment};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// More than that are refused, and the control plane asks again later.
pub const QUEUE: usize = 16;
const AT_ONCE: usize = 4;

/// What is to be delivered, and the stream that the answer goes to.
pub type Asked = (wire::Deliver, mpsc::Sender<wire::FromAgent>);

pub struct Deliverer {
    pub orders: watch::Receiver<Option<Arc<Orders>>>,
    pub table: watch::Receiver<Table>,
    pub vault: Arc<Vault>,
}

/// For a notice that nothing was tried with: another host may do it.
pub fn refused(id: u64, words: impl Into<String>) -> wire::Delivered {
    wire::Delivered { id, words: words.into(), ..wire::Delivered::default() }
}

impl Deliverer {
    pub async fn run(self, mut asked: mpsc::Receiver<Asked>, stop: CancellationToken) {
        let mut runs: JoinSet<()> = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = runs.join_next() => {}
                Some((deliver, answer_to)) = asked.recv(), if runs.len() < AT_ONCE => {
                    let id = deliver.id;
                    let prepared = self.prepare(deliver);
                    let vault = Arc::clone(&self.vault);
                    runs.spawn(async move {
                        let answer = match prepared {
                            Ok((running, notice, request)) => deliver_by(&running, id, notice, request, &vault).await,
                            Err(why) => refused(id, vault.redact(why)),
                        };
                        let message = from_agent::Message::Delivered(answer);
                        // Without a stream nobody waits for it.
                        let _ = answer_to.send(wire::FromAgent { message: Some(message) }).await;
                    });
                }
            }
        }
        runs.abort_all();
    }

    /// By what this host was ordered, never by what the message says.
    fn prepare(&self, deliver: wire::Deliver) -> Result<(Running, Notice, RunRequest), String> {
        let orders = self.orders.borrow().clone();
        let notifiers = orders.as_ref().map(|orders| orders.desired.notifiers.as_slice()).unwrap_or_default();
        let by = notifiers.iter().find(|one| one.name.as_str() == deliver.notifier);
        let NotifierAssignment { name, plugin, config_json } =
            by.ok_or_else(|| format!("notifier {:?} is not assigned to this host", deliver.notifier))?;
        let running = self.running(plugin)?;
        let config_json = self.vault.configure(&config_json.as_str().into())?;
        let notice = notice(deliver.notice.unwrap_or_default());
        let request = RunRequest {
            context: RunContext { instance: name.as_str().into(), grants: Arc::clone(&running.grants) },
            log: Some(log_sink(name, &self.vault)),
            ..RunRequest::new(config_json)
        };
        Ok((running, notice, request))
    }

    fn running(&self, plugin: &Name) -> Result<Running, String> {
        let table = Arc::clone(&self.table.borrow());
        let slot = table.get(plugin).ok_or_else(|| format!("plugin {plugin} is not assigned to this host"))?;
        match (slot.running(false), &slot.readiness) {
            (Some(running), _) if running.plugin.world() == World::Notifier => Ok(running),
            (Some(_), _) => Err(format!("plugin {plugin} is no notifier")),
            (None, Readiness::Failed(why)) => Err(format!("plugin {plugin} cannot be used: {why}")),
            (None, _) => Err(format!("plugin {plugin} is not ready yet")),
        }
    }
}

fn notice(told: wire::Notice) -> Notice {
    let nanoseconds = u32::try_from(told.at_ms % 1_000).unwrap_or_default() * 1_000_000;
    Notice {
        id: told.id,
        title: told.title,
        body: told.body,
        state: told.state,
        at: Instant { seconds: told.at_ms / 1_000, nanoseconds },
        attrs: told.attrs.into_iter().collect(),
    }
}

async fn deliver_by(running: &Running, id: u64, notice: Notice, request: RunRequest, vault: &Vault) -> wire::Delivered {
    let run = Box::pin(running.plugin.run(Work::Notify(notice), request)).await;
    let (outcome, words, retry_after) = match run.outcome {
        Ok(Done::Notified(NoticeOutcome::Delivered(words))) => ("delivered", words, None),
        Ok(Done::Notified(NoticeOutcome::Rejected(why))) => ("rejected", format!("rejected: {why}"), None),
        Ok(Done::Notified(NoticeOutcome::RetryAfter(pause))) => {
            ("retry-after", format!("not taken, and to be tried again after {}", format_duration(pause)), Some(pause))
        }
        Ok(_) => ("failed", "the plugin gave no outcome".to_owned(), None),
        Err(fault) => ("failed", whole(&fault), None),
    };
    wire::Delivered {
        id,
        outcome: outcome.to_owned(),
        words: vault.redact(words),
        retry_after_ms: retry_after.map_or(0, whole_millis),
    }
}
