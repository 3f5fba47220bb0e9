//! The state that decisions need, decoded and in memory: a mirror of the store
//! that follows it commit by commit. Planners read this and never scan.

use crate::blobs::Blobs;
use crate::records::{self, Health, LivenessRecord, Member, Pushed, RecordError};
use crate::systems::{SystemVersion, Systems};
use arc_swap::ArcSwap;
use hostler_core::access::Roles;
use hostler_core::brakes::Brakes;
use hostler_core::catalogue::Catalogue;
use hostler_store::{Change, Revision, Store, StoreError};
use hostler_types::{Labels, Name, NodeId, Timestamp};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// After a store's error: it is usually final, and the log must not fill.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    #[error("read the state")]
    Store(#[from] StoreError),
    #[error("understand the state")]
    Record(#[from] RecordError),
}

/// One revision of everything. Cheap to clone: each part is shared.
#[derive(Clone, Default)]
pub struct World {
    pub revision: Revision,
    pub members: Arc<BTreeMap<NodeId, Arc<Member>>>,
    pub names: Arc<BTreeMap<Name, NodeId>>,
    pub specs: Arc<Systems>,
    pub artifacts: Arc<BTreeMap<(Name, String), Arc<Pushed>>>,
    pub catalogue: Arc<Catalogue>,
    pub trusted_keys: Arc<BTreeMap<String, Arc<hostler_proto::store::TrustedKey>>>,
    /// Sealed, all of them.
    pub secrets: Arc<BTreeMap<Name, Arc<hostler_proto::store::Secret>>>,
    pub operators: Arc<BTreeMap<String, Arc<hostler_proto::store::Operator>>>,
    pub operator_tokens: Arc<BTreeMap<String, Arc<hostler_proto::store::OperatorToken>>>,
    pub operator_token_uses: Arc<BTreeMap<String, Arc<hostler_proto::store::OperatorTokenUse>>>,
    pub roles: Arc<Roles>,
    pub role_records: Arc<BTreeMap<String, Arc<hostler_proto::store::Role>>>,
    pub health: Arc<BTreeMap<(NodeId, Name), Arc<Health>>>,
    pub liveness: Arc<BTreeMap<NodeId, Arc<LivenessRecord>>>,
    pub approvals: Arc<BTreeMap<String, Arc<hostler_proto::store::Approval>>>,
    pub last_backup: Option<hostler_proto::store::LastBackup>,
    pub notifiers_taken: Arc<BTreeMap<Name, Timestamp>>,
    pub brakes: Arc<Brakes>,
}

impl World {
    async fn read(store: &dyn Store, blobs: &Blobs) -> Result<Self, WorldError> {
        let snapshot = store.scan("/", None).await?;
        let mut world = World { revision: snapshot.revision, ..World::default() };
        for (key, entry) in &snapshot.entries {
            world.apply(key, Some(&entry.value), blobs)?;
        }
        Ok(world)
    }

    /// By name or by id.
    pub fn find(&self, text: &str) -> Option<&Arc<Member>> {
        let by_name = Name::new(text).ok().and_then(|name| self.names.get(&name)).and_then(|id| self.members.get(id));
        by_name.or_else(|| NodeId::parse(text).ok().and_then(|id| self.members.get(&id)))
    }

    /// The checks of one node whose health is kept.
    pub fn known_health(&self, node: &NodeId) -> impl Iterator<Item = &Name> {
        // No name sorts before "0".
        let first = Name::new("0").map_or(Bound::Unbounded, |name| Bound::Included((node.clone(), name)));
        let from = self.health.range((first, Bound::Unbounded)).map(|((of, check), _)| (of, check));
        from.take_while(move |(of, _)| *of == node).map(|(_, check)| check)
    }

    /// What its join gave it, and what the specs say, which wins.
    pub fn labels(&self, member: &Member) -> Labels {
        let mut labels = member.labels.clone();
        if let Some(spec) = self.specs.applied.node(&member.name) {
            labels.extend(spec.labels.0.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        labels
    }

    fn apply(&mut self, key: &str, value: Option<&[u8]>, blobs: &Blobs) -> Result<(), RecordError> {
        if let Some(id) = key.strip_prefix(records::MEMBERS) {
            let members = Arc::make_mut(&mut self.members);
            match value {
                Some(bytes) => {
                    let member = Member::decode(key, bytes)?;
                    members.insert(member.id.clone(), Arc::new(member));
                }
                None => members.retain(|member, _| member.as_str() != id),
            }
        } else if let Some(name) = key.strip_prefix(records::MEMBER_NAMES) {
            let names = Arc::make_mut(&mut self.names);
            let id = value.and_then(|bytes| std::str::from_utf8(bytes).ok()).and_then(|id| NodeId::parse(id).ok());
            match (Name::new(name), id) {
                (Ok(name), Some(id)) => drop(names.insert(name, id)),
                (Ok(name), None) => drop(names.remove(&name)),
                (Err(_), _) => {}
            }
        } else if let Some(name) = key.strip_prefix(records::SYSTEMS) {
            // A system's record stays when the system goes: its numbers go on.
            if let (Ok(name), Some(bytes)) = (Name::new(name), value) {
                let version = SystemVersion::decode(name, key, bytes)?;
                Arc::make_mut(&mut self.specs).set(version, blobs)?;
            }
        } else if let Some(rest) = key.strip_prefix(records::ARTIFACTS) {
            let artifacts = Arc::make_mut(&mut self.artifacts);
            let named =
                rest.split_once('/').and_then(|(name, version)| Some((Name::new(name).ok()?, version.to_owned())));
            match (named, value) {
                (Some(named), Some(bytes)) => drop(artifacts.insert(named, Arc::new(Pushed::decode(key, bytes)?))),
                (Some(named), None) => drop(artifacts.remove(&named)),
                (None, _) => {}
            }
            self.catalogue = Arc::new(Catalogue::new(self.artifacts.values().map(|one| one.artifact.clone())));
        } else if let Some(name) = key.strip_prefix(records::TRUSTED_KEYS) {
            let keys = Arc::make_mut(&mut self.trusted_keys);
            match value {
                Some(bytes) => drop(keys.insert(name.to_owned(), Arc::new(records::decode(key, bytes)?))),
                None => drop(keys.remove(name)),
            }
        } else if let Some(name) = key.strip_prefix(records::SECRETS) {
            let secrets = Arc::make_mut(&mut self.secrets);
            match (Name::new(name), value) {
                (Ok(name), Some(bytes)) => drop(secrets.insert(name, Arc::new(records::decode(key, bytes)?))),
                (Ok(name), None) => drop(secrets.remove(&name)),
                (Err(_), _) => {}
            }
        } else if let Some(name) = key.strip_prefix(records::OPERATORS) {
            let operators = Arc::make_mut(&mut self.operators);
            match value {
                Some(bytes) => drop(operators.insert(name.to_owned(), Arc::new(records::decode(key, bytes)?))),
                None => drop(operators.remove(name)),
            }
        } else if let Some(id) = key.strip_prefix(records::OPERATOR_TOKENS) {
            let tokens = Arc::make_mut(&mut self.operator_tokens);
            match value {
                Some(bytes) => drop(tokens.insert(id.to_owned(), Arc::new(records::decode(key, bytes)?))),
                None => drop(tokens.remove(id)),
            }
        } else if let Some(id) = key.strip_prefix(records::OPERATOR_TOKEN_USES) {
            let uses = Arc::make_mut(&mut self.operator_token_uses);
            match value {
                Some(bytes) => drop(uses.insert(id.to_owned(), Arc::new(records::decode(key, bytes)?))),
                None => drop(uses.remove(id)),
            }
        } else if let Some(name) = key.strip_prefix(records::ROLES) {
            let (roles, kept) = (Arc::make_mut(&mut self.roles), Arc::make_mut(&mut self.role_records));
            match value {
                Some(bytes) => {
                    let record = records::decode(key, bytes)?;
                    roles.set(records::role(name, &record)?);
                    kept.insert(name.to_owned(), Arc::new(record));
                }
                None => {
                    roles.remove(name);
                    kept.remove(name);
                }
            }
        } else if let Some(rest) = key.strip_prefix(records::HEALTH) {
            let health = Arc::make_mut(&mut self.health);
            let named =
                rest.split_once('/').and_then(|(id, name)| Some((NodeId::parse(id).ok()?, Name::new(name).ok()?)));
            match (named, value) {
                (Some(named), Some(bytes)) => drop(health.insert(named, Arc::new(Health::decode(key, bytes)?))),
                (Some(named), None) => drop(health.remove(&named)),
                (None, _) => {}
            }
        } else if let Some(id) = key.strip_prefix(records::LIVENESS) {
            let liveness = Arc::make_mut(&mut self.liveness);
            match (NodeId::parse(id), value) {
                (Ok(id), Some(bytes)) => drop(liveness.insert(id, Arc::new(LivenessRecord::decode(key, bytes)?))),
                (Ok(id), None) => drop(liveness.remove(&id)),
                (Err(_), _) => {}
            }
        } else if let Some(id) = key.strip_prefix(records::APPROVALS) {
            let approvals = Arc::make_mut(&mut self.approvals);
            match value {
                Some(bytes) => drop(approvals.insert(id.to_owned(), Arc::new(records::decode(key, bytes)?))),
                None => drop(approvals.remove(id)),
            }
        } else if key.starts_with(records::brakes::BRAKES) {
            records::brakes::apply(Arc::make_mut(&mut self.brakes), key, value)?;
        } else if key == records::LAST_BACKUP {
            self.last_backup = value.map(|bytes| records::decode(key, bytes)).transpose()?;
        } else if let Some(name) = key.strip_prefix(records::NOTIFIERS_TAKEN) {
            let taken = Arc::make_mut(&mut self.notifiers_taken);
            let at =
                value.map(|bytes| records::decode::<hostler_proto::store::NotifierTaken>(key, bytes)).transpose()?;
            match (Name::new(name), at) {
                (Ok(name), Some(at)) => drop(taken.insert(name, Timestamp::from_millis(at.at_ms))),
                (Ok(name), None) => drop(taken.remove(&name)),
                (Err(_), _) => {}
            }
        }
        Ok(())
    }
}

/// The newest world, and word of each newer one.
pub struct Mirror {
    world: ArcSwap<World>,
    newest: watch::Sender<Revision>,
    /// The newest revision that can change what a node should do. Most commits
    /// are news of one node, and must not make every session think.
    plans: watch::Sender<Revision>,
    /// The newest revision that can change what an operator may do: open streams
    /// look again.
    access: watch::Sender<Revision>,
    /// Where the objects of systems lie. They are small and were just written:
    /// reading them is memory to memory.
    blobs: Blobs,
}

const PLANNED_BY: [&str; 5] =
    [records::MEMBERS, records::SYSTEMS, records::ARTIFACTS, records::SECRETS, records::brakes::BRAKES];
const ALLOWED_BY: [&str; 3] = [records::OPERATORS, records::OPERATOR_TOKENS, records::ROLES];

impl Mirror {
    pub async fn load(store: &dyn Store, blobs: Blobs) -> Result<Arc<Self>, WorldError> {
        let world = World::read(store, &blobs).await?;
        let newest = watch::Sender::new(world.revision);
        let plans = watch::Sender::new(world.revision);
        let access = watch::Sender::new(world.revision);
        Ok(Arc::new(Self { world: ArcSwap::from_pointee(world), newest, plans, access, blobs }))
    }

    pub fn now(&self) -> Arc<World> {
        self.world.load_full()
    }

    /// Word of each change.
    pub fn follow(&self) -> watch::Receiver<Revision> {
        self.newest.subscribe()
    }

    /// Word of each change to what nodes should do.
    pub fn follow_plans(&self) -> watch::Receiver<Revision> {
        self.plans.subscribe()
    }

    /// Word of each change to what operators may do.
    pub fn follow_access(&self) -> watch::Receiver<Revision> {
        self.access.subscribe()
    }

    /// Waits until the world has seen a commit, so that a caller reads its own
    /// write.
    pub async fn reach(&self, revision: Revision) {
        let mut newest = self.newest.subscribe();
        // An error would mean that the mirror itself is gone, and it is `self`.
        let _ = newest.wait_for(|seen| *seen >= revision).await;
    }

    pub async fn run(self: Arc<Self>, store: Arc<dyn Store>, stop: CancellationToken) {
        let mut watch = store.watch("/", self.now().revision);
        loop {
            let commit = tokio::select! {
                () = stop.cancelled() => return,
                // `next` takes nothing before it returns.
                commit = watch.next() => commit,
            };
            match commit {
                Ok(commit) => self.advance(commit.revision, &commit.changes),
                Err(StoreError::Compacted { .. }) => {
                    // Too far behind to go on commit by commit: read it all anew.
                    tracing::warn!("the mirror fell behind the store and is read anew");
                    match World::read(&*store, &self.blobs).await {
                        Ok(world) => self.replace(world),
                        Err(error) => {
                            tracing::error!(error = %error, "reading the state anew failed");
                            tokio::time::sleep(RETRY_PAUSE).await;
                        }
                    }
                    watch = store.watch("/", self.now().revision);
                }
                Err(error) => {
                    tracing::error!(error = %error, "following the store failed");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    fn replace(&self, world: World) {
        let revision = world.revision;
        self.world.store(Arc::new(world));
        self.newest.send_replace(revision);
        self.plans.send_replace(revision);
        self.access.send_replace(revision);
    }

    fn advance(&self, revision: Revision, changes: &[Change]) {
        let mut world = World::clone(&self.now());
        world.revision = revision;
        for change in changes {
            if let Err(error) =
                world.apply(&change.key, change.after.as_ref().map(|entry| &entry.value[..]), &self.blobs)
            {
                tracing::error!(error = %error, "a change could not be understood and was left out");
            }
        }
        self.world.store(Arc::new(world));
        self.newest.send_replace(revision);
        let any_of = |prefixes: &[&str]| {
            changes.iter().any(|change| prefixes.iter().any(|prefix| change.key.starts_with(prefix)))
        };
        if any_of(&PLANNED_BY) {
            self.plans.send_replace(revision);
        }
        if any_of(&ALLOWED_BY) {
            self.access.send_replace(revision);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_store::{HISTORY_REVISIONS, Txn};

    #[tokio::test]
    async fn a_mirror_that_fell_too_far_behind_reads_anew() {
        let store = hostler_store::open_memory().expect("opens");
        let folder = tempfile::tempdir().expect("a folder");
        let mirror = Mirror::load(&*store, Blobs::open(folder.path()).expect("opens")).await.expect("loads");
        let id = NodeId::from_random([1; 10]);
        store.commit(Txn::new().put("/member-name/web1", id.to_string())).await.expect("commits");
        for count in 0..=HISTORY_REVISIONS {
            store.commit(Txn::new().put("/spool/x", count.to_string())).await.expect("commits");
        }
        let newest = store.revision().await.expect("reads");
        let (plans, stop) = (mirror.follow_plans(), CancellationToken::new());
        let running = tokio::spawn(Arc::clone(&mirror).run(store, stop.clone()));
        tokio::time::timeout(Duration::from_secs(10), mirror.reach(newest)).await.expect("catches up");
        assert!(mirror.now().names.values().any(|found| *found == id));
        assert_eq!(*plans.borrow(), newest, "every session looks again");
        stop.cancel();
        running.await.expect("ends");
    }
}
