//! What every backend promises, asked of each in the same words.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bytes::Bytes;
use hostler_store::{HISTORY_REVISIONS, OPERATIONS_MAX, Store, StoreError, Txn, VALUE_BYTES_MAX};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

type Opened = (Arc<dyn Store>, Option<tempfile::TempDir>);

fn memory() -> Opened {
    (hostler_store::open_memory().unwrap(), None)
}

fn embedded() -> Opened {
    let dir = tempfile::tempdir().unwrap();
    (hostler_store::open_embedded(dir.path()).unwrap(), Some(dir))
}

/// Runs a case on every backend.
fn on_each<F: Future<Output = ()>>(case: impl Fn(Arc<dyn Store>) -> F) {
    for open in [memory, embedded] {
        let (store, _dir) = open();
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(case(store));
    }
}

fn put(key: &str, value: &str) -> Txn {
    Txn::new().put(key, value.to_owned())
}

async fn value(store: &dyn Store, key: &str) -> Option<String> {
    store.get(key).await.unwrap().map(|entry| String::from_utf8(entry.value.to_vec()).unwrap())
}

async fn listing(store: &dyn Store, prefix: &str, at: Option<u64>) -> Vec<(String, String)> {
    let snapshot = store.scan(prefix, at).await.unwrap();
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    snapshot.entries.iter().map(|(key, entry)| (key.to_string(), text(&entry.value))).collect()
}

#[test]
fn revisions_count_commits_and_mark_entries() {
    on_each(|store| async move {
        assert_eq!(store.revision().await.unwrap(), 0);
        assert_eq!(store.commit(put("/a", "1")).await.unwrap(), 1);
        assert_eq!(store.commit(put("/a", "2").put("/b", "1")).await.unwrap(), 2);
        let entry = store.get("/a").await.unwrap().unwrap();
        assert_eq!((entry.created, entry.modified), (1, 2));
        store.commit(Txn::new().delete("/a")).await.unwrap();
        store.commit(put("/a", "3")).await.unwrap();
        assert_eq!(store.get("/a").await.unwrap().unwrap().created, 4, "made anew");
        assert_eq!(store.commit(Txn::new().delete("/nothing")).await.unwrap(), 4, "nothing to do, no revision");
    });
}

#[test]
fn a_conflict_leaves_nothing_behind() {
    on_each(|store| async move {
        store.commit(put("/a", "1")).await.unwrap();
        let stale = put("/b", "x").put("/a", "2").expect("/a", 7);
        let error = store.commit(stale).await.unwrap_err();
        assert!(error.is_conflict(), "{error}");
        assert_eq!(value(&*store, "/b").await, None);
        assert!(store.commit(put("/a", "2").expect_absent("/a")).await.unwrap_err().is_conflict());
        assert!(store.commit(Txn::new().expect("/none", 1)).await.unwrap_err().is_conflict());
        assert_eq!(store.commit(put("/a", "2").expect("/a", 1)).await.unwrap(), 2);
    });
}

#[test]
fn of_many_who_compare_one_wins() {
    on_each(|store| async move {
        let tries = (0..64).map(|n| store.commit(put("/once", &n.to_string()).expect_absent("/once")));
        let outcomes = futures_util::future::join_all(tries).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    });
}

#[test]
fn scans_see_one_revision_now_and_in_the_past() {
    on_each(|store| async move {
        store.commit(put("/n/a", "1").put("/n/b", "1").put("/other", "x")).await.unwrap();
        store.commit(put("/n/a", "2")).await.unwrap();
        store.commit(Txn::new().delete("/n/b").put("/n/c", "3")).await.unwrap();
        let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        assert_eq!(listing(&*store, "/n/", None).await, pairs(&[("/n/a", "2"), ("/n/c", "3")]));
        assert_eq!(listing(&*store, "/n/", Some(2)).await, pairs(&[("/n/a", "2"), ("/n/b", "1")]));
        assert_eq!(listing(&*store, "/n/", Some(1)).await, pairs(&[("/n/a", "1"), ("/n/b", "1")]));
        assert_eq!(listing(&*store, "/n/", Some(0)).await, pairs(&[]));
        let error = store.scan("/n/", Some(9)).await.unwrap_err();
        assert!(matches!(error, StoreError::Future { asked: 9, newest: 3 }), "{error}");
    });
}

#[test]
fn watches_are_ordered_whole_and_resumable() {
    on_each(|store| async move {
        let mut watch = store.watch("/n/", 0);
        store.commit(put("/n/a", "1").put("/x", "1")).await.unwrap();
        store.commit(put("/x", "2")).await.unwrap();
        store.commit(put("/n/b", "1").delete("/n/a")).await.unwrap();
        let first = watch.next().await.unwrap();
        assert_eq!((first.revision, first.changes.len()), (1, 1));
        let second = watch.next().await.unwrap();
        assert_eq!((second.revision, second.changes.len()), (3, 2));
        assert!(second.changes.iter().any(|change| change.after.is_none() && &*change.key == "/n/a"));
        let again = store.watch("/n/", 1).next().await.unwrap();
        assert_eq!(again, second, "resumed after revision 1");
        let late = tokio::time::timeout(Duration::from_millis(20), watch.next()).await;
        assert!(late.is_err(), "nothing more to see");
        store.commit(put("/n/c", "1")).await.unwrap();
        assert_eq!(watch.next().await.unwrap().revision, 4);
    });
}

