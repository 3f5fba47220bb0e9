//! Plugins: pushed once, whole, and known by their digest.

use super::trust;
use crate::app::App;
use crate::approvals::Hand;
use crate::clock;
use crate::enroll::store_status;
use crate::interface;
use crate::records::{NewEvent, Pushed, artifact_key, highest_key};
use crate::world::World;
use hostler_core::catalogue::Artifact;
use hostler_core::version::Version;
use hostler_proto::admin as wire;
use hostler_store::Txn;
use hostler_types::plugin::{Grants, Manifest, embedded_manifest, split_signature, verify_signature};
use hostler_types::{EventKind, Name};
use std::sync::Arc;
use tonic::{Status, Streaming};

/// The largest real one, a Python plugin with its interpreter, has 18 MB.
const PLUGIN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A component that was looked at and lies among the blobs, where nobody runs it.
pub struct Staged {
    manifest: Manifest,
    version: Version,
    signed_by: String,
    digest: String,
    size_bytes: u64,
}

impl Staged {
    pub fn digest(&self) -> &str {
        &self.digest
    }

    pub fn plugin(&self) -> &Name {
        &self.manifest.name
    }
}

pub async fn receive(app: &App, mut pieces: Streaming<wire::PushPluginRequest>) -> Result<Staged, Status> {
    let mut content = Vec::new();
    while let Some(piece) = pieces.message().await? {
        if content.len() + piece.data.len() > PLUGIN_BYTES_MAX {
            return Err(Status::invalid_argument(format!("a plugin may have at most {} MiB", PLUGIN_BYTES_MAX >> 20)));
        }
        content.extend_from_slice(&piece.data);
    }
    stage(app, content).await
}

/// Looked at once more: keys that signed it may be trusted no more.
pub async fn staged(app: &App, digest: &str) -> Result<Staged, Status> {
    let content = app.blobs.get(digest).map_err(|error| Status::unavailable(format!("read the plugin: {error}")))?;
    stage(app, content.ok_or_else(|| Status::not_found("the pushed component is gone: push it again"))?).await
}

async fn stage(app: &App, content: Vec<u8>) -> Result<Staged, Status> {
    let manifest = embedded_manifest(&content).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let version = Version::parse(&manifest.version)
        .ok_or_else(|| Status::invalid_argument(format!("its version {:?} is not like 1.2.3", manifest.version)))?;
    let signed_by = signed_by(app, &content, &manifest)?;
    let size_bytes = content.len() as u64;
    let blobs = app.blobs.clone();
    let world = manifest.world.clone();
    // Reading its types and writing it take a while for a large one.
    let stored = tokio::task::spawn_blocking(move || {
        interface::check(&content, &world).map_err(Status::invalid_argument)?;
        blobs.put(&content).map_err(|error| Status::unavailable(format!("store the plugin: {error}")))
    });
    let digest = stored.await.map_err(|_| Status::internal("storing the plugin was interrupted"))??;
    Ok(Staged { manifest, version, signed_by, digest, size_bytes })
}

/// From here on it is one of the plugins.
pub async fn keep(app: &App, hand: &Hand, staged: Staged) -> Result<wire::Plugin, Status> {
    let Staged { manifest, version, signed_by, digest, size_bytes } = staged;
    let key = artifact_key(&manifest.name, &manifest.version);
    if let Some(entry) = app.store.get(&key).await.map_err(store_status)? {
        let known = Pushed::decode(&key, &entry.value).map_err(|error| Status::internal(error.to_string()))?;
        if known.artifact.digest == digest {
            return Ok(to_wire(app, &known, false));
        }
        return Err(Status::already_exists(format!(
            "{} {} was pushed before with other content: raise its version in plugin.toml",
            manifest.name, manifest.version
        )));
    }
    let highest = Highest::read(app, &manifest.name).await?;
    if let Some(seen) = highest.newer_than(&version) {
        return Err(Status::failed_precondition(format!(
            "{} {} is older than {seen}, which was pushed before: push it under a newer number, or, to run an older \
             one that is here, name it in a spec: plugin: {{{0}: {{version: ...}}}}",
            manifest.name, manifest.version
        )));
    }
    let now = clock::wall();
    let beyond = beyond_approved(&app.mirror.now(), &manifest);
    let waits = if beyond.is_empty() { String::new() } else { format!("; it waits, since it asks for more: {beyond}") };
    let event = news(&manifest.name, format!("{} pushed by {}{waits}", manifest.version, hand.told()));
    let artifact = Artifact { waiting: !beyond.is_empty(), manifest, digest, size_bytes };
    let txn = highest.raise(Txn::new().expect_absent(key.as_str()), &artifact.manifest);
    let pushed = Pushed { artifact, at: now, by: hand.name().to_owned(), signed_by };
    let txn = txn.put(key.as_str(), pushed.encode());
    let revision = app.store.commit(hand.seal(app, txn, 0, vec![event])).await.map_err(store_status)?;
    app.mirror.reach(revision).await;
    Ok(to_wire(app, &pushed, true))
}

