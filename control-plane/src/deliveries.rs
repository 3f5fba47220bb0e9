//! Notices that a node delivers by a plugin: the control plane runs none itself.

use crate::app::App;
use crate::link::{Outbound, to_agent_message};
use crate::notices::Refusal;
use crate::orders::Orders;
use crate::policies::Policies;
use hostler_proto::agent::{self as wire, to_agent};
use hostler_types::notice::{Notice, mail_text};
use hostler_types::terminal::sanitize;
use hostler_types::{Name, NodeId, NodeState};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// A run's own time is shorter.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const WORDS_CHARACTERS_MAX: usize = 300;
static NEXT: AtomicU64 = AtomicU64::new(1);

/// To one connected node: it goes when the stream does, and whoever waits hears it.
#[derive(Debug)]
pub struct Line {
    outbound: Outbound,
    waiting: Mutex<BTreeMap<u64, oneshot::Sender<wire::Delivered>>>,
    pub orders: Orders,
    pub policies: Policies,
}

impl Line {
    pub fn new(outbound: Outbound) -> Self {
        let (orders, policies) = (Orders::new(outbound.clone()), Policies::new(outbound.clone()));
        Self { orders, policies, outbound, waiting: Mutex::default() }
    }

    /// Whether it went on its way.
    pub fn send(&self, message: wire::ToAgent) -> bool {
        self.outbound.try_send(Ok(message)).is_ok()
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<wire::Delivered>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What nobody waits for any more is left out.
    pub fn answered(&self, answer: wire::Delivered) {
        if let Some(asked) = self.waiting().remove(&answer.id) {
            let _ = asked.send(answer);
        }
    }

    fn ask(&self, deliver: wire::Deliver) -> Result<oneshot::Receiver<wire::Delivered>, String> {
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            waiting.retain(|_, asked| !asked.is_closed());
            waiting.insert(deliver.id, answer);
        }
        let message = to_agent_message(to_agent::Message::Deliver(deliver));
        self.outbound.try_send(Ok(message)).map_err(|_| "it takes no messages now".to_owned())?;
        Ok(answered)
    }
}

/// What the receiver said when it took the notice, or why it did not. The second
/// node is asked where the first one can't even try.
pub async fn deliver(app: &App, notifier: &Name, plugin: &Name, notice: &Notice) -> Result<String, Refusal> {
    let nodes = app.duties.borrow().deliverers.get(notifier).cloned().unwrap_or_default();
    let world = app.mirror.now();
    let mut why = Vec::new();
    for node in &nodes {
        let Some(member) = world.members.get(node) else { continue };
        match ask(app, node, notifier, notice).await {
            Ok(answer) => return said(plugin, &member.name, answer),
            Err(reason) => why.push(format!("{}: {reason}", member.name)),
        }
    }
    if why.is_empty() {
        return Err(format!("no node runs plugin {plugin} for it yet: hostlerctl node ls shows who is there").into());
    }
    Err(format!("plugin {plugin} can't run now ({})", why.join("; ")).into())
}

/// `Err`: nothing was tried there.
async fn ask(app: &App, node: &NodeId, notifier: &Name, notice: &Notice) -> Result<wire::Delivered, String> {
    let ready = app.fleet.seen(node).is_some_and(|seen| seen.state == NodeState::Ready);
    let live = app.fleet.live(node).filter(|_| ready).ok_or("is not connected")?;
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let deliver = wire::Deliver { id, notifier: notifier.to_string(), notice: Some(to_wire(notice)) };
    let answered = live.line.ask(deliver)?;
    // Whoever holds it hides that the stream has ended.
    drop(live);
    let gone = |words: String| wire::Delivered { outcome: "failed".to_owned(), words, ..wire::Delivered::default() };
    let answer = match tokio::time::timeout(ANSWER_TIMEOUT, answered).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => gone("its connection ended before it answered".to_owned()),
        Err(_) => gone(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())),
    };
    if answer.outcome.is_empty() { Err(shown(&answer.words)) } else { Ok(answer) }
}

fn said(plugin: &Name, node: &Name, answer: wire::Delivered) -> Result<String, Refusal> {
    let words = format!("{plugin} on {node}: {}", shown(&answer.words));
    let pause = Some(Duration::from_millis(answer.retry_after_ms)).filter(|pause| !pause.is_zero());
    if answer.outcome == "delivered" { Ok(words) } else { Err(Refusal { why: words, pause }) }
}

fn shown(words: &str) -> String {
    sanitize(words).chars().take(WORDS_CHARACTERS_MAX).collect()
}

fn to_wire(notice: &Notice) -> wire::Notice {
    let attrs = [
        ("what", notice.what.word()),
        ("severity", notice.severity.word()),
        ("node", &notice.node),
        ("check", &notice.check),
        ("summary", &notice.summary),
    ];
    let attrs = attrs.into_iter().filter(|(_, value)| !value.is_empty());
    wire::Notice {
        id: notice.id.clone(),
        title: notice.title.clone(),
        body: mail_text(notice),
        state: notice.state.clone(),
        at_ms: notice.at.as_millis(),
        attrs: attrs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
    }
}
