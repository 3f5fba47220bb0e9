//! Operators and the tokens that they show.

use super::roles::{checked_roles, checked_systems, described};
use super::tokens::span;
use crate::access::{self, Caller, NewSecret, givers, grant_of, require, token_limit};
use crate::app::App;
use crate::clock;
use crate::contexts;
use crate::enroll::store_status;
use crate::pki::{OPERATOR_LIFETIME_MAX, PkiError, Subject};
use crate::records::{self, NewEvent, operator_key, operator_token_key, operator_token_use_key};
use crate::world::World;
use hostler_core::access::{
    Ask, CREDENTIAL_TTL_DEFAULT, Grant, Identity, NAMED_MAX, Noun, VIEWER, Verb, decide, exceeds,
};
use hostler_proto::admin as wire;
use hostler_proto::store as rest;
use hostler_store::{OPERATIONS_MAX, Txn};
use hostler_types::spec::nearest;
use hostler_types::{EventKind, Name, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

const REASON_CHARACTERS_MAX: usize = 200;
/// Of one operator; more are forgotten ones.
const TOKENS_MAX: usize = 100;
/// Until then it is told that a token expired, and not that it is unknown.
const TOKEN_KEPT_AFTER_END: Duration = Duration::from_secs(7 * 86_400);

fn change() -> Ask<'static> {
    Ask::new(Verb::Change, Noun::Operator)
}

pub fn news(subject: &str, message: String) -> NewEvent {
    let at = clock::wall();
    NewEvent { at, kind: EventKind::OPERATOR, node: String::new(), subject: subject.to_owned(), message }
}

fn find<'a>(world: &'a World, name: &str) -> Result<&'a Arc<rest::Operator>, Status> {
    world.operators.get(name).ok_or_else(|| {
        let help = match nearest(name, world.operators.keys().map(String::as_str)) {
            Some(near) => format!("; did you mean {near}?"),
            None => "; hostlerctl operator ls shows them".to_owned(),
        };
        Status::not_found(format!("there is no operator {name:?}{help}"))
    })
}

fn standing<'a>(world: &'a World, name: &str) -> Result<&'a Arc<rest::Operator>, Status> {
    let found = find(world, name)?;
    if found.revoked_at_ms != 0 {
        return Err(Status::failed_precondition(format!(
            "operator {name} was revoked, and stays so: make another with hostlerctl operator create"
        )));
    }
    Ok(found)
}

/// Nobody hands out, or takes over, more than they have.
pub fn within_own(world: &World, caller: &Caller, grant: &Grant, whose: &str) -> Result<(), Status> {
    match exceeds(&caller.identity, grant, &world.roles) {
        None => Ok(()),
        Some((verb, noun)) => Err(Status::permission_denied(format!(
            "{whose} could {} {}, which operator {} may not: nobody gives more than they have; ask somebody who may",
            verb.word(),
            noun.word(),
            caller.name()
        ))),
    }
}

/// Somebody must be able to let others in.
fn keeps_somebody(world: &World, without: &str, instead: Option<&Grant>) -> Result<(), Status> {
    let may = |name: &str, grant: &Grant| {
        let identity = Identity { operator: name.to_owned(), grant: grant.clone(), token: None };
        decide(&identity, &world.roles, &change()).is_ok()
    };
    let others = givers(world).any(|giver| giver.operator != without && may(giver.operator, &giver.grant));
    let could = world.operators.get(without).is_some_and(|one| may(without, &grant_of(one)));
    if others || !could || instead.is_some_and(|grant| may(without, grant)) {
        return Ok(());
    }
    Err(Status::failed_precondition(format!(
        "{without} is the last who can let others in: give the role admin to somebody else first (hostlerctl operator set NAME --role admin)"
    )))
}

