//! What a node's spool brings: transitions, events and acts become durable, and are
//! acked.

use super::Session;
use crate::acts::{self, Told};
use crate::app::App;
use crate::clock;
use crate::enroll::store_status;
use crate::records::{self, Health, NewEvent, health_key, spool_key};
use hostler_proto::agent as wire;
use hostler_proto::agent::{spool_record, to_agent};
use hostler_proto::store as rest;
use hostler_store::{Revision, Txn};
use hostler_types::{Act, EventKind, Name, NodeId, TaskReport, Timestamp, Transition};
use prost::Message;
use std::collections::BTreeMap;
use tonic::Status;

/// By protocol.
const SPOOL_RECORDS_MAX: usize = 64;
/// What of a batch goes into one transaction: each record puts one key and drops one at
/// most, of the 100 that there may be, and as much again goes into the events.
const SPOOL_COMMIT_RECORDS: usize = 40;
const SPOOL_COMMIT_BYTES: usize = hostler_store::TXN_BYTES_MAX / 2;
/// As long as a summary gets in an event. In bytes: with its subject, a whole
/// batch of such events stays below the 64 KiB of one value.
const MESSAGE_BYTES_MAX: usize = 600;
const SUBJECT_BYTES_MAX: usize = 128;

/// Up to where the node's spool is durable here. What is stored of it may lag behind by
/// ends of tasks: these are kept with their runs, and change nothing when they come again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    pub spool_id: u64,
    pub acked: u64,
    revision: Option<Revision>,
}

fn clipped(text: &str, bytes_max: usize) -> String {
    text.chars()
        .scan(0, |length, c| {
            *length += c.len_utf8();
            (*length <= bytes_max).then_some(c)
        })
        .collect()
}

impl Session {
    /// Everything new in the batch becomes durable, in as few commits as it fits into,
    /// then is acked.
    pub(super) async fn take_spool(&mut self, batch: wire::SpoolBatch) -> Result<(), Status> {
        if batch.records.len() > SPOOL_RECORDS_MAX {
            return Err(Status::invalid_argument(format!("more than {SPOOL_RECORDS_MAX} records in a batch")));
        }
        if batch.spool_id != self.spool.spool_id {
            self.spool = Mark::load(&self.app, &self.node, batch.spool_id).await?;
        }
        let (mut part, mut bytes) = (Vec::new(), 0);
        for record in batch.records {
            let size = record.encoded_len();
            if part.len() == SPOOL_COMMIT_RECORDS || (bytes + size > SPOOL_COMMIT_BYTES && !part.is_empty()) {
                self.keep_spool(batch.spool_id, std::mem::take(&mut part)).await?;
                bytes = 0;
            }
            bytes += size;
            part.push(record);
        }
        self.keep_spool(batch.spool_id, part).await?;
        self.send(to_agent::Message::SpoolAck(wire::SpoolAck { spool_id: batch.spool_id, seq: self.spool.acked })).await
    }

    async fn keep_spool(&mut self, spool_id: u64, records: Vec<wire::SpoolRecord>) -> Result<(), Status> {
        let now = clock::wall();
        let (mut events, mut told) = (Vec::new(), Told::default());
        let mut health: BTreeMap<Name, Health> = BTreeMap::new();
        let (mut acked, mut is_kept) = (self.spool.acked, true);
        for record in records {
            // Sent again after a lost ack.
            if record.seq <= acked {
                continue;
            }
            acked = record.seq;
            is_kept &= matches!(record.body, Some(spool_record::Body::Task(_)));
            match record.body {
                Some(spool_record::Body::Act(act)) => events.extend(self.take_act(act, &mut told, now).await?),
                Some(spool_record::Body::Task(report)) => events.extend(self.take_end(report, now).await?),
                _ => events.push(self.event_of(record, &mut health, now)),
            }
        }
        // A fleet that ends its tasks together would write a mark for each node.
        if is_kept && events.is_empty() {
            self.spool.acked = acked;
            return Ok(());
        }
        let key = spool_key(&self.node);
        let mark = records::encode(&rest::SpoolMark { spool_id, acked });
        let mut txn = match self.spool.revision {
            Some(revision) => Txn::new().expect(key.as_str(), revision),
            None => Txn::new().expect_absent(key.as_str()),
        };
        txn = txn.put(key.as_str(), mark);
        for (check, health) in &health {
            txn = txn.put(health_key(&self.node, check), health.encode());
        }
        let txn = self.app.journal.record(told.write(txn), now, &events);
        let revision = self.app.store.commit(txn).await.map_err(store_status)?;
        self.spool = Mark { spool_id, acked, revision: Some(revision) };
        Ok(())
    }

