//! A system's next version, in one step.
//!
//! The version's objects become durable as a blob first, which nobody sees; then
//! one small transaction names it. Every such transaction compares one key that
//! all of them write: of two at once, the second looks at the world again.

use super::{hosts, read};
use crate::app::App;
use crate::approvals::Hand;
use crate::clock;
use crate::enroll::store_status;
use crate::records::{self, NewEvent, SPECS, system_key, system_version_key};
use crate::systems::{self, SystemVersion};
use crate::world::World;
use hostler_core::plan::{Act, Plan, Problem};
use hostler_proto::store as rest;
use hostler_store::{Revision, Txn};
use hostler_types::{EventKind, Name};
use tonic::Status;

/// Another control plane on the same store applies at the very same moment: seldom
/// twice, never this often.
const ATTEMPTS_MAX: usize = 20;
/// A year of a few changes a day.
pub const VERSIONS_KEPT: u64 = 500;
/// Old versions dropped with one change; there is one more each time.
const DROPPED_MAX: usize = 20;
const NAMED_MAX: usize = 5;

pub struct Writer<'a> {
    pub app: &'a App,
    pub hand: &'a Hand,
    pub message: String,
}

pub enum Outcome {
    Applied {
        plan: Plan,
        number: u64,
        revision: Revision,
    },
    Problems(Vec<Problem>),
    /// The version that was planned against is not there any more; what came
    /// since, the newest first.
    Changed(Vec<SystemVersion>),
}

