//! Acts that wait for another operator's yes.
//!
//! A handler asks [`cleared`] first. It gets a [`Hand`], in whose name the act is
//! done; or what was asked for is kept, word by word, and the call is answered with
//! its id. A yes and the act that it allows are one commit: a crash loses neither,
//! and does nothing twice.

pub mod acts;
mod sweep;

use crate::access::{self, Caller, Credential, require};
use crate::app::App;
use crate::audit::Call;
use crate::clock;
use crate::enroll::store_status;
use crate::pki::{random, sha256_hex};
use crate::records::{self, NewEvent, approval_key};
use crate::world::World;
use acts::{Act, Weight};
use bytes::Bytes;
use hostler_core::access::{Ask, Noun, Verb};
use hostler_core::approvals::{self, EXPIRES_AFTER, State, WAITING_MAX};
use hostler_core::effects::{Host, nodes};
use hostler_core::plan::{self, Basis, Plan};
use hostler_proto::store as rest;
use hostler_store::{Revision, Txn};
use hostler_types::{EventKind, Name, Timestamp};
use prost::Message;
use std::collections::BTreeSet;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

pub use sweep::run;

/// Why whoever may does without the second person; any text.
const OVERRIDE: &str = "x-override-approval-bin";
/// Which of them a call waits as.
const ID: &str = "x-approval-id";
const REASON_CHARACTERS_MAX: usize = 200;
const ID_BYTES: usize = 4;

/// By whose leave something is done that two have to agree on.
#[derive(Clone, Debug)]
enum Leave {
    /// It is not one of those.
    NotAsked,
    Approved(Box<Approved>),
    Overridden {
        reason: String,
        words: String,
    },
}

#[derive(Clone, Debug)]
pub struct Approved {
    pub id: String,
    /// Of the record that waits.
    pub modified: Revision,
    /// As it will stand once it is done.
    pub done: rest::Approval,
}

/// What is kept in one commit with what was allowed.
#[derive(Debug, Default)]
pub struct Sealed {
    /// Its key, what it was before, and as it stands then.
    pub decision: Option<(String, Revision, Bytes)>,
    pub event: Option<NewEvent>,
}

/// In whose name something is done, and by whose leave.
#[derive(Clone, Debug)]
pub struct Hand {
    pub caller: Caller,
    leave: Leave,
    reason: Option<String>,
}

impl Hand {
    /// Of whoever calls.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let caller = access::caller(request)?;
        Ok(Self { caller, leave: Leave::NotAsked, reason: override_reason(request.metadata())? })
    }

    pub fn approved(asked_by: Caller, approved: Approved) -> Self {
        Self { caller: asked_by, leave: Leave::Approved(approved.into()), reason: None }
    }

    pub fn name(&self) -> &str {
        self.caller.name()
    }

    pub fn approved_by(&self) -> &str {
        match &self.leave {
            Leave::Approved(approved) => &approved.done.decided_by,
            Leave::NotAsked | Leave::Overridden { .. } => "",
        }
    }

    /// As events name them.
    pub fn told(&self) -> String {
        match &self.leave {
            Leave::NotAsked => self.name().to_owned(),
            Leave::Approved(approved) => format!("{} (approved by {})", self.name(), approved.done.decided_by),
            Leave::Overridden { .. } => format!("{} (without a second approval)", self.name()),
        }
    }

    /// What was weighed was another world's: on this one it must be the same, or so
    /// small that nobody is asked.
    pub fn still_good(&self, app: &App, weigh: impl Fn() -> Weighed) -> Result<(), Status> {
        let policy = app.config.second_approval;
        match &self.leave {
            Leave::Overridden { .. } => Ok(()),
            Leave::NotAsked if policy.above.is_none() || !policy.asks(weigh().nodes.len()) => Ok(()),
            Leave::NotAsked => Err(Status::aborted("more nodes came under it at this moment: try again")),
            Leave::Approved(approved) if digest(&weigh().basis) == approved.done.basis => Ok(()),
            Leave::Approved(_) => Err(Status::aborted("it changed at this moment, and would do something else now")),
        }
    }

    /// The act's transaction, with its events and with the decision that allows it.
    pub fn seal(&self, app: &App, mut txn: Txn, version: u64, mut events: Vec<NewEvent>) -> Txn {
        let sealed = self.sealed(version);
        events.extend(sealed.event);
        if let Some((key, modified, done)) = sealed.decision {
            txn = txn.expect(key.as_str(), modified).put(key, done);
        }
        app.journal.record(txn, clock::wall(), &events)
    }

    pub fn sealed(&self, version: u64) -> Sealed {
        match &self.leave {
            Leave::NotAsked => Sealed::default(),
            Leave::Approved(approved) => {
                let done = rest::Approval { version, ..approved.done.clone() };
                let decision = (approval_key(&approved.id), approved.modified, records::encode(&done));
                Sealed { decision: Some(decision), event: Some(told(&approved.id, &done)) }
            }
            Leave::Overridden { reason, words } => {
                // Of the control plane itself: such events are told to people.
                let message =
                    format!("{} did without the second approval that was due: {words} ({reason})", self.name());
                let (at, kind, subject) = (clock::wall(), EventKind::SERVER, "override".to_owned());
                Sealed { decision: None, event: Some(NewEvent { at, kind, node: String::new(), subject, message }) }
            }
        }
    }
}