    /// Keeps an act of a service that there is, or was on this node: a node's words alone
    /// make no new ones.
    async fn take_act(&self, act: wire::Act, told: &mut Told, now: Timestamp) -> Result<Option<NewEvent>, Status> {
        let unreadable = |problem: String| {
            let (node, message) = (self.name.to_string(), format!("sent an act that cannot be read: {problem}"));
            Some(NewEvent {
                at: now,
                kind: EventKind::AGENT,
                subject: node.clone(),
                node,
                message: clipped(&message, MESSAGE_BYTES_MAX),
            })
        };
        let act = match Act::try_from(act) {
            Ok(act) => act,
            Err(error) => return Ok(unreadable(error.to_string())),
        };
        told.read(&*self.app.store, &self.node, &act.service).await.map_err(store_status)?;
        let is_known = told.knows(&act.service) || self.app.mirror.now().specs.applied.service(&act.service).is_some();
        if !is_known {
            return Ok(unreadable(format!("there is no service {}", act.service)));
        }
        let Some(news) = told.take(&self.node, &act) else {
            return Ok(unreadable("its id has other characters than letters and digits, or too many".to_owned()));
        };
        let event = acts::event(&self.name, &act, news);
        Ok(event.map(|event| NewEvent { message: clipped(&event.message, MESSAGE_BYTES_MAX), ..event }))
    }

    /// The end of a task is kept with its run before the node may forget it.
    async fn take_end(&self, report: wire::TaskReport, now: Timestamp) -> Result<Option<NewEvent>, Status> {
        match TaskReport::try_from(report) {
            Ok(report) => self.app.work.ended(&self.node, report).await.map(|()| None),
            Err(error) => {
                let (node, message) = (self.name.to_string(), format!("sent a task that cannot be read: {error}"));
                let (kind, subject) = (EventKind::AGENT, node.clone());
                Ok(Some(NewEvent { at: now, kind, node, subject, message: clipped(&message, MESSAGE_BYTES_MAX) }))
            }
        }
    }

    fn event_of(&self, record: wire::SpoolRecord, health: &mut BTreeMap<Name, Health>, now: Timestamp) -> NewEvent {
        let node = self.name.to_string();
        let event = |at, kind, subject: String, message: String| NewEvent {
            at,
            kind,
            node: node.clone(),
            subject: clipped(&subject, SUBJECT_BYTES_MAX),
            message: clipped(&message, MESSAGE_BYTES_MAX),
        };
        match record.body {
            Some(spool_record::Body::Transition(transition)) => match Transition::try_from(transition) {
                Ok(transition) => {
                    let standing = Health {
                        check: transition.check.clone(),
                        state: transition.to,
                        since: transition.at,
                        summary: clipped(&transition.summary, MESSAGE_BYTES_MAX),
                    };
                    // It happened, so it is told; but nobody waits for that check any more.
                    if self.assigned.contains(&transition.check) {
                        health.insert(transition.check.clone(), standing);
                    }
                    event(transition.at, EventKind::CHECK, transition.check.to_string(), transition.to_string())
                }
                Err(error) => event(
                    now,
                    EventKind::AGENT,
                    node.clone(),
                    format!("sent a transition that cannot be read: {error}"),
                ),
            },
            Some(spool_record::Body::Event(told)) => {
                let kind = if told.kind == EventKind::PLUGIN { EventKind::PLUGIN } else { EventKind::AGENT };
                event(Timestamp::from_millis(told.at_ms), kind, told.subject, told.message)
            }
            Some(spool_record::Body::Gap(gap)) => {
                let message = format!("{} records were lost on the host: {}", gap.count, gap.reason);
                event(Timestamp::from_millis(gap.at_ms), EventKind::AGENT, node.clone(), message)
            }
            // Acts and tasks have their own way.
            Some(spool_record::Body::Act(_) | spool_record::Body::Task(_)) | None => {
                event(now, EventKind::AGENT, node.clone(), "sent a record of an unknown kind".into())
            }
        }
    }
}

impl Mark {
    /// Where the spool stands; another spool than the stored one starts anew.
    pub(super) async fn load(app: &App, node: &NodeId, spool_id: u64) -> Result<Self, Status> {
        let key = spool_key(node);
        let Some(entry) = app.store.get(&key).await.map_err(store_status)? else {
            return Ok(Self { spool_id, acked: 0, revision: None });
        };
        let mark: rest::SpoolMark =
            records::decode(&key, &entry.value).map_err(|error| Status::internal(error.to_string()))?;
        let acked = if mark.spool_id == spool_id { mark.acked } else { 0 };
        Ok(Self { spool_id, acked, revision: Some(entry.modified) })
    }
}