impl Writer<'_> {
    /// Plans on the newest world and commits, until nobody else was faster.
    pub async fn change(
        &self,
        system: &Name,
        seen: Option<u64>,
        plan: impl Fn(&World) -> Result<(Plan, String), Status>,
    ) -> Result<Outcome, Status> {
        let _turn = self.app.spec_turn.lock().await;
        for _ in 0..ATTEMPTS_MAX {
            let guard = self.app.store.get(SPECS).await.map_err(store_status)?;
            let guard = guard.map(|entry| entry.modified);
            self.app.mirror.reach(guard.unwrap_or_default()).await;
            let world = self.app.mirror.now();
            let number = world.specs.number(system);
            if let Some(seen) = seen.filter(|seen| *seen != number) {
                return self.since(system, seen).await.map(Outcome::Changed);
            }
            let (plan, env) = plan(&world)?;
            if !plan.problems.is_empty() {
                return Ok(Outcome::Problems(plan.problems));
            }
            if !plan.has_changes() {
                return Ok(Outcome::Applied { plan, number, revision: world.revision });
            }
            // On exactly this world: it may have grown since it was weighed.
            self.hand.still_good(self.app, || {
                let hosts = hosts(self.app, &world);
                crate::approvals::weigh_plan(&world, &hosts, system, &plan)
            })?;
            let version = self.version(system, number + 1, &plan, env).await?;
            match self.commit(&version, guard).await {
                Ok(revision) => {
                    self.app.mirror.reach(revision).await;
                    return Ok(Outcome::Applied { plan, number: version.number, revision });
                }
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(store_status(error)),
            }
        }
        Err(Status::aborted("specs change all the time: try again"))
    }

    async fn version(&self, system: &Name, number: u64, plan: &Plan, env: String) -> Result<SystemVersion, Status> {
        let digest = if plan.objects.is_empty() {
            String::new()
        } else {
            let documents: Vec<_> = plan.objects.iter().map(|object| read::to_document(object)).collect();
            let (blobs, name) = (self.app.documents.clone(), system.clone());
            let stored =
                tokio::task::spawn_blocking(move || blobs.put(&systems::write(&name, number, &documents))).await;
            stored
                .map_err(|_| Status::internal("storing the system was interrupted"))?
                .map_err(|error| Status::unavailable(format!("store the system's objects: {error}")))?
        };
        let count = |act| u32::try_from(plan.changes.iter().filter(|one| one.act == act).count()).unwrap_or(u32::MAX);
        let changing: Vec<_> = plan.changes.iter().filter(|one| one.act != Act::Unchanged).collect();
        let named = changing.iter().take(NAMED_MAX);
        Ok(SystemVersion {
            system: system.clone(),
            number,
            digest,
            at: clock::wall(),
            by: self.hand.name().to_owned(),
            message: self.message.clone(),
            env,
            created: count(Act::Create),
            updated: count(Act::Update),
            deleted: count(Act::Delete),
            named: named.map(|one| format!("{} {} {}", one.act.word(), one.kind, one.name)).collect(),
            more: u32::try_from(changing.len().saturating_sub(NAMED_MAX)).unwrap_or(u32::MAX),
            approved_by: self.hand.approved_by().to_owned(),
        })
    }

    async fn commit(
        &self,
        version: &SystemVersion,
        guard: Option<Revision>,
    ) -> Result<Revision, hostler_store::StoreError> {
        let mut txn = match guard {
            Some(revision) => Txn::new().expect(SPECS, revision),
            None => Txn::new().expect_absent(SPECS),
        };
        let written = records::encode(&rest::Meta { lineage: 0, created_at_ms: version.at.as_millis() });
        txn = txn.put(SPECS, written).put(system_key(&version.system), version.encode());
        txn = txn.put(system_version_key(&version.system, version.number), version.encode());
        let mut dropped = Vec::new();
        if let Some(oldest) = version.number.checked_sub(VERSIONS_KEPT) {
            let kept = self.app.store.scan(&system_version_prefix(&version.system), None).await?;
            let limit = system_version_key(&version.system, oldest);
            for (key, entry) in kept.entries.iter().filter(|(key, _)| **key <= *limit).take(DROPPED_MAX) {
                txn = txn.delete(key.as_ref());
                dropped.extend(SystemVersion::decode(version.system.clone(), key, &entry.value).ok());
            }
        }
        let txn = self.hand.seal(self.app, txn, version.number, vec![self.event(version)]);
        let revision = self.app.store.commit(txn).await?;
        // Nobody can ask for them any more.
        for version in dropped.iter().filter(|version| version.is_there()) {
            self.app.documents.remove(&version.digest);
        }
        Ok(revision)
    }

    fn event(&self, version: &SystemVersion) -> NewEvent {
        let mut told: Vec<String> = version.named.clone();
        if version.more > 0 {
            told.push(format!("and {} more", version.more));
        }
        let message = if self.message.is_empty() { String::new() } else { format!(" ({})", self.message) };
        NewEvent {
            at: version.at,
            kind: EventKind::SPEC,
            node: String::new(),
            subject: version.system.to_string(),
            message: format!("{}: version {}{message}: {}", self.hand.told(), version.number, told.join(", ")),
        }
    }

    async fn since(&self, system: &Name, seen: u64) -> Result<Vec<SystemVersion>, Status> {
        let mut kept = kept(self.app, system).await?;
        kept.retain(|version| version.number > seen);
        if kept.is_empty() {
            // Planned against what is not there yet: another history.
            return Err(Status::failed_precondition(format!(
                "the plan was made against version {seen} of {system}, which this control plane never had: plan again"
            )));
        }
        Ok(kept)
    }
}

fn system_version_prefix(system: &Name) -> String {
    format!("{}{system}/", records::SYSTEM_VERSIONS)
}

/// The versions of a system that are kept, the newest first.
pub async fn kept(app: &App, system: &Name) -> Result<Vec<SystemVersion>, Status> {
    let found = app.store.scan(&system_version_prefix(system), None).await.map_err(store_status)?;
    let decoded =
        found.entries.iter().rev().map(|(key, entry)| SystemVersion::decode(system.clone(), key, &entry.value));
    decoded.collect::<Result<_, _>>().map_err(|error| Status::data_loss(error.to_string()))
}