pub async fn create(
    app: &App,
    caller: &Caller,
    request: wire::CreateOperatorRequest,
) -> Result<wire::CreateOperatorResponse, Status> {
    let world = app.mirror.now();
    // Renewing one's own certificate takes no right, while it still counts.
    let own = request.renew && request.name == caller.name() && caller.identity.token.is_none();
    if !own {
        require(&world, caller, &change().named(&request.name))?;
    }
    let name =
        Name::new(request.name).map_err(|error| Status::invalid_argument(format!("the operator's name: {error}")))?;
    let now = clock::wall();
    let most =
        if own && !access::may(&world, caller, &change()) { CREDENTIAL_TTL_DEFAULT } else { OPERATOR_LIFETIME_MAX };
    let lifetime = span("ttl", request.ttl_ms, CREDENTIAL_TTL_DEFAULT, most)?;
    let (mut record, key) = if request.renew {
        let found = standing(&world, name.as_str())?;
        if !own {
            within_own(&world, caller, &grant_of(found), name.as_str())?;
        }
        (rest::Operator::clone(found), operator_key(name.as_str()))
    } else {
        let given = if request.roles.is_empty() { vec![VIEWER.to_owned()] } else { request.roles };
        let roles = checked_roles(&world, given, &request.systems)?;
        let systems = checked_systems(request.systems)?;
        let mut record = contexts::operator_record(name.as_str(), caller.name(), now, Timestamp::default());
        (record.roles, record.systems) = (roles, systems);
        within_own(&world, caller, &grant_of(&record), name.as_str())?;
        (record, operator_key(name.as_str()))
    };
    let mut answer = wire::CreateOperatorResponse {
        authorities_der: vec![app.pki.authority().to_vec()],
        addresses: app.operator_addresses(),
        ..wire::CreateOperatorResponse::default()
    };
    if !request.csr_der.is_empty() {
        let subject = Subject::Operator(name.to_string());
        let issued = app.pki.issue_client(&subject, &request.csr_der, now, lifetime).map_err(|error| match error {
            PkiError::Request(_) => Status::invalid_argument(error.to_string()),
            other => Status::internal(other.to_string()),
        })?;
        answer.chain_der = issued.chain.iter().map(|one| one.to_vec()).collect();
        answer.not_after_ms = issued.not_after.as_millis();
        record.not_after_ms = record.not_after_ms.max(issued.not_after.as_millis());
    } else if request.renew {
        return Err(Status::invalid_argument("a new certificate needs a signing request"));
    }
    let told = if request.renew { "got a new certificate from" } else { "made by" };
    let event = news(name.as_str(), format!("{told} {}, with {}", caller.name(), held(&record)));
    let txn = if request.renew {
        replace(app, &key, &world, name.as_str()).await?
    } else {
        Txn::new().expect_absent(key.as_str())
    };
    let txn = txn.put(key.as_str(), records::encode(&record));
    let committed = app.store.commit(app.journal.record(txn, now, &[event])).await;
    let revision = committed.map_err(|error| match error {
        error if error.is_conflict() && !request.renew => Status::already_exists(format!(
            "there is an operator {name} already: choose another name, or give them a new certificate with \
             hostlerctl operator renew {name}"
        )),
        error => conflicting(error),
    })?;
    app.mirror.reach(revision).await;
    Ok(answer)
}

fn held(record: &rest::Operator) -> String {
    let limit =
        if record.systems.is_empty() { String::new() } else { format!(" in systems {}", record.systems.join(", ")) };
    format!("roles {}{limit}", grant_of(record).roles.join(", "))
}

fn raced() -> Status {
    Status::aborted("somebody else changed it at this very moment: look at it, and try again")
}

fn conflicting(error: hostler_store::StoreError) -> Status {
    if error.is_conflict() { raced() } else { store_status(error) }
}

/// Only in place of what the world shows: a revocation that came in between wins.
async fn replace(app: &App, key: &str, world: &World, name: &str) -> Result<Txn, Status> {
    let gone = || Status::not_found(format!("there is no operator {name:?} any more"));
    let entry = app.store.get(key).await.map_err(store_status)?.ok_or_else(gone)?;
    let stored: rest::Operator =
        records::decode(key, &entry.value).map_err(|error| Status::data_loss(error.to_string()))?;
    if world.operators.get(name).is_none_or(|seen| **seen != stored) {
        return Err(raced());
    }
    Ok(Txn::new().expect(key, entry.modified))
}

async fn store(app: &App, world: &World, record: &rest::Operator, event: NewEvent) -> Result<wire::Operator, Status> {
    let key = operator_key(&record.name);
    let txn = replace(app, &key, world, &record.name).await?.put(key.as_str(), records::encode(record));
    let revision = app.store.commit(app.journal.record(txn, event.at, &[event])).await.map_err(conflicting)?;
    app.mirror.reach(revision).await;
    Ok(to_wire(&app.mirror.now(), record))
}

pub async fn set(app: &App, caller: &Caller, request: wire::SetOperatorRequest) -> Result<wire::Operator, Status> {
    let world = app.mirror.now();
    let before = standing(&world, &request.name)?;
    within_own(&world, caller, &grant_of(before), &format!("operator {}, as they are,", before.name))?;
    let roles = if request.roles.is_empty() { grant_of(before).roles } else { request.roles };
    let systems = if request.systems.is_empty() { before.systems.clone() } else { checked_systems(request.systems)? };
    let roles = checked_roles(&world, roles, &systems)?;
    let after = rest::Operator { roles, systems, ..rest::Operator::clone(before) };
    within_own(&world, caller, &grant_of(&after), &after.name)?;
    keeps_somebody(&world, &after.name, Some(&grant_of(&after)))?;
    let event = news(&after.name, format!("given {} by {}", held(&after), caller.name()));
    store(app, &world, &after, event).await
}