fn override_reason(metadata: &MetadataMap) -> Result<Option<String>, Status> {
    let Some(value) = metadata.get_bin(OVERRIDE) else { return Ok(None) };
    let text = value.to_bytes().ok().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    let reason = text.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let reason = reason.ok_or_else(|| Status::invalid_argument("say why you do without the second approval"))?;
    Ok(Some(cut(reason)))
}

pub fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(REASON_CHARACTERS_MAX).collect()
}

/// On which nodes, and all that it was planned against.
pub struct Weighed {
    pub nodes: BTreeSet<Name>,
    pub basis: String,
}

pub fn weigh_plan(world: &World, hosts: &[Host], system: &Name, plan: &Plan) -> Weighed {
    let basis = Basis { applied: &world.specs.applied, catalogue: &world.catalogue, hosts };
    let nodes = approvals::nodes_of_plan(basis, plan);
    let basis = approvals::basis_of_plan(system, world.specs.number(system), plan, &nodes);
    Weighed { nodes: nodes.into_iter().cloned().collect(), basis }
}

pub fn digest(basis: &str) -> Vec<u8> {
    ring::digest::digest(&ring::digest::SHA256, basis.as_bytes()).as_ref().to_vec()
}

/// Whether it may be done now: it is not one of those that wait, or whoever asks may
/// do without. Otherwise it waits from now on, which the status says.
pub async fn cleared(app: &App, call: &Call, hand: Hand, act: &Act) -> Result<Hand, Status> {
    let policy = app.config.second_approval;
    if policy.above.is_none() {
        return Ok(hand);
    }
    let world = app.mirror.now();
    // What can't be done is for the act itself to tell.
    let Ok(weight) = act.weigh(app, &world).await else { return Ok(hand) };
    if weight.trouble.is_some() || !policy.asks(weight.weighed.nodes.len()) {
        return Ok(hand);
    }
    weight.right(&world, &hand.caller)?;
    if weight.plans.len() > 1 {
        return Err(Status::failed_precondition(
            "another operator has to agree to this, and agrees to one system at a time: delete them one by one",
        ));
    }
    if let Some(reason) = hand.reason.clone() {
        require(&world, &hand.caller, &Ask::new(Verb::Approve, Noun::Server))?;
        let words = format!("{} on {}", weight.words, nodes(weight.weighed.nodes.len()));
        return Ok(Hand { leave: Leave::Overridden { reason, words }, ..hand });
    }
    let id = keep(app, &world, &hand.caller, act, &weight).await?;
    call.on("approval", &id);
    let others = who_may(&world, &weight, hand.name());
    let who = match others.split_first() {
        None => {
            "nobody else may say yes: an admin can let somebody in, or do without by --override-approval".to_owned()
        }
        Some((one, [])) => format!("{one} may say yes"),
        Some((one, more)) => format!("{one} or {} more may say yes", more.len()),
    };
    let mut status = Status::failed_precondition(format!(
        "{} on {} waits for a second approval as {id}; {who}: hostlerctl approve yes {id}",
        weight.words,
        nodes(weight.weighed.nodes.len())
    ));
    if let Ok(value) = id.parse() {
        status.metadata_mut().insert(ID, value);
    }
    Err(status)
}

