//! Whether a component is what its manifest says, by its types alone: nothing of
//! it is run or compiled here. What passes, every agent of this version can
//! load.

use wit_component::DecodedWasm;
use wit_parser::{Resolve, WorldId, WorldItem, WorldKey};

const HOST: &str = include_str!("../../wit/1.0/deps/host/host.wit");
const PLUGIN: &str = include_str!("../../wit/1.0/plugin.wit");

/// As agents speak it.
const VERSION: &str = "@1.";

/// What is wrong with it, and what to do.
pub fn check(component: &[u8], world: &str) -> Result<(), String> {
    let (resolve, found) = match wit_component::decode(component) {
        Ok(DecodedWasm::Component(resolve, world)) => (resolve, world),
        Ok(DecodedWasm::WitPackage(..)) => return Err("this is an interface's description, not a plugin".to_owned()),
        Err(error) => return Err(format!("the component can't be read: {error:#}")),
    };
    let (imports, exports) = (names(&resolve, found, true), names(&resolve, found, false));
    if let Some(wasi) = imports.iter().find(|name| name.starts_with("wasi:")) {
        return Err(format!(
            "the plugin imports {wasi}, and there is no WASI on a host: build it with `hostlerctl plugin build`, which answers it within the plugin"
        ));
    }
    for name in imports.iter().chain(&exports) {
        if name.starts_with("hostler:") && !name.contains(VERSION) {
            return Err(format!(
                "the plugin was built for {name}, and agents here speak 1.0: build it again with hostlerctl plugin build"
            ));
        }
    }
    if let Some(unknown) = imports.iter().find(|name| !name.starts_with("hostler:host/")) {
        return Err(format!("the plugin imports {unknown}, which no agent offers"));
    }
    let wanted = format!("hostler:plugin/{world}-api{VERSION}");
    if !exports.iter().any(|name| name.starts_with(&wanted)) {
        let has = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
        return Err(format!(
            "its manifest says world = {world:?}, which exports hostler:plugin/{world}-api, and it exports {has}"
        ));
    }
    let (ours, id) = interface(world)?;
    wit_component::targets(&ours, id, component).map_err(|error| {
        format!("its types are not those of the interface: {error:#}; build it against wit/1.0 as it is")
    })
}

fn names(resolve: &Resolve, world: WorldId, imports: bool) -> Vec<String> {
    let Some(world) = resolve.worlds.get(world) else { return Vec::new() };
    let items = if imports { &world.imports } else { &world.exports };
    let name = |(key, item): (&WorldKey, &WorldItem)| match (key, item) {
        (WorldKey::Name(name), _) => name.clone(),
        (WorldKey::Interface(id), _) => resolve.id_of(*id).unwrap_or_default(),
    };
    items.iter().map(name).collect()
}

/// The interface's own world.
fn interface(world: &str) -> Result<(Resolve, WorldId), String> {
    let words = |error: anyhow::Error| format!("read the interface: {error:#}");
    let mut resolve = Resolve::default();
    resolve.push_str("host.wit", HOST).map_err(words)?;
    let plugin = resolve.push_str("plugin.wit", PLUGIN).map_err(words)?;
    let id = resolve.select_world(&[plugin], Some(world)).map_err(words)?;
    Ok((resolve, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plugin_is_told_so() {
        for (bytes, says) in
            [(&b"\0asm\x0d\0\x01\0"[..], "exports nothing"), (&b"\0asm\x0d\0\x01\0\x07\x09"[..], "can't be read")]
        {
            let error = check(bytes, "check").expect_err(says);
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn every_world_of_the_manifest_is_one_of_the_interface() {
        for world in hostler_types::plugin::WORLDS {
            interface(world).expect(world);
        }
    }
}
