//! Plugins: pushed once, whole, and known by their digest.

use crate::app::App;
use crate::clock;
use crate::enroll::store_status;
use crate::records::{NewEvent, Pushed, artifact_key};
use hostler_core::catalogue::Artifact;
use hostler_core::version::Version;
use hostler_proto::admin as wire;
use hostler_store::Txn;
use hostler_types::EventKind;
use hostler_types::plugin::embedded_manifest;
use tonic::{Status, Streaming};

/// The largest real one, a Python plugin with its interpreter, has 18 MB.
const PLUGIN_BYTES_MAX: usize = 64 * 1024 * 1024;
const WORLDS: [&str; 1] = ["check"];

pub async fn push(
    app: &App,
    operator: &str,
    mut pieces: Streaming<wire::PushPluginRequest>,
) -> Result<wire::Plugin, Status> {
    let mut content = Vec::new();
    while let Some(piece) = pieces.message().await? {
        if content.len() + piece.data.len() > PLUGIN_BYTES_MAX {
            return Err(Status::invalid_argument(format!("a plugin may have at most {} MiB", PLUGIN_BYTES_MAX >> 20)));
        }
        content.extend_from_slice(&piece.data);
    }
    let manifest = embedded_manifest(&content).map_err(|error| Status::invalid_argument(error.to_string()))?;
    if !WORLDS.contains(&manifest.world.as_str()) {
        return Err(Status::invalid_argument(format!(
            "the plugin is a {:?}, and this version runs {} plugins only",
            manifest.world,
            WORLDS.join(", ")
        )));
    }
    if Version::parse(&manifest.version).is_none() {
        return Err(Status::invalid_argument(format!("its version {:?} is not like 1.2.3", manifest.version)));
    }
    let size_bytes = content.len() as u64;
    let blobs = app.blobs.clone();
    let stored = tokio::task::spawn_blocking(move || blobs.put(&content)).await;
    let digest = stored
        .map_err(|_| Status::internal("storing the plugin was interrupted"))?
        .map_err(|error| Status::unavailable(format!("store the plugin: {error}")))?;
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
    let now = clock::wall();
    let event = NewEvent {
        at: now,
        kind: EventKind::PLUGIN,
        node: String::new(),
        subject: manifest.name.to_string(),
        message: format!("{} pushed by {operator}", manifest.version),
    };
    let pushed = Pushed { artifact: Artifact { manifest, digest, size_bytes }, at: now, by: operator.to_owned() };
    let txn = Txn::new().expect_absent(key.as_str()).put(key.as_str(), pushed.encode());
    let revision = app.store.commit(app.journal.record(txn, now, &[event])).await.map_err(store_status)?;
    app.mirror.reach(revision).await;
    Ok(to_wire(app, &pushed, true))
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
    let grants = chosen.filter(|_| current).map_or_else(|| manifest.grants.clone(), |chosen| chosen.grants);
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
    }
}

pub fn list(app: &App) -> wire::ListPluginsResponse {
    let world = app.mirror.now();
    let plugins = world.artifacts.values().map(|pushed| to_wire(app, pushed, false)).collect();
    wire::ListPluginsResponse { plugins, wall_ms: clock::wall().as_millis() }
}
