//! Whose signatures on plugins count.

use crate::app::App;
use crate::clock;
use crate::enroll::store_status;
use crate::records::{self, NewEvent, trusted_key_key};
use hostler_proto::admin as wire;
use hostler_proto::store as rest;
use hostler_store::Txn;
use hostler_types::plugin::{TrustedKey, key_id};
use hostler_types::{EventKind, Name};
use tonic::Status;

/// An Ed25519 public key's.
const KEY_BYTES: usize = 32;
/// Each is tried by its id only; more than a team's are a mistake.
const KEYS_MAX: usize = 100;

fn named(text: &str) -> Result<Name, Status> {
    Name::new(text).map_err(|error| Status::invalid_argument(format!("the key's name: {error}")))
}

fn news(message: String, key: &Name) -> NewEvent {
    NewEvent { at: clock::wall(), kind: EventKind::PLUGIN, node: String::new(), subject: key.to_string(), message }
}

pub async fn add(app: &App, operator: &str, request: wire::TrustKeyRequest) -> Result<wire::TrustedKey, Status> {
    let name = named(&request.name)?;
    if request.public_key.len() != KEY_BYTES {
        return Err(Status::invalid_argument(format!(
            "a public key has {KEY_BYTES} bytes, and this one {}: give the .pub file of hostlerctl plugin keygen",
            request.public_key.len()
        )));
    }
    let world = app.mirror.now();
    if let Some((other, _)) = world.trusted_keys.iter().find(|(_, key)| key.public_key == request.public_key) {
        return Err(Status::already_exists(format!("this key is trusted already, as {other}")));
    }
    if world.trusted_keys.len() >= KEYS_MAX {
        return Err(Status::resource_exhausted(format!("{KEYS_MAX} keys are trusted: hostlerctl plugin trust rm one")));
    }
    let now = clock::wall();
    let id = key_id(&request.public_key);
    let record = rest::TrustedKey {
        name: name.to_string(),
        public_key: request.public_key,
        added_at_ms: now.as_millis(),
        added_by: operator.to_owned(),
    };
    let key = trusted_key_key(&name);
    let event = news(format!("plugins signed by {id} are taken from now on, says {operator}"), &name);
    let txn = Txn::new().expect_absent(key.as_str()).put(key.as_str(), records::encode(&record));
    let committed = app.store.commit(app.journal.record(txn, now, &[event])).await;
    let revision = committed.map_err(|error| match error {
        hostler_store::StoreError::Conflict { .. } => {
            Status::already_exists(format!("there is a key {name} already: choose another name"))
        }
        error => store_status(error),
    })?;
    app.mirror.reach(revision).await;
    Ok(to_wire(&record))
}

fn to_wire(record: &rest::TrustedKey) -> wire::TrustedKey {
    wire::TrustedKey {
        name: record.name.clone(),
        public_key: record.public_key.clone(),
        added_at_ms: record.added_at_ms,
        added_by: record.added_by.clone(),
    }
}

pub fn list(app: &App) -> wire::ListTrustedKeysResponse {
    let keys = app.mirror.now().trusted_keys.values().map(|record| to_wire(record)).collect();
    wire::ListTrustedKeysResponse { keys, wall_ms: clock::wall().as_millis() }
}

pub async fn remove(
    app: &App,
    operator: &str,
    request: &wire::UntrustKeyRequest,
) -> Result<wire::UntrustKeyResponse, Status> {
    let name = named(&request.name)?;
    let world = app.mirror.now();
    if !world.trusted_keys.contains_key(name.as_str()) {
        let known: Vec<&str> = world.trusted_keys.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none is".to_owned() } else { format!("there are {}", known.join(", ")) };
        return Err(Status::not_found(format!("no key {name} is trusted; {known}")));
    }
    let last = if world.trusted_keys.len() == 1 { "; it was the last, so unsigned ones are taken again" } else { "" };
    let event = news(format!("its signatures do not count any more, says {operator}{last}"), &name);
    let txn = Txn::new().delete(trusted_key_key(&name));
    let revision = app.store.commit(app.journal.record(txn, clock::wall(), &[event])).await.map_err(store_status)?;
    app.mirror.reach(revision).await;
    Ok(wire::UntrustKeyResponse {})
}

/// For whoever judges a signature.
pub fn keys(app: &App) -> Vec<TrustedKey> {
    let world = app.mirror.now();
    let keys = world.trusted_keys.values();
    keys.map(|one| TrustedKey { name: one.name.clone(), public_key: one.public_key.clone() }).collect()
}
