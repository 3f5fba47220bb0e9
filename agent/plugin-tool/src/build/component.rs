//! Core modules to components, and what a component must be to be a plugin.

use super::interface::{Interface, VERSION, adapter_world};
use super::language::Language;
use anyhow::{Context, Result, anyhow, bail};
use wit_component::{ComponentEncoder, DecodedWasm, StringEncoding, embed_component_metadata};
use wit_parser::WorldKey;

/// What the system's calls are answered by; see adapter.wat.
static ADAPTER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/adapter.wasm"));
/// The module that C and Go import it from.
const ADAPTER_NAME: &str = "wasi_snapshot_preview1";

/// What the linker left, with its types, made a component.
pub fn from_core(mut core: Vec<u8>, interface: &Interface) -> Result<Vec<u8>> {
    embed_component_metadata(&mut core, &interface.resolve, interface.world, StringEncoding::UTF8)
        .context("put the interface into the compiled module")?;
    let (resolve, world) = adapter_world(interface)?;
    let mut adapter = ADAPTER.to_vec();
    embed_component_metadata(&mut adapter, &resolve, world, StringEncoding::UTF8).context("describe the adapter")?;
    let mut encoder = ComponentEncoder::default()
        .validate(true)
        .module(&core)
        .map_err(|error| anyhow!("the compiled module is not one for plugins: {error:#}"))?
        .adapter(ADAPTER_NAME, &adapter)
        .context("add the adapter")?;
    encoder.encode().map_err(|error| anyhow!("the compiled module does not fit the interface: {error:#}"))
}

/// The interfaces that a component asks for and gives, by name.
pub struct Surface {
    pub imports: Vec<String>,
    pub exports: Vec<String>,
}

impl Surface {
    pub fn of(bytes: &[u8]) -> Result<Surface> {
        let decoded =
            wit_component::decode(bytes).map_err(|error| anyhow!("what was built is no component: {error:#}"))?;
        let DecodedWasm::Component(resolve, world) = decoded else {
            bail!("what was built is a package of interfaces and no component");
        };
        let world = resolve.worlds.get(world).context("what was built says nothing about its imports")?;
        let name = |key: &WorldKey| resolve.name_world_key(key);
        let (imports, exports) = (world.imports.keys().map(name), world.exports.keys().map(name));
        Ok(Surface { imports: imports.collect(), exports: exports.collect() })
    }

    pub fn wasi(&self) -> Vec<String> {
        self.imports.iter().filter(|name| name.starts_with("wasi:")).cloned().collect()
    }
}

/// Refuses what no agent would load, while the author is still there.
pub fn check(bytes: &[u8], interface: &Interface, language: Language) -> Result<()> {
    let surface = Surface::of(bytes)?;
    let wasi = surface.wasi();
    if !wasi.is_empty() {
        bail!("what was built still asks for {}, which no host gives: {}", wasi.join(", "), wasi_advice(language));
    }
    let known = interface.imports();
    let unknown: Vec<String> = surface.imports.into_iter().filter(|name| !known.contains(name)).collect();
    if !unknown.is_empty() {
        bail!(
            "what was built asks for {}, which {VERSION} of the interface does not have: leave it out",
            unknown.join(", ")
        );
    }
    let missing: Vec<String> =
        interface.exports().into_iter().filter(|wanted| !surface.exports.contains(wanted)).collect();
    if !missing.is_empty() {
        bail!(
            "what was built does not provide {}, which world {} of plugin.toml has: see the template's README",
            missing.join(", "),
            interface.world_name
        );
    }
    Ok(())
}

pub fn wasi_advice(language: Language) -> &'static str {
    match language {
        Language::Rust => {
            "build for wasm32-unknown-unknown, and use the SDK's Host for time, randomness, files and the network"
        }
        Language::C | Language::Go => "use hostler:host for time, randomness, files and the network",
        Language::Javascript | Language::Python => {
            "it should have been answered within the plugin: try another release of the compiler"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(component: &str) -> String {
        let interface = Interface::read("check").expect("the interface");
        let bytes = wat::parse_str(component).expect("a component");
        check(&bytes, &interface, Language::Rust).expect_err(component).to_string()
    }

    #[test]
    fn what_no_agent_would_load_is_refused() {
        for (component, says) in [
            (
                r#"(component (import "wasi:cli/environment@0.2.6" (instance (export "get" (func)))))"#,
                "still asks for wasi:cli/environment@0.2.6, which no host gives: build for wasm32-unknown-unknown",
            ),
            (r#"(component (import "my:own/thing" (instance (export "get" (func)))))"#, "asks for my:own/thing"),
            (
                r#"(component (import "hostler:host/strange@1.0.0" (instance (export "get" (func)))))"#,
                "asks for hostler:host/strange@1.0.0, which 1.0.0 of the interface does not have",
            ),
            ("(component)", "does not provide hostler:plugin/check-api@1.0.0, hostler:plugin/lifecycle@1.0.0"),
        ] {
            let said = refusal(component);
            assert!(said.contains(says), "{component}: {said}");
        }
    }

    #[test]
    fn a_module_without_its_exports_is_refused() {
        let interface = Interface::read("check").expect("the interface");
        let core = wat::parse_str("(module (memory (export \"memory\") 1))").expect("a module");
        let said = from_core(core, &interface).expect_err("nothing in it").to_string();
        assert!(said.contains("does not fit the interface") && said.contains("`run`"), "{said}");
    }

    #[test]
    fn the_adapter_answers_all_of_preview_1() {
        let interface = Interface::read("check").expect("the interface");
        let (resolve, world) = adapter_world(&interface).expect("its world");
        let imports: Vec<String> =
            resolve.worlds[world].imports.keys().map(|key| resolve.name_world_key(key)).collect();
        assert!(imports.iter().all(|name| name.starts_with("hostler:host/")), "{imports:?}");
        // What is in the standard, by how many calls of it begin so.
        let text = include_str!("adapter.wat");
        for (prefix, count) in [
            ("args_", 2),
            ("environ_", 2),
            ("clock_", 2),
            ("fd_", 21),
            ("path_", 10),
            ("sock_", 4),
            ("proc_", 2),
            ("poll_oneoff", 1),
            ("random_get", 1),
            ("sched_yield", 1),
        ] {
            assert_eq!(text.matches(&format!("(export \"{prefix}")).count(), count, "{prefix}");
        }
    }
}
