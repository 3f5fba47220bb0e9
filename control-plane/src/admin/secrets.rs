//! Secrets: values come in, and none ever goes out but sealed to a node.

use crate::access::{self, Caller};
use crate::app::App;
use crate::approvals::Hand;
use crate::clock;
use crate::enroll::store_status;
use crate::records::{self, NewEvent, secret_key};
use crate::vault::VALUE_BYTES_MAX;
use crate::world::World;
use hostler_core::access::{Ask, Noun, Verb};
use hostler_core::runs::steps;
use hostler_core::services::secrets;
use hostler_proto::admin as wire;
use hostler_proto::store as rest;
use hostler_store::{StoreError, Txn};
use hostler_types::spec::{Body, Kind, secrets_in};
use hostler_types::{EventKind, Name};
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::{BTreeMap, BTreeSet};
use tonic::Status;
use zeroize::Zeroizing;

/// Letters and digits that nobody takes for each other, and no shell for its own.
const ALPHABET: &[u8; 57] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const GENERATED_MIN: u32 = 16;
const GENERATED_MAX: u32 = 1024;
/// Tries against somebody who sets the same secret.
const TRIES: usize = 8;

fn named(text: &str) -> Result<Name, Status> {
    Name::new(text).map_err(|error| Status::invalid_argument(format!("the secret's name: {error}")))
}

fn news(name: &Name, message: String) -> NewEvent {
    NewEvent { at: clock::wall(), kind: EventKind::SECRET, node: String::new(), subject: name.to_string(), message }
}

/// A secret belongs to the system that names it; one that none names, to nobody.
pub fn ask<'a>(world: &'a World, verb: Verb, name: &'a Name) -> Ask<'a> {
    let ask = Ask::new(verb, Noun::Spec(Kind::Secret)).named(name.as_str());
    match world.specs.applied.get(Kind::Secret, name) {
        Some(declared) => access::in_system(ask, &declared.system),
        None => ask,
    }
}

pub async fn set(app: &App, hand: &Hand, request: wire::SetSecretRequest) -> Result<wire::Secret, Status> {
    let wire::SetSecretRequest { name, value, generate, must_exist, must_be_new } = request;
    let (name, value) = (named(&name)?, Zeroizing::new(value));
    let world = app.mirror.now();
    access::require(&world, &hand.caller, &ask(&world, Verb::Change, &name))?;
    let value = match (value.is_empty(), generate) {
        (false, 0) => value,
        (true, 0) => {
            return Err(Status::invalid_argument("the value is empty: give one, or have one made with --generate"));
        }
        (true, length) => generated(length)?,
        (false, _) => return Err(Status::invalid_argument("give a value, or have one made: not both")),
    };
    if value.len() > VALUE_BYTES_MAX {
        return Err(Status::invalid_argument(format!(
            "the value has {} bytes, and a secret at most {VALUE_BYTES_MAX}",
            value.len()
        )));
    }
    for _ in 0..TRIES {
        let key = secret_key(&name);
        let entry = app.store.get(&key).await.map_err(store_status)?;
        let before: Option<rest::Secret> =
            entry.as_ref().map(|entry| records::decode(&key, &entry.value)).transpose().map_err(damaged)?;
        if must_exist && before.is_none() {
            return Err(Status::not_found(format!("secret {name} has no value yet: hostlerctl secret set {name}")));
        }
        if must_be_new && before.is_some() {
            return Err(Status::already_exists(format!("secret {name} has a value: hostlerctl secret rotate {name}")));
        }
        let record = app.vault.add(before.as_ref(), &name, &value, hand.name());
        let record = record.ok_or_else(|| Status::internal("this machine has no randomness"))?;
        let number = record.versions.last().map_or(0, |newest| newest.number);
        let event = news(&name, format!("version {number} set by {}", hand.told()));
        let txn = match &entry {
            Some(entry) => Txn::new().expect(key.as_str(), entry.modified),
            None => Txn::new().expect_absent(key.as_str()),
        };
        let txn = txn.put(key.as_str(), records::encode(&record));
        match app.store.commit(hand.seal(app, txn, 0, vec![event])).await {
            Ok(revision) => {
                app.mirror.reach(revision).await;
                let world = app.mirror.now();
                return Ok(to_wire(&name, Some(&record), &world, &uses(app, &world)));
            }
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(store_status(error)),
        }
    }
    Err(Status::aborted(format!("secret {name} is being set by others all the time: try again")))
}