fn news(plugin: &Name, message: String) -> NewEvent {
    NewEvent { at: clock::wall(), kind: EventKind::PLUGIN, node: String::new(), subject: plugin.to_string(), message }
}

/// The name of the key, once any is trusted; before, nobody is asked who made it.
fn signed_by(app: &App, component: &[u8], manifest: &Manifest) -> Result<String, Status> {
    let keys = trust::keys(app);
    if keys.is_empty() {
        return Ok(String::new());
    }
    let (rest, signature) = split_signature(component).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let digest = ring::digest::digest(&ring::digest::SHA256, &rest);
    let valid = |key: &[u8], message: &[u8], made: &[u8]| {
        ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key).verify(message, made).is_ok()
    };
    let judged = verify_signature(signature.as_ref(), manifest, digest.as_ref(), &keys, clock::wall(), valid);
    judged
        .map(str::to_owned)
        .map_err(|error| Status::permission_denied(format!("{} {}: {error}", manifest.name, manifest.version)))
}

/// What it asks for and nobody approved yet. Who pushes the first version of a
/// plugin approves what that asks for; later ones are measured by the newest
/// that runs.
pub fn beyond_approved(world: &World, manifest: &Manifest) -> Grants {
    let before = world.catalogue.newest(&manifest.name);
    before.map(|one| manifest.grants.beyond(&one.manifest.grants)).unwrap_or_default()
}

/// The highest version of a plugin that was ever here: it outlives the plugin, so
/// that an old one with a known hole can't come back as the newest.
struct Highest {
    key: String,
    entry: Option<(hostler_store::Revision, String)>,
}

impl Highest {
    async fn read(app: &App, plugin: &Name) -> Result<Self, Status> {
        let key = highest_key(plugin);
        let entry = app.store.get(&key).await.map_err(store_status)?;
        let entry = entry.map(|entry| (entry.modified, String::from_utf8_lossy(&entry.value).into_owned()));
        Ok(Self { key, entry })
    }

    fn newer_than(&self, version: &Version) -> Option<&str> {
        let (_, seen) = self.entry.as_ref()?;
        Version::parse(seen).filter(|seen| seen > version).map(|_| seen.as_str())
    }

    fn raise(&self, txn: Txn, manifest: &Manifest) -> Txn {
        let txn = match &self.entry {
            Some((revision, _)) => txn.expect(self.key.as_str(), *revision),
            None => txn.expect_absent(self.key.as_str()),
        };
        txn.put(self.key.as_str(), manifest.version.clone())
    }
}

/// A version by its number, or the newest that waits.
pub fn to_approve(world: &World, request: &wire::ApprovePluginRequest) -> Result<Arc<Pushed>, Status> {
    let name = Name::new(&request.name).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let of_name = || world.artifacts.values().filter(|one| one.artifact.manifest.name == name);
    let pushed = match request.version.as_str() {
        "" => {
            let waiting = world.catalogue.versions(&name).iter().rev().find(|one| one.waiting);
            waiting.and_then(|one| of_name().find(|pushed| pushed.artifact.digest == one.digest))
        }
        version => of_name().find(|one| one.artifact.manifest.version == version),
    };
    pushed.cloned().ok_or_else(|| match (of_name().next(), request.version.as_str()) {
        (None, _) => Status::not_found(format!("there is no plugin {name}: hostlerctl plugin ls shows what there is")),
        (Some(_), "") => Status::failed_precondition(format!("no version of {name} waits for approval")),
        (Some(_), version) => Status::not_found(format!("plugin {name} has no version {version}")),
    })
}

pub async fn approve(app: &App, hand: &Hand, request: &wire::ApprovePluginRequest) -> Result<wire::Plugin, Status> {
    let pushed = to_approve(&app.mirror.now(), request)?;
    let name = &pushed.artifact.manifest.name;
    let key = artifact_key(name, &pushed.artifact.manifest.version);
    let entry = app.store.get(&key).await.map_err(store_status)?;
    let entry = entry.ok_or_else(|| Status::aborted("it was removed at this moment"))?;
    let mut approved = Pushed::decode(&key, &entry.value).map_err(|error| Status::internal(error.to_string()))?;
    if !approved.artifact.waiting {
        return Ok(to_wire(app, &approved, false));
    }
    approved.artifact.waiting = false;
    let manifest = &approved.artifact.manifest;
    let event = news(name, format!("{} approved by {}: {}", manifest.version, hand.told(), manifest.grants));
    let txn = Txn::new().expect(key.as_str(), entry.modified).put(key.as_str(), approved.encode());
    let revision = app.store.commit(hand.seal(app, txn, 0, vec![event])).await.map_err(store_status)?;
    app.mirror.reach(revision).await;
    Ok(to_wire(app, &approved, true))
}