/// What was asked for is durable before the record that names it.
async fn keep(app: &App, world: &World, caller: &Caller, act: &Act, weight: &Weight) -> Result<String, Status> {
    let waiting = world.approvals.values().filter(|one| one.state == State::Waiting.word()).count();
    if waiting >= WAITING_MAX {
        return Err(Status::resource_exhausted(format!("{waiting} acts wait already: hostlerctl approve ls")));
    }
    let id = random::<ID_BYTES>().map_err(|error| Status::internal(error.to_string()))?;
    let id = data_encoding::HEXLOWER.encode(&id);
    let body = act.body(app, &id)?.encode_to_vec();
    let digest_of_body = sha256_hex(&body);
    let documents = app.documents.clone();
    let stored = tokio::task::spawn_blocking(move || documents.put(&body)).await;
    stored
        .map_err(|_| Status::internal("keeping the request was interrupted"))?
        .map_err(|error| Status::unavailable(format!("keep the request: {error}")))?;
    let now = clock::wall();
    let record = rest::Approval {
        call: act.call().to_owned(),
        by: caller.name().to_owned(),
        by_token: caller.identity.token.as_ref().map(|token| token.id.clone()).unwrap_or_default(),
        at_ms: now.as_millis(),
        expires_at_ms: now.plus(EXPIRES_AFTER).as_millis(),
        state: State::Waiting.word().to_owned(),
        system: weight.system.clone(),
        noun: weight.noun.to_owned(),
        name: weight.name.clone(),
        summary: weight.words.clone(),
        nodes: u32::try_from(weight.weighed.nodes.len()).unwrap_or(u32::MAX),
        named: weight.named.clone(),
        more: weight.more,
        message: weight.message.clone(),
        body: digest_of_body,
        basis: digest(&weight.weighed.basis),
        ..rest::Approval::default()
    };
    let key = approval_key(&id);
    let txn = Txn::new().expect_absent(key.as_str()).put(key.as_str(), records::encode(&record));
    let txn = app.journal.record(txn, now, &[told(&id, &record)]);
    let revision = app.store.commit(txn).await.map_err(store_status)?;
    app.mirror.reach(revision).await;
    Ok(id)
}

/// What happened to one, for everybody.
fn told(id: &str, record: &rest::Approval) -> NewEvent {
    let what = format!("{} on {}", record.summary, nodes(record.nodes as usize));
    let reason = if record.reason.is_empty() { String::new() } else { format!(" ({})", record.reason) };
    let (by, decided_by) = (&record.by, &record.decided_by);
    let message = match State::parse(&record.state) {
        Some(State::Waiting) | None => format!("waits for a second approval: {by}: {what}"),
        Some(State::Done) => format!("{decided_by} said yes to what {by} asked for{reason}: {what}"),
        Some(State::Denied) => format!("{decided_by} said no to what {by} asked for{reason}: {what}"),
        Some(State::Withdrawn) => format!("{by} took it back{reason}: {what}"),
        Some(State::Outdated) => format!("{decided_by} said yes too late to what {by} asked for{reason}: {what}"),
        Some(State::Expired) => format!("nobody decided in time on what {by} asked for: {what}"),
    };
    NewEvent { at: clock::wall(), kind: EventKind::APPROVAL, node: String::new(), subject: id.to_owned(), message }
}

/// It waits no more, and was not carried out.
pub async fn close(app: &App, id: &str, modified: Revision, closed: rest::Approval) -> Result<rest::Approval, Status> {
    let key = approval_key(id);
    let body = closed.body.clone();
    let closed = rest::Approval { body: String::new(), ..closed };
    let txn = Txn::new().expect(key.as_str(), modified).put(key.as_str(), records::encode(&closed));
    let txn = app.journal.record(txn, clock::wall(), &[told(id, &closed)]);
    let revision = app.store.commit(txn).await.map_err(store_status)?;
    app.mirror.reach(revision).await;
    // Nothing names it any more.
    app.documents.remove(&body);
    Ok(closed)
}

/// Whoever asked, with what they may now.
pub fn asker(world: &World, record: &rest::Approval, now: Timestamp) -> Result<Caller, Status> {
    let credential = if record.by_token.is_empty() {
        // The certificate that was shown may have ended with the day; the right has not.
        Credential::Certificate { operator: record.by.clone(), until: Timestamp::from_millis(u64::MAX) }
    } else {
        Credential::Token { id: record.by_token.clone() }
    };
    credential.stands(world, now)
}

/// Who could call now: a certificate or a token of theirs counts.
pub fn operators(world: &World) -> Vec<Caller> {
    let now = clock::wall();
    let has_token = |name: &str| {
        world.operator_tokens.values().any(|token| token.operator == name && token.expires_at_ms > now.as_millis())
    };
    let there = world.operators.values().filter(|one| one.revoked_at_ms == 0);
    let there = there.filter(|one| one.not_after_ms > now.as_millis() || has_token(&one.name));
    let caller = |operator: &str| {
        let until = Timestamp::from_millis(u64::MAX);
        Credential::Certificate { operator: operator.to_owned(), until }.stands(world, now).ok()
    };
    there.filter_map(|one| caller(&one.name)).collect()
}

pub fn who_may(world: &World, weight: &Weight, asked_by: &str) -> Vec<String> {
    let others = operators(world).into_iter().filter(|caller| caller.name() != asked_by);
    others.filter(|caller| weight.right(world, caller).is_ok()).map(|caller| caller.name().to_owned()).collect()
}

/// `1 to delete, 2 to create`
fn counts(changes: &[plan::Change]) -> String {
    let count = |act| changes.iter().filter(|change| change.act == act).count();
    let parts = [(plan::Act::Delete, "to delete"), (plan::Act::Create, "to create"), (plan::Act::Update, "to update")];
    let parts = parts.map(|(act, word)| (count(act), word));
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    parts.join(", ")
}