fn damaged(error: records::RecordError) -> Status {
    Status::data_loss(error.to_string())
}

/// Without a bias: a byte that would make one is left out.
fn generated(length: u32) -> Result<Zeroizing<Vec<u8>>, Status> {
    if !(GENERATED_MIN..=GENERATED_MAX).contains(&length) {
        return Err(Status::invalid_argument(format!(
            "a generated secret has {GENERATED_MIN} to {GENERATED_MAX} characters, and {length} were asked for"
        )));
    }
    let (random, wanted) = (SystemRandom::new(), length as usize);
    let mut value = Zeroizing::new(Vec::with_capacity(wanted));
    let fair = u8::MAX - u8::MAX % 57;
    while value.len() < wanted {
        let mut bytes = Zeroizing::new([0u8; 64]);
        random.fill(&mut *bytes).map_err(|_| Status::internal("this machine has no randomness"))?;
        let letters = bytes.iter().filter(|byte| **byte < fair).filter_map(|byte| ALPHABET.get(usize::from(byte % 57)));
        let room = wanted - value.len();
        value.extend(letters.take(room));
    }
    Ok(value)
}

/// The nodes, checks, notifiers and services that each secret goes to.
type Uses = BTreeMap<Name, (BTreeSet<String>, BTreeSet<String>)>;

fn uses(app: &App, world: &World) -> Uses {
    let mut uses = Uses::new();
    for (id, member) in world.members.iter() {
        let Some((desired, given)) = app.desired_state(world, id) else { continue };
        for secret in given {
            let granted = |plugin: &Name| {
                let of_plugin = desired.plugins.iter().find(|one| one.name == *plugin);
                of_plugin.is_some_and(|one| {
                    one.grants.secrets.iter().chain(&one.grants.reveal).any(|pattern| pattern.matches(secret.as_str()))
                })
            };
            let reference = format!("${{secret:{secret}}}");
            let checks =
                desired.checks.iter().filter(|check| check.config_json.contains(&reference) || granted(&check.plugin));
            let checks: Vec<String> = checks.map(|check| format!("check/{}", check.name)).collect();
            let notifiers = desired.notifiers.iter().filter(|one| granted(&one.plugin));
            let notifiers: Vec<String> = notifiers.map(|one| format!("notifier/{}", one.name)).collect();
            let applied = &world.specs.applied;
            let names = |service: &Name| applied.service(service).is_some_and(|spec| secrets(spec).contains(&secret));
            let services = desired.services.iter().filter(|one| names(&one.name));
            let services: Vec<String> = services.map(|one| format!("service/{}", one.name)).collect();
            let (nodes, used_by) = uses.entry(secret).or_default();
            nodes.insert(member.name.to_string());
            used_by.extend(checks.into_iter().chain(notifiers).chain(services));
        }
    }
    uses
}

/// Notifiers and tasks, wherever they are.
fn naming(world: &World, secret: &Name) -> BTreeSet<String> {
    let of = |kind| world.specs.applied.of_kind(kind);
    let naming = of(Kind::Notifier).chain(of(Kind::Task)).filter(|one| match &one.object.body {
        Body::Notifier(body) => body.with.0.values().any(|value| secrets_in(value).contains(secret)),
        Body::Task(task) => steps::secrets(task).contains(secret),
        _ => false,
    });
    naming.map(|one| format!("{}/{}", one.object.kind(), one.object.name)).collect()
}

fn to_wire(name: &Name, record: Option<&rest::Secret>, world: &World, uses: &Uses) -> wire::Secret {
    let newest = record.and_then(|record| record.versions.last());
    let declared = world.specs.applied.get(Kind::Secret, name);
    let (nodes, mut used_by) = uses.get(name).cloned().unwrap_or_default();
    used_by.extend(naming(world, name));
    wire::Secret {
        name: name.to_string(),
        version: newest.map_or(0, |newest| newest.number),
        set_at_ms: newest.map_or(0, |newest| newest.at_ms),
        set_by: newest.map(|newest| newest.by.clone()).unwrap_or_default(),
        systems: declared.map(|one| one.system.to_string()).into_iter().collect(),
        used_by: used_by.into_iter().collect(),
        nodes: nodes.into_iter().collect(),
    }
}