pub async fn remove(
    app: &App,
    operator: &str,
    request: &wire::RemovePluginRequest,
) -> Result<wire::RemovePluginResponse, Status> {
    let world = app.mirror.now();
    let name = Name::new(&request.name).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let pushed = world.artifacts.get(&(name.clone(), request.version.clone())).ok_or_else(|| {
        Status::not_found(format!(
            "there is no plugin {name} {}: hostlerctl plugin ls shows what there is",
            request.version
        ))
    })?;
    let used = to_wire(app, pushed, false).used_by_checks;
    if used > 0 {
        return Err(Status::failed_precondition(format!(
            "{used} checks run {name} {}: push another version or delete them first",
            request.version
        )));
    }
    let current = world.catalogue.choose(&name, world.specs.applied.plugin(&name)).ok();
    let tasks = world.specs.applied.tasks_by(&name).count();
    if tasks > 0 && current.is_some_and(|chosen| chosen.artifact.digest == pushed.artifact.digest) {
        return Err(Status::failed_precondition(format!(
            "{tasks} tasks have steps of {name} {}: push another version or delete them first",
            request.version
        )));
    }
    if let Some(spec) = world.specs.applied.plugin(&name)
        && spec.version.as_deref() == Some(&request.version)
    {
        return Err(Status::failed_precondition(format!(
            "the spec of plugin {name} names version {}",
            request.version
        )));
    }
    let event = news(&name, format!("{} removed by {operator}", request.version));
    let txn = Txn::new().delete(artifact_key(&name, &request.version));
    let revision = app.store.commit(app.journal.record(txn, clock::wall(), &[event])).await.map_err(store_status)?;
    app.mirror.reach(revision).await;
    Ok(wire::RemovePluginResponse {})
}

pub fn bills(app: &App, request: &wire::ListPluginBillsRequest) -> Result<wire::ListPluginBillsResponse, Status> {
    let world = app.mirror.now();
    let only = match request.node.as_str() {
        "" => None,
        node => {
            let found = world.find(node).ok_or_else(|| Status::not_found(format!("there is no node {node}")))?;
            Some(found.id.clone())
        }
    };
    let mut bills = Vec::new();
    for (id, of_node) in app.fleet.bills() {
        let Some(member) = world.members.get(&id).filter(|_| only.as_ref().is_none_or(|only| *only == id)) else {
            continue;
        };
        let wanted =
            |bill: &hostler_proto::agent::PluginBill| request.plugin.is_empty() || bill.plugin == request.plugin;
        bills.extend(
            of_node
                .into_iter()
                .filter(wanted)
                .map(|bill| wire::NodeBill { node: member.name.to_string(), bill: Some(bill) }),
        );
    }
    Ok(wire::ListPluginBillsResponse { bills })
}

fn to_wire(app: &App, pushed: &Pushed, added: bool) -> wire::Plugin {
    let world = app.mirror.now();
    let manifest = &pushed.artifact.manifest;
    let spec = world.specs.applied.plugin(&manifest.name);
    let chosen = world.catalogue.choose(&manifest.name, spec).ok();
    let current = chosen.as_ref().is_some_and(|chosen| chosen.artifact.digest == pushed.artifact.digest);
    let used = if current {
        world.specs.applied.checks().filter(|(_, check)| check.plugin == manifest.name).count()
    } else {
        0
    };
    let grants =
        chosen.as_ref().filter(|_| current).map_or_else(|| manifest.grants.clone(), |chosen| chosen.grants.clone());
    wire::Plugin {
        name: manifest.name.to_string(),
        version: manifest.version.clone(),
        digest: pushed.artifact.digest.clone(),
        size_bytes: pushed.artifact.size_bytes,
        summary: manifest.summary.clone(),
        world: manifest.world.clone(),
        grants: Some((&grants).into()),
        pushed_at_ms: pushed.at.as_millis(),
        pushed_by: pushed.by.clone(),
        used_by_checks: u32::try_from(used).unwrap_or(u32::MAX),
        current,
        added,
        waiting: pushed.artifact.waiting,
        beyond: pushed.artifact.waiting.then(|| (&beyond_approved(&world, manifest)).into()),
        signed_by: pushed.signed_by.clone(),
        asks: Some((&manifest.grants).into()),
    }
}

pub fn list(app: &App) -> wire::ListPluginsResponse {
    let world = app.mirror.now();
    let plugins = world.artifacts.values().map(|pushed| to_wire(app, pushed, false)).collect();
    wire::ListPluginsResponse { plugins, wall_ms: clock::wall().as_millis() }
}