/// Their tokens stay where they are, and count no more.
pub async fn revoke(
    app: &App,
    caller: &Caller,
    request: wire::RevokeOperatorRequest,
) -> Result<wire::Operator, Status> {
    let world = app.mirror.now();
    let found = find(&world, &request.name)?;
    if found.revoked_at_ms != 0 {
        return Ok(to_wire(&world, found));
    }
    keeps_somebody(&world, &found.name, None)?;
    let reason: String = request.reason.chars().take(REASON_CHARACTERS_MAX).collect();
    let told = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let event = news(&found.name, format!("revoked by {}{told}", caller.name()));
    let revoked = rest::Operator {
        revoked_at_ms: event.at.as_millis(),
        revoked_by: caller.name().to_owned(),
        revoked_reason: reason,
        ..rest::Operator::clone(found)
    };
    store(app, &world, &revoked, event).await
}

fn to_wire(world: &World, one: &rest::Operator) -> wire::Operator {
    let now = clock::wall().as_millis();
    let of_them = |token: &&Arc<rest::OperatorToken>| token.operator == one.name && token.expires_at_ms > now;
    let grant = grant_of(one);
    wire::Operator {
        name: one.name.clone(),
        created_at_ms: one.created_at_ms,
        not_after_ms: one.not_after_ms,
        created_by: one.created_by.clone(),
        may: described(world, &grant.roles),
        roles: grant.roles,
        systems: one.systems.clone(),
        revoked_at_ms: one.revoked_at_ms,
        revoked_by: one.revoked_by.clone(),
        revoked_reason: one.revoked_reason.clone(),
        tokens: u32::try_from(world.operator_tokens.values().filter(of_them).count()).unwrap_or(u32::MAX),
    }
}

pub fn list(app: &App) -> wire::ListOperatorsResponse {
    let world = app.mirror.now();
    let operators = world.operators.values().map(|one| to_wire(&world, one)).collect();
    wire::ListOperatorsResponse { operators, wall_ms: clock::wall().as_millis() }
}

pub fn who_am_i(app: &App, caller: &Caller) -> Result<wire::WhoAmIResponse, Status> {
    let world = app.mirror.now();
    let operator = find(&world, caller.name())?;
    let limit = caller.identity.token.as_ref();
    let token = limit.and_then(|limit| Some(token_to_wire(&world, &limit.id, world.operator_tokens.get(&limit.id)?)));
    let roles = limit.map_or(&caller.identity.grant.roles, |limit| &limit.grant.roles);
    Ok(wire::WhoAmIResponse {
        operator: Some(to_wire(&world, operator)),
        token,
        not_after_ms: caller.until.as_millis(),
        wall_ms: clock::wall().as_millis(),
        may: described(&world, roles),
    })
}

fn token_to_wire(world: &World, id: &str, token: &rest::OperatorToken) -> wire::OperatorToken {
    let used = world.operator_token_uses.get(id);
    wire::OperatorToken {
        id: id.to_owned(),
        operator: token.operator.clone(),
        created_at_ms: token.created_at_ms,
        expires_at_ms: token.expires_at_ms,
        created_by: token.created_by.clone(),
        roles: token.roles.clone(),
        systems: token.systems.clone(),
        used_at_ms: used.map_or(0, |used| used.at_ms),
        used_from: used.map(|used| used.address.clone()).unwrap_or_default(),
    }
}