/// Those with a value, and those that a spec names and that have none yet.
pub fn list(app: &App, caller: &Caller) -> wire::ListSecretsResponse {
    let world = app.mirror.now();
    let uses = uses(app, &world);
    let declared = world.specs.applied.of_kind(Kind::Secret).map(|one| &one.object.name);
    let names: BTreeSet<&Name> = world.secrets.keys().chain(declared).collect();
    let shown = names.into_iter().filter(|name| access::may(&world, caller, &ask(&world, Verb::Read, name)));
    let secrets = shown.map(|name| to_wire(name, world.secrets.get(name).map(|record| &**record), &world, &uses));
    wire::ListSecretsResponse {
        secrets: secrets.collect(),
        key_id: app.vault.key_id(),
        key_source: app.vault.source(),
        wall_ms: clock::wall().as_millis(),
    }
}

pub async fn remove(
    app: &App,
    caller: &Caller,
    request: &wire::RemoveSecretRequest,
) -> Result<wire::RemoveSecretResponse, Status> {
    let (name, operator) = (named(&request.name)?, caller.name());
    let world = app.mirror.now();
    access::require(&world, caller, &ask(&world, Verb::Change, &name))?;
    if !world.secrets.contains_key(&name) {
        return Err(Status::not_found(format!("secret {name} has no value: hostlerctl secret ls")));
    }
    let (nodes, mut used_by) = uses(app, &world).remove(&name).unwrap_or_default();
    used_by.extend(naming(&world, &name));
    if !used_by.is_empty() {
        let used_by: Vec<&str> = used_by.iter().map(String::as_str).collect();
        let places = if nodes.is_empty() { String::new() } else { format!(" on {} nodes", nodes.len()) };
        return Err(Status::failed_precondition(format!(
            "secret {name} is used by {}{places}: take it out of their specs first",
            used_by.join(", ")
        )));
    }
    let event = news(&name, format!("removed by {operator}"));
    let txn = Txn::new().delete(secret_key(&name));
    let revision = app.store.commit(app.journal.record(txn, clock::wall(), &[event])).await.map_err(store_status)?;
    app.mirror.reach(revision).await;
    Ok(wire::RemoveSecretResponse {})
}

/// Half done is no harm: both keys open what they sealed, and another call goes on.
pub async fn rekey(app: &App, operator: &str) -> Result<wire::RekeySecretsResponse, Status> {
    // One at a time, and no spec changes what a node is given meanwhile.
    let _turn = app.spec_turn.lock().await;
    let failed = |error: crate::vault::RekeyError| Status::failed_precondition(error.to_string());
    app.vault.begin_rekey().map_err(failed)?;
    let mut sealed = 0;
    for name in app.mirror.now().secrets.keys() {
        sealed += u64::from(reseal(app, name).await?);
    }
    // Whatever was set meanwhile was sealed by the new key.
    app.vault.finish_rekey().map_err(failed)?;
    let key_id = app.vault.key_id();
    let message = format!("all values sealed anew under the key {key_id} by {operator}");
    let at = clock::wall();
    let event = NewEvent { at, kind: EventKind::SECRET, node: String::new(), subject: "key".to_owned(), message };
    app.tell(event).await;
    Ok(wire::RekeySecretsResponse { secrets: sealed, key_id })
}

async fn reseal(app: &App, name: &Name) -> Result<bool, Status> {
    let key = secret_key(name);
    for _ in 0..TRIES {
        let Some(entry) = app.store.get(&key).await.map_err(store_status)? else { return Ok(false) };
        let record: rest::Secret = records::decode(&key, &entry.value).map_err(damaged)?;
        if app.vault.is_newest(&record) {
            return Ok(true);
        }
        let anew = app.vault.reseal(name, &record).map_err(|error| Status::data_loss(error.to_string()))?;
        let txn = Txn::new().expect(key.as_str(), entry.modified).put(key.as_str(), records::encode(&anew));
        match app.store.commit(txn).await {
            Ok(revision) => {
                app.mirror.reach(revision).await;
                return Ok(true);
            }
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(store_status(error)),
        }
    }
    Err(Status::aborted(format!("secret {name} is being set by others all the time: try again")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_generated_is_of_the_alphabet_and_never_twice_the_same() {
        let (one, other) = (generated(64).expect("makes"), generated(64).expect("makes"));
        assert_eq!(one.len(), 64);
        assert!(one.iter().all(|letter| ALPHABET.contains(letter)));
        assert_ne!(one, other);
        assert!(generated(15).is_err() && generated(1025).is_err());
    }
}
