//! Guests below any language: core modules by hand, made plugins. They are those
//! that fuzzing begins with; each says in its first line how it ends.

use hostler_types::plugin::embed_manifest;
use std::path::Path;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const HOST: &str = include_str!("../../../../../wit/1.0/deps/host/host.wit");
const PLUGIN: &str = include_str!("../../../../../wit/1.0/plugin.wit");
const GUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../agent/plugin-tool/tests/fuzz/corpus");

/// A name, the text, and the word after `;; ends:`.
pub fn guests() -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(GUESTS).expect("the guests") {
        let path = entry.expect("a guest").path();
        if path.extension().is_none_or(|extension| extension != "wat") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("reads");
        let ends = text.lines().find_map(|line| line.strip_prefix(";; ends:")).unwrap_or_else(|| panic!("{path:?}"));
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        found.push((name.to_owned(), ends.trim().to_owned(), text));
    }
    found.sort();
    found
}

/// The component that a module makes under a world of the interface; `change` is
/// what is done to the interface first.
pub fn component(text: &str, world: &str, change: impl Fn(&str) -> String) -> Vec<u8> {
    let mut core = wat::parse_str(text).expect("parses");
    let mut resolve = Resolve::default();
    resolve.push_str("host.wit", &change(HOST)).expect("the host's interface");
    let plugin = resolve.push_str("plugin.wit", &change(PLUGIN)).expect("the plugin's interface");
    let world = resolve.select_world(&[plugin], Some(world)).expect("the world");
    embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8).expect("embeds");
    let mut encoder = ComponentEncoder::default().module(&core).expect("a module of the world");
    encoder.encode().expect("encodes")
}

pub fn plugin(component: &[u8], name: &str, grants: &str) -> Vec<u8> {
    let manifest = format!("name = {name:?}\nversion = \"1.0.0\"\nworld = \"check\"\n[grants]\n{grants}\n");
    embed_manifest(component, &manifest).expect("packs")
}

pub fn built(name: &str) -> Vec<u8> {
    let path = hostler_lab::plugin(name);
    std::fs::read(Path::new(&path)).expect("reads")
}
