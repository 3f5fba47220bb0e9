//! The interface 1.0, which is part of this program.

use crate::embedded;
use anyhow::{Context, Result};
use std::path::Path;
use wit_parser::{Resolve, WorldId, WorldItem};

pub const VERSION: &str = "1.0.0";
/// What the plugin's package refers to comes first.
const FILES: [&str; 2] = ["deps/host/host.wit", "plugin.wit"];

#[derive(Clone)]
pub struct Interface {
    pub resolve: Resolve,
    pub world: WorldId,
    pub world_name: String,
}

impl Interface {
    /// With one of its worlds chosen.
    pub fn read(world: &str) -> Result<Interface> {
        let mut resolve = Resolve::default();
        let mut package = None;
        for name in FILES {
            let (path, text) = embedded::INTERFACE
                .iter()
                .find(|(path, _)| *path == name)
                .with_context(|| format!("this program was built without wit/1.0/{name}"))?;
            package = Some(resolve.push_source(path, text).with_context(|| format!("read {name}"))?);
        }
        let package = package.context("this program was built without its interface")?;
        let world_id = resolve
            .select_world(&[package], Some(world))
            .with_context(|| format!("find world {world:?} in hostler:plugin@{VERSION}"))?;
        Ok(Interface { resolve, world: world_id, world_name: world.to_owned() })
    }

    /// As files, for the tools that read them.
    pub fn write(&self, folder: &Path) -> Result<()> {
        for (path, text) in embedded::INTERFACE {
            let path = folder.join(path);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
            }
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }

    /// The names of what the world imports: `hostler:host/system@1.0.0`.
    pub fn imports(&self) -> Vec<String> {
        let Some(world) = self.resolve.worlds.get(self.world) else { return Vec::new() };
        world.imports.keys().map(|key| self.resolve.name_world_key(key)).collect()
    }

    /// The names of what the world exports: `hostler:plugin/check-api@1.0.0`.
    pub fn exports(&self) -> Vec<String> {
        let Some(world) = self.resolve.worlds.get(self.world) else { return Vec::new() };
        world.exports.keys().map(|key| self.resolve.name_world_key(key)).collect()
    }
}

/// What the adapter asks the host for.
pub fn adapter_world(interface: &Interface) -> Result<(Resolve, WorldId)> {
    let mut resolve = interface.resolve.clone();
    let text = format!(
        "package hostler:adapter; world adapter {{ import hostler:host/clock@{VERSION}; \
         import hostler:host/random@{VERSION}; }}"
    );
    let package = resolve.push_source("adapter.wit", &text).context("describe the adapter")?;
    let world = resolve.select_world(&[package], Some("adapter")).context("describe the adapter")?;
    Ok((resolve, world))
}

/// What a component asks WASI for, as what its system gives.
pub fn system_world(interface: &Interface, asking: Resolve, asking_world: WorldId) -> Result<(Resolve, WorldId)> {
    let mut resolve = interface.resolve.clone();
    let text = format!(
        "package hostler:system; world system {{ import hostler:host/log@{VERSION}; \
         import hostler:host/clock@{VERSION}; import hostler:host/random@{VERSION}; }}"
    );
    let package = resolve.push_source("system.wit", &text).context("describe the system")?;
    let world = resolve.select_world(&[package], Some("system")).context("describe the system")?;
    let remap = resolve.merge(asking).context("read what the component asks for")?;
    let asking_world = remap.map_world(asking_world, Default::default()).context("find what the component asks for")?;
    let asked: Vec<_> = resolve
        .worlds
        .get(asking_world)
        .map_or_else(Vec::new, |world| world.imports.iter().map(|(key, item)| (key.clone(), item.clone())).collect());
    let asked: Vec<_> = asked.into_iter().filter(|(key, _)| resolve.name_world_key(key).starts_with("wasi:")).collect();
    let system = resolve.worlds.get_mut(world).context("describe the system")?;
    for (key, item) in asked {
        if let WorldItem::Interface { .. } = item {
            system.exports.insert(key, item);
        }
    }
    Ok((resolve, world))
}
