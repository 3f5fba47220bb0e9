//! Acts on services, as nodes tell them: kept with the spool's mark, the newest of
//! each service on each node.

use crate::records::{NewEvent, RecordError, act_id, act_key, acts_prefix, decode_act, encode_act};
use hostler_store::{Store, StoreError, Txn};
use hostler_types::{Act, EventKind, Name, NodeId};
use std::collections::BTreeMap;

/// Of a service on a node: a week of one that crashes now and then, and as many as
/// anybody reads.
pub const KEPT: usize = 100;

/// What one batch says of one node's services.
#[derive(Default)]
pub struct Told {
    /// By service: what is stored there, oldest first, and what is put or deleted.
    services: BTreeMap<Name, Standing>,
}

#[derive(Default)]
struct Standing {
    acts: BTreeMap<String, Act>,
    put: Vec<String>,
    deleted: Vec<String>,
}

/// What is new about an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    First,
    /// What became of it.
    Result,
    Nothing,
}

impl Told {
    /// Reads what is stored of a service's acts; once a batch.
    pub async fn read(&mut self, store: &dyn Store, node: &NodeId, service: &Name) -> Result<(), StoreError> {
        if self.services.contains_key(service) {
            return Ok(());
        }
        let snapshot = store.scan(&acts_prefix(service, node), None).await?;
        let mut standing = Standing::default();
        for (key, entry) in &snapshot.entries {
            match decode_act(key, &entry.value) {
                Ok(act) => drop(standing.acts.insert(key.to_string(), act)),
                // It gives way to one that can be read.
                Err(error) => {
                    tracing::error!(error = %error, "an act could not be understood, and goes");
                    standing.deleted.push(key.to_string());
                }
            }
        }
        self.services.insert(service.clone(), standing);
        Ok(())
    }

    /// Whether acts of it are kept already.
    pub fn knows(&self, service: &Name) -> bool {
        self.services.get(service).is_some_and(|standing| !standing.acts.is_empty())
    }

    /// The service's acts must have been read. An act that comes again, with its
    /// result, takes its own place. `None`: its id can't be kept.
    pub fn take(&mut self, node: &NodeId, act: &Act) -> Option<News> {
        let fresh = act_key(node, act)?;
        let standing = self.services.entry(act.service.clone()).or_default();
        let known = standing.acts.iter().find(|(key, _)| act_id(key) == act.id);
        let (key, news) = match known {
            None => (fresh, News::First),
            // Sent again for want of an ack: an act without its result is the older one.
            Some((_, old)) if old == act || act.result.is_none() => return Some(News::Nothing),
            Some((key, old)) => (key.clone(), if old.result == act.result { News::Nothing } else { News::Result }),
        };
        standing.acts.insert(key.clone(), act.clone());
        if !standing.put.contains(&key) {
            standing.put.push(key);
        }
        while standing.acts.len() > KEPT {
            let Some((oldest, _)) = standing.acts.pop_first() else { break };
            match standing.put.iter().position(|key| *key == oldest) {
                Some(index) => drop(standing.put.remove(index)),
                None => standing.deleted.push(oldest),
            }
        }
        Some(news)
    }

    /// Adds it to the transaction: at most two operations an act that was taken.
    pub fn write(&self, txn: Txn) -> Txn {
        let mut txn = txn;
        for standing in self.services.values() {
            for key in &standing.put {
                if let Some(act) = standing.acts.get(key) {
                    txn = txn.put(key.as_str(), encode_act(act));
                }
            }
            // What is beyond the newest goes as new ones come: the rest has its turn then.
            for key in standing.deleted.iter().take(standing.put.len()) {
                txn = txn.delete(key.as_str());
            }
        }
        txn
    }
}

/// What people read in the events; `None` where it says nothing new.
pub fn event(node: &Name, act: &Act, news: News) -> Option<NewEvent> {
    let message = match news {
        News::Nothing => return None,
        News::First => act.to_string(),
        News::Result => format!("{}: {}", act.deed, act.result.as_deref()?),
    };
    let (kind, node, subject) = (EventKind::SERVICE, node.to_string(), act.service.to_string());
    Some(NewEvent { at: act.at, kind, node, subject, message })
}

/// The newest acts of a service, on each of the nodes.
pub async fn newest(
    store: &dyn Store,
    service: &Name,
    nodes: &[(NodeId, Name)],
    limit: usize,
) -> Result<Vec<(Name, Act)>, ActsError> {
    let mut found: Vec<(Name, Act)> = Vec::new();
    for (id, name) in nodes {
        let snapshot = store.scan(&acts_prefix(service, id), None).await?;
        for (key, entry) in snapshot.entries.iter().rev().take(limit) {
            found.push((name.clone(), decode_act(key, &entry.value)?));
        }
        // One node's after the other: never more than a few at once.
        if found.len() > limit.saturating_mul(2) {
            cut(&mut found, limit);
        }
    }
    cut(&mut found, limit);
    Ok(found)
}