pub async fn create_token(
    app: &App,
    caller: &Caller,
    request: wire::CreateOperatorTokenRequest,
) -> Result<wire::CreateOperatorTokenResponse, Status> {
    let world = app.mirror.now();
    let name = if request.operator.is_empty() { caller.name() } else { &request.operator };
    // A token that makes tokens would outlive its own removal.
    let own = name == caller.name() && caller.identity.token.is_none();
    if !own {
        require(&world, caller, &change().named(name))?;
    }
    let operator = standing(&world, name)?;
    let now = clock::wall();
    let ttl = span("ttl", request.ttl_ms, CREDENTIAL_TTL_DEFAULT, OPERATOR_LIFETIME_MAX)?;
    let grant = grant_of(operator);
    let systems = checked_systems(request.systems)?;
    let whole = if systems.is_empty() { &operator.systems } else { &systems };
    let roles = if request.roles.is_empty() { Vec::new() } else { checked_roles(&world, request.roles, whole)? };
    let record = rest::OperatorToken {
        operator: name.to_owned(),
        created_at_ms: now.as_millis(),
        expires_at_ms: now.plus(ttl).as_millis(),
        created_by: caller.name().to_owned(),
        roles,
        systems,
        ..rest::OperatorToken::default()
    };
    let secret = NewSecret::make().map_err(|error| Status::internal(error.to_string()))?;
    let limit = token_limit(&grant, &secret.id, &record);
    let owner = Identity { operator: name.to_owned(), grant: grant.clone(), token: None };
    if let Some((verb, noun)) = exceeds(&owner, &limit.grant, &world.roles) {
        return Err(Status::invalid_argument(format!(
            "a token never allows more than its operator has, and this one could {} {}, which {name} may not: give it fewer roles or systems",
            verb.word(),
            noun.word()
        )));
    }
    if !own {
        within_own(&world, caller, &limit.grant, &format!("a token of {name}"))?;
    }
    if world.operator_tokens.values().filter(|token| token.operator == name).count() >= TOKENS_MAX {
        return Err(Status::resource_exhausted(format!(
            "{name} has {TOKENS_MAX} tokens: remove some (hostlerctl operator token ls {name})"
        )));
    }
    let record = rest::OperatorToken { secret_hash: secret.hash, ..record };
    let key = operator_token_key(&secret.id);
    let made = format!("token {} until {} made by {}", secret.id, now.plus(ttl), caller.name());
    let txn = forget_old(&world, now).expect_absent(key.as_str()).put(key.as_str(), records::encode(&record));
    let txn = app.journal.record(txn, now, &[news(name, made)]);
    let revision = app.store.commit(txn).await.map_err(conflicting)?;
    app.mirror.reach(revision).await;
    Ok(wire::CreateOperatorTokenResponse {
        secret: secret.text,
        token: Some(token_to_wire(&app.mirror.now(), &secret.id, &record)),
        authorities_der: vec![app.pki.authority().to_vec()],
        addresses: app.operator_addresses(),
    })
}

/// What ended long ago, and uses of what is there no more.
fn forget_old(world: &World, now: Timestamp) -> Txn {
    let ended =
        |token: &rest::OperatorToken| Timestamp::from_millis(token.expires_at_ms).plus(TOKEN_KEPT_AFTER_END) < now;
    let old = world.operator_tokens.iter().filter(|(_, token)| ended(token)).map(|(id, _)| operator_token_key(id));
    let is_old = |id: &String| world.operator_tokens.get(id).is_none_or(|token| ended(token));
    let uses = world.operator_token_uses.keys().filter(|id| is_old(id)).map(|id| operator_token_use_key(id));
    old.chain(uses).take(OPERATIONS_MAX / 2).fold(Txn::new(), |txn, key| txn.delete(key))
}

pub fn list_tokens(
    app: &App,
    caller: &Caller,
    request: &wire::ListOperatorTokensRequest,
) -> Result<wire::ListOperatorTokensResponse, Status> {
    let world = app.mirror.now();
    if request.operator != caller.name() {
        require(&world, caller, &Ask::new(Verb::Read, Noun::Operator).named(&request.operator))?;
    }
    if !request.operator.is_empty() {
        find(&world, &request.operator)?;
    }
    let wanted = |token: &rest::OperatorToken| request.operator.is_empty() || token.operator == request.operator;
    let now = clock::wall().as_millis();
    let tokens = world.operator_tokens.iter().filter(|(_, token)| wanted(token) && token.expires_at_ms > now);
    let tokens = tokens.map(|(id, token)| token_to_wire(&world, id, token)).collect();
    Ok(wire::ListOperatorTokensResponse { tokens, wall_ms: now })
}

pub async fn remove_token(
    app: &App,
    caller: &Caller,
    request: &wire::RemoveOperatorTokenRequest,
) -> Result<wire::OperatorToken, Status> {
    let world = app.mirror.now();
    let found = world.operator_tokens.get(&request.id);
    // Who may not look at others' tokens is not told which there are.
    if found.is_none_or(|token| token.operator != caller.name()) {
        require(&world, caller, &change())?;
    }
    let token = found.ok_or_else(|| {
        let help = match nearest(&request.id, world.operator_tokens.keys().map(String::as_str)) {
            Some(near) => format!("; did you mean {near}?"),
            None => "; hostlerctl operator token ls shows them".to_owned(),
        };
        Status::not_found(format!("there is no token {:?}{help}", request.id))
    })?;
    let event = news(&token.operator, format!("token {} removed by {}", request.id, caller.name()));
    let txn = Txn::new().delete(operator_token_key(&request.id)).delete(operator_token_use_key(&request.id));
    let revision = app.store.commit(app.journal.record(txn, event.at, &[event])).await.map_err(store_status)?;
    app.mirror.reach(revision).await;
    Ok(token_to_wire(&world, &request.id, token))
}

/// As many as a person can keep apart.
pub fn not_too_many(what: &str, count: usize) -> Result<(), Status> {
    if count > NAMED_MAX {
        return Err(Status::invalid_argument(format!("{count} {what}, and at most {NAMED_MAX} may be")));
    }
    Ok(())
}
