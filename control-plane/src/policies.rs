//! What nodes are asked of their own policies, and what they answer: a host's word of
//! now, kept nowhere.

use crate::app::App;
use crate::link::{Outbound, to_agent_message};
use hostler_proto::agent::{self as wire, to_agent};
use hostler_types::terminal::sanitize;
use hostler_types::{NodeId, NodeState};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// It is read from the host's own file.
const PATIENCE: Duration = Duration::from_secs(10);
/// As the host's executor has them, at most.
const LISTED_MAX: usize = 1000;
const LISTS_MAX: usize = 16;
const WORDS_CHARACTERS_MAX: usize = 1000;
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Those of one connected node: they go when the stream does.
#[derive(Debug)]
pub struct Policies {
    outbound: Outbound,
    waiting: Mutex<BTreeMap<u64, oneshot::Sender<wire::PolicyAnswer>>>,
}

impl Policies {
    pub fn new(outbound: Outbound) -> Self {
        Self { outbound, waiting: Mutex::default() }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<wire::PolicyAnswer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What nobody waits for any more is left out.
    pub fn answered(&self, answer: wire::PolicyAnswer) {
        if let Some(asked) = self.waiting().remove(&answer.id) {
            let _ = asked.send(answer);
        }
    }

    fn ask(&self) -> Result<oneshot::Receiver<wire::PolicyAnswer>, String> {
        let (answer, answered) = oneshot::channel();
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        {
            let mut waiting = self.waiting();
            waiting.retain(|_, asked| !asked.is_closed());
            waiting.insert(id, answer);
        }
        let message = to_agent_message(to_agent::Message::PolicyAsk(wire::PolicyAsk { id }));
        let full = |_| "it takes no messages now: try again in a moment".to_owned();
        self.outbound.try_send(Ok(message)).map_err(full)?;
        Ok(answered)
    }
}

/// The policy in force on a node, made fit to be shown, or why it is not known.
pub async fn policy(app: &App, node: &NodeId) -> Result<wire::HostPolicy, String> {
    let ready = app.fleet.seen(node).is_some_and(|seen| seen.state == NodeState::Ready);
    let live = app.fleet.live(node).filter(|_| ready).ok_or("it is not connected")?;
    let answered = live.line.policies.ask()?;
    let answer = match tokio::time::timeout(PATIENCE, answered).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => return Err("its connection ended before it answered".to_owned()),
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            return Err(format!("no answer within {seconds} s: its agent may be older than this control plane"));
        }
    };
    match answer.policy {
        Some(policy) if answer.words.is_empty() => Ok(shown_policy(policy)),
        _ if answer.words.is_empty() => Err("it says nothing of its policy".to_owned()),
        _ => Err(shown(&answer.words)),
    }
}

fn shown_policy(policy: wire::HostPolicy) -> wire::HostPolicy {
    let list = |list: wire::PolicyList| wire::PolicyList {
        name: shown(&list.name),
        values: list.values.iter().take(LISTED_MAX).map(|value| shown(value)).collect(),
        ..list
    };
    wire::HostPolicy {
        profile: shown(&policy.profile),
        said_by: shown(&policy.said_by),
        problem: shown(&policy.problem),
        lists: policy.lists.into_iter().take(LISTS_MAX).map(list).collect(),
        only_watches: policy.only_watches,
    }
}

fn shown(words: &str) -> String {
    sanitize(words).chars().take(WORDS_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn an_answer_finds_whoever_asked_and_an_end_is_heard() {
        let (outbound, mut stream) = mpsc::channel(2);
        let policies = Policies::new(outbound);
        let (one, two) = (policies.ask().expect("sent"), policies.ask().expect("sent"));
        let mut ids = Vec::new();
        for _ in 0..2 {
            match stream.recv().await.and_then(Result::ok).and_then(|message| message.message) {
                Some(to_agent::Message::PolicyAsk(ask)) => ids.push(ask.id),
                other => panic!("{other:?} asks for no policy"),
            }
        }
        let answer = |id, words: &str| wire::PolicyAnswer { id, words: words.into(), policy: None };
        policies.answered(answer(ids[1], "b"));
        policies.answered(answer(ids[1], "for nobody"));
        assert_eq!(two.await.expect("answered").words, "b");
        drop(policies);
        assert!(one.await.is_err());
    }

    #[test]
    fn a_host_says_no_more_than_is_read() {
        let values = vec!["a\u{1b}[2J".to_owned(); LISTED_MAX + 1];
        let list = wire::PolicyList { name: "units".into(), is_there: true, values, line: 3 };
        let told = shown_policy(wire::HostPolicy { lists: vec![list; LISTS_MAX + 1], ..Default::default() });
        assert_eq!((told.lists.len(), told.lists[0].values.len()), (LISTS_MAX, LISTED_MAX));
        assert_eq!(told.lists[0].values[0], "a\\u{1b}[2J");
    }
}