#[test]
fn what_fell_out_of_history_is_compacted_not_wrong() {
    let (store, _) = memory();
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
        for n in 0..=HISTORY_REVISIONS {
            store.commit(put("/a", &n.to_string())).await.unwrap();
        }
        let error = store.watch("/", 0).next().await.unwrap_err();
        assert!(matches!(error, StoreError::Compacted { asked: 0, oldest: 1 }), "{error}");
        assert!(matches!(store.scan("/", Some(0)).await, Err(StoreError::Compacted { .. })));
        assert_eq!(store.watch("/", 1).next().await.unwrap().revision, 2);
    });
}

#[test]
fn limits_are_named() {
    on_each(|store| async move {
        let large = vec![0; VALUE_BYTES_MAX + 1];
        let many = (0..=OPERATIONS_MAX).fold(Txn::new(), |txn, n| txn.put(format!("/{n}"), "x"));
        let heavy = (0..20).fold(Txn::new(), |txn, n| txn.put(format!("/{n}"), vec![0; VALUE_BYTES_MAX]));
        for (txn, what) in [
            (Txn::new().put("/a", large), "bytes in a value"),
            (many, "operations in a transaction"),
            (heavy, "bytes in a transaction"),
            (put(&format!("/{}", "k".repeat(600)), ""), "bytes in a key"),
            (put("a", "x"), "keys begin with a slash"),
            (put("/a", "x").put("/a", "y"), "written twice"),
        ] {
            let text = store.commit(txn).await.unwrap_err().to_string();
            assert!(text.contains(what), "{text}");
        }
        assert_eq!(store.revision().await.unwrap(), 0);
    });
}

#[test]
fn leased_keys_go_with_their_lease() {
    on_each(|store| async move {
        let lease = store.lease(Duration::from_secs(1)).await.unwrap();
        store.commit(Txn::new().put_leased("/leader", "me", lease).put("/stays", "x")).await.unwrap();
        let mut watch = store.watch("/leader", 1);
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            store.keep_alive(lease).await.unwrap();
        }
        assert_eq!(value(&*store, "/leader").await.as_deref(), Some("me"));
        let gone = watch.next().await.unwrap();
        assert!(gone.changes[0].after.is_none());
        assert_eq!(value(&*store, "/stays").await.as_deref(), Some("x"));
        assert!(matches!(store.keep_alive(lease).await, Err(StoreError::LeaseGone)));
        let late = Txn::new().put_leased("/leader", "me", lease);
        assert!(matches!(store.commit(late).await, Err(StoreError::LeaseGone)));
    });
}

#[test]
fn a_folder_opened_again_holds_what_was_acked() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let before = runtime.block_on(async {
        let store = hostler_store::open_embedded(dir.path()).unwrap();
        for n in 0..300 {
            store.commit(put(&format!("/k/{:03}", n % 100), &n.to_string())).await.unwrap();
        }
        let lease = store.lease(Duration::from_secs(60)).await.unwrap();
        store.commit(Txn::new().put_leased("/leased", "x", lease)).await.unwrap();
        store.scan("/k/", None).await.unwrap()
    });
    // The committer ends when the last handle is gone; sled's lock goes with it.
    let store = (0..100)
        .find_map(|_| {
            std::thread::sleep(Duration::from_millis(20));
            hostler_store::open_embedded(dir.path()).ok()
        })
        .expect("opens again");
    runtime.block_on(async {
        let after = store.scan("/k/", None).await.unwrap();
        assert_eq!(after.entries, before.entries);
        assert_eq!(value(&*store, "/leased").await, None, "no lease outlives its process");
        assert!(after.revision > before.revision);
    });
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<(u8, Option<u8>)>, Option<(u8, u8)>),
    Look(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let write = (0u8..6, proptest::option::of(any::<u8>()));
    prop_oneof![
        4 => (proptest::collection::vec(write, 1..4), proptest::option::of((0u8..6, 0u8..30)))
            .prop_map(|(writes, expect)| Step::Commit(writes, expect)),
        1 => any::<u8>().prop_map(Step::Look),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Against a model that keeps every version of everything.
    #[test]
    fn any_history_reads_back_at_every_revision(steps in proptest::collection::vec(step(), 1..40)) {
        on_each(|store| {
            let steps = steps.clone();
            async move {
                let mut versions: Vec<BTreeMap<String, (u8, u64)>> = vec![BTreeMap::new()];
                for step in steps {
                    match step {
                        Step::Look(which) => {
                            let at = usize::from(which) % versions.len();
                            let seen = store.scan("/", Some(at as u64)).await.unwrap();
                            let seen: BTreeMap<_, _> = seen.entries.iter()
                                .map(|(k, e)| (k.to_string(), (e.value[0], e.modified))).collect();
                            assert_eq!(seen, versions[at]);
                        }
                        Step::Commit(writes, expect) => {
                            let now = versions.last().unwrap().clone();
                            let mut next = now.clone();
                            let revision = versions.len() as u64;
                            let mut txn = Txn::new();
                            let mut fits = true;
                            if let Some((key, at)) = expect {
                                let key = format!("/{key}");
                                fits = now.get(&key).is_some_and(|(_, modified)| *modified == u64::from(at));
                                txn = txn.expect(key, u64::from(at));
                            }
                            let mut changed = false;
                            for (key, value) in writes.into_iter().collect::<BTreeMap<_, _>>() {
                                let key = format!("/{key}");
                                match value {
                                    Some(byte) => {
                                        changed = true;
                                        next.insert(key.clone(), (byte, revision));
                                        txn = txn.put(key, vec![byte]);
                                    }
                                    None => {
                                        changed |= next.remove(&key).is_some();
                                        txn = txn.delete(key);
                                    }
                                }
                            }
                            let outcome = store.commit(txn).await;
                            assert_eq!(outcome.is_ok(), fits);
                            if fits && changed {
                                assert_eq!(outcome.unwrap(), revision);
                                versions.push(next);
                            }
                        }
                    }
                }
            }
        });
    }
}