fn cut(found: &mut Vec<(Name, Act)>, limit: usize) {
    found.sort_by(|(_, left), (_, right)| right.at.cmp(&left.at).then_with(|| right.id.cmp(&left.id)));
    found.truncate(limit);
}

#[derive(Debug, thiserror::Error)]
pub enum ActsError {
    #[error("read the acts")]
    Store(#[from] StoreError),
    #[error("understand the acts")]
    Record(#[from] RecordError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_types::{Deed, Timestamp};
    use std::slice;

    fn node() -> NodeId {
        NodeId::from_random([1; 10])
    }

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    fn act(number: u64, result: Option<&str>) -> Act {
        Act {
            id: format!("a{number}"),
            at: Timestamp::from_millis(number),
            service: name("hello"),
            replica: 0,
            deed: Deed::Restarted,
            by: String::new(),
            saw: vec!["ended by KILL after 3m".into()],
            rule: "restart".into(),
            origin: "hello.yaml:9".into(),
            allowed: Vec::new(),
            refused: Vec::new(),
            result: result.map(str::to_owned),
            tail: vec!["bye".into()],
        }
    }

    async fn take(store: &dyn Store, acts: &[Act]) -> Vec<News> {
        let mut told = Told::default();
        told.read(store, &node(), &name("hello")).await.expect("reads");
        let news = acts.iter().map(|act| told.take(&node(), act).expect("a plain id")).collect();
        let txn = told.write(Txn::new());
        assert!(txn.operations() <= 2 * acts.len());
        if !txn.is_empty() {
            store.commit(txn).await.expect("commits");
        }
        news
    }

    async fn kept(store: &dyn Store, limit: usize) -> Vec<Act> {
        let nodes = [(node(), name("dev1")), (NodeId::from_random([2; 10]), name("dev2"))];
        let found = newest(store, &name("hello"), &nodes, limit).await.expect("reads");
        found.into_iter().map(|(_, act)| act).collect()
    }

    #[tokio::test]
    async fn an_act_is_told_first_and_once_more_with_its_result() {
        let store = hostler_store::open_memory().expect("opens");
        let (open, ended) = (act(7, None), act(7, Some("passing 4.3 s later")));
        assert_eq!(take(&*store, slice::from_ref(&open)).await, [News::First]);
        assert_eq!(take(&*store, slice::from_ref(&open)).await, [News::Nothing]);
        assert_eq!(take(&*store, slice::from_ref(&ended)).await, [News::Result]);
        // An old one that comes late takes nothing back.
        assert_eq!(take(&*store, &[ended.clone(), open]).await, [News::Nothing, News::Nothing]);
        assert_eq!(kept(&*store, 10).await, slice::from_ref(&ended));
        // Both in one batch.
        let (open, ended) = (act(8, None), act(8, Some("it ended at once")));
        assert_eq!(take(&*store, &[open, ended.clone()]).await, [News::First, News::Result]);
        assert_eq!(kept(&*store, 1).await, slice::from_ref(&ended));
        let told = |news| event(&name("dev1"), &ended, news).map(|event| event.message);
        assert_eq!(told(News::First).expect("told"), "restarted by itself: ended by KILL after 3m; it ended at once");
        assert_eq!(told(News::Result).expect("told"), "restarted: it ended at once");
        assert_eq!(told(News::Nothing), None);
    }

    #[tokio::test]
    async fn the_newest_are_kept_and_the_rest_go_as_they_come() {
        let store = hostler_store::open_memory().expect("opens");
        for batch in 0..6 {
            let acts: Vec<Act> = (0..40).map(|n| act(batch * 40 + n, None)).collect();
            take(&*store, &acts).await;
        }
        let found = kept(&*store, 1_000).await;
        let ids: Vec<&str> = found.iter().map(|act| act.id.as_str()).collect();
        assert_eq!((ids.len(), ids.first(), ids.last()), (KEPT, Some(&"a239"), Some(&"a140")));
        assert_eq!(kept(&*store, 3).await.len(), 3);
        assert_eq!(act_key(&node(), &Act { id: "a/b".into(), ..act(1, None) }), None);
        assert_eq!(act_key(&node(), &Act { id: String::new(), ..act(1, None) }), None);
    }

    #[tokio::test]
    async fn the_longest_act_fits_into_a_value_and_a_key() {
        let long = || vec!["\u{20AC}".repeat(10_000); 100];
        let act = Act { saw: long(), allowed: long(), refused: long(), tail: long(), ..act(u64::MAX, None) };
        let act = Act { id: "x".repeat(64), service: name(&"s".repeat(63)), rule: "r".repeat(10_000), ..act };
        assert!(encode_act(&act).len() < hostler_store::VALUE_BYTES_MAX);
        assert!(act_key(&node(), &act).expect("a key").len() < hostler_store::KEY_BYTES_MAX);
    }
}
