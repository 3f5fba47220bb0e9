//! What operators ask to see of services, down a node's stream, and the answers that
//! come back.

use crate::app::App;
use crate::link::{Outbound, to_agent_message};
use hostler_proto::agent::{self as wire, to_agent};
use hostler_types::terminal::sanitize;
use hostler_types::{NodeId, NodeState};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Of one order, that nobody has read yet: `begun` comes a few times.
const ANSWERS_MAX: usize = 16;
const WORDS_CHARACTERS_MAX: usize = 400;
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Those of one connected node: they go when the stream does, and whoever waits
/// hears it.
#[derive(Debug)]
pub struct Orders {
    outbound: Outbound,
    waiting: Mutex<BTreeMap<u64, mpsc::Sender<wire::ServiceAnswer>>>,
}

/// Why nothing more is heard of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence(pub String);

impl Orders {
    pub fn new(outbound: Outbound) -> Self {
        Self { outbound, waiting: Mutex::default() }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, mpsc::Sender<wire::ServiceAnswer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What nobody waits for any more is left out.
    pub fn answered(&self, answer: wire::ServiceAnswer) {
        let mut waiting = self.waiting();
        let is_last = answer.outcome != "begun";
        if let Some(asked) = waiting.get(&answer.id) {
            let (id, taken) = (answer.id, asked.try_send(answer));
            // A node that floods its asker is heard no more.
            if is_last || taken.is_err() {
                waiting.remove(&id);
            }
        }
    }

    pub fn ask(&self, order: wire::ServiceOrder) -> Result<Answers, Silence> {
        let (answer, answers) = mpsc::channel(ANSWERS_MAX);
        let order = wire::ServiceOrder { id: NEXT.fetch_add(1, Ordering::Relaxed), ..order };
        {
            let mut waiting = self.waiting();
            waiting.retain(|_, asked| !asked.is_closed());
            waiting.insert(order.id, answer);
        }
        let message = to_agent_message(to_agent::Message::ServiceOrder(order));
        let full = |_| Silence("it takes no messages now: try again in a moment".to_owned());
        self.outbound.try_send(Ok(message)).map_err(full)?;
        Ok(Answers(answers))
    }
}

/// What is answered to one order.
#[derive(Debug)]
pub struct Answers(mpsc::Receiver<wire::ServiceAnswer>);

impl Answers {
    /// The next one, made fit to be shown; `patience` is counted from now.
    pub async fn next(&mut self, patience: Duration) -> Result<wire::ServiceAnswer, Silence> {
        match tokio::time::timeout(patience, self.0.recv()).await {
            Ok(Some(answer)) => Ok(wire::ServiceAnswer {
                outcome: shown(&answer.outcome),
                words: shown(&answer.words),
                tail: hostler_proto::convert::clipped_tail(answer.tail),
                ..answer
            }),
            Ok(None) => Err(Silence("its connection ended before it answered: ask again when it is back".to_owned())),
            Err(_) => Err(Silence(format!("no answer within {} s: ask again in a moment", patience.as_secs()))),
        }
    }
}

fn shown(words: &str) -> String {
    sanitize(words).chars().take(WORDS_CHARACTERS_MAX).collect()
}

/// Sends it to a node that is there.
pub fn order(app: &App, node: &NodeId, order: wire::ServiceOrder) -> Result<Answers, Silence> {
    let state = app.fleet.seen(node).map_or(NodeState::Joining, |seen| seen.state);
    let away = || Silence(format!("is {}: hostlerctl node show says since when", state.word()));
    let live = app.fleet.live(node).filter(|_| state == NodeState::Ready).ok_or_else(away)?;
    live.line.orders.ask(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(orders: &Orders) -> Answers {
        orders.ask(wire::ServiceOrder { service: "hello".into(), ..Default::default() }).expect("sent")
    }

    fn answer(id: u64, outcome: &str) -> wire::ServiceAnswer {
        wire::ServiceAnswer { id, outcome: outcome.into(), words: "a\u{1b}[2Jb".into(), ..Default::default() }
    }

    fn sent(message: Option<Result<wire::ToAgent, tonic::Status>>) -> wire::ServiceOrder {
        match message.and_then(Result::ok).and_then(|message| message.message) {
            Some(to_agent::Message::ServiceOrder(order)) => order,
            other => panic!("{other:?} is no order"),
        }
    }

    #[tokio::test]
    async fn answers_find_their_order_and_its_end_is_heard() {
        let (outbound, mut stream) = mpsc::channel(2);
        let orders = Orders::new(outbound);
        let (mut one, mut two) = (ask(&orders), ask(&orders));
        let (first, second) = (sent(stream.recv().await), sent(stream.recv().await));
        assert!(first.id != second.id && first.service == "hello");
        orders.answered(answer(second.id, "done"));
        orders.answered(answer(first.id, "begun"));
        orders.answered(answer(first.id, "failed"));
        // For nobody.
        orders.answered(answer(first.id, "done"));
        let wait = Duration::from_secs(5);
        assert_eq!(one.next(wait).await.expect("begun").outcome, "begun");
        let failed = one.next(wait).await.expect("failed");
        assert_eq!((failed.outcome.as_str(), failed.words.as_str()), ("failed", "a\\u{1b}[2Jb"));
        assert_eq!(two.next(wait).await.expect("done").outcome, "done");
        let mut late = ask(&orders);
        let silent = late.next(Duration::ZERO).await.expect_err("nobody answers");
        assert!(silent.0.starts_with("no answer within 0 s"), "{silent:?}");
        // Two wait to go out, and there is no room for more.
        let mut gone = ask(&orders);
        let full = orders.ask(wire::ServiceOrder::default()).expect_err("full");
        assert!(full.0.starts_with("it takes no messages now"), "{full:?}");
        drop(orders);
        let silent = gone.next(wait).await.expect_err("gone");
        assert!(silent.0.starts_with("its connection ended"), "{silent:?}");
    }
}
