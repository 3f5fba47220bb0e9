//! The system of a component that asks for WASI 0.2: a second component that
//! gives just what the first one asks for, and both of them in one.
//!
//! What is answered is in system.wat. Here is what varies: which functions are
//! asked for, and in which version.

use super::interface::{Interface, system_world};
use anyhow::{Context, Result, anyhow, bail};
use std::fmt::Write as _;
use wasm_compose::graph::{Component, CompositionGraph, EncodeOptions};
use wasmparser::Validator;
use wit_component::{ComponentEncoder, DecodedWasm, StringEncoding, embed_component_metadata};
use wit_parser::abi::{AbiVariant, WasmSignature, WasmType};
use wit_parser::{Function, Int, Resolve, SizeAlign, Type, TypeDefKind, WorldId, WorldItem};

static ANSWERS: &str = include_str!("system.wat");
/// What is said where no answer is written down, if it is among what can be said.
const REFUSALS: [&str; 4] = ["not-permitted", "access-denied", "not-supported", "closed"];
/// The resources that system.wat makes.
const RESOURCES: [&str; 4] = [
    "wasi:io/poll#pollable",
    "wasi:io/streams#input-stream",
    "wasi:io/streams#output-stream",
    "wasi:sockets/network#network",
];
const PAGE: usize = 65536;

/// The component with its system in it, so that it asks for hostler:host alone.
pub fn within(component: Vec<u8>, interface: &Interface) -> Result<Vec<u8>> {
    let decoded = wit_component::decode(&component).map_err(|error| anyhow!("read the component: {error:#}"))?;
    let DecodedWasm::Component(asking, asking_world) = decoded else { bail!("what was built is no component") };
    let (resolve, world) = system_world(interface, asking, asking_world)?;
    let text = module(&resolve, world)?;
    let mut core = wat::parse_str(&text).context("assemble the system's answers")?;
    embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8).context("describe the system")?;
    let mut encoder = ComponentEncoder::default().validate(true).module(&core).context("add the system")?;
    let system = encoder.encode().context("make a component of the system")?;
    compose(&component, &system)
}

fn compose(plugin: &[u8], system: &[u8]) -> Result<Vec<u8>> {
    let mut graph = CompositionGraph::new();
    // One for both, or their resources are not told apart.
    let mut validator = Validator::new();
    let plugin = Component::from_bytes(&mut validator, "plugin", plugin).context("read the plugin")?;
    let system = Component::from_bytes(&mut validator, "system", system).context("read the system")?;
    let arguments: Vec<_> =
        plugin.imports().filter_map(|(import, name, _)| Some((import, system.export_by_name(name)?.0))).collect();
    let plugin = graph.add_component(plugin).context("add the plugin")?;
    let system = graph.add_component(system).context("add the system")?;
    let system = graph.instantiate(system).context("start the system")?;
    let plugin = graph.instantiate(plugin).context("start the plugin")?;
    for (import, export) in arguments {
        graph.connect(system, Some(export), plugin, import).context("give the plugin its system")?;
    }
    let options = EncodeOptions { define_components: true, export: Some(plugin), validate: false };
    graph.encode(options).context("put the plugin and its system together")
}

/// The text of the system's module.
fn module(resolve: &Resolve, world: WorldId) -> Result<String> {
    let mut sizes = SizeAlign::default();
    sizes.fill(resolve);
    let world = resolve.worlds.get(world).context("the system has no world")?;
    let (mut imports, mut functions, mut words) = (String::new(), String::new(), String::new());
    let mut made = Vec::new();
    for (key, item) in &world.exports {
        let WorldItem::Interface { id, .. } = item else { continue };
        let interface = resolve.interfaces.get(*id).context("an interface is not there")?;
        let full = resolve.name_world_key(key);
        let short = full.split('@').next().unwrap_or_default();
        for (name, id) in &interface.types {
            if resolve.types.get(*id).is_some_and(|found| found.kind == TypeDefKind::Resource) {
                let id = format!("{short}#{name}");
                writeln!(
                    imports,
                    "(import \"[export]{full}\" \"[resource-new]{name}\" (func $\"new {id}\" (param i32) (result i32)))"
                )?;
                made.push(id);
            }
        }
        for function in interface.functions.values() {
            let id = format!("{short}#{}", function.name);
            let export = format!("(export \"{full}#{}\"", function.name);
            if ANSWERS.contains(&format!("(func $\"{id}\"")) {
                writeln!(functions, "{export} (func $\"{id}\"))")?;
                continue;
            }
            let signature = resolve.wasm_signature(AbiVariant::GuestExport, function);
            let body = match refusal(resolve, &sizes, function, &signature) {
                Some((offset, case)) => format!("(call $error (i32.const {offset}) (i32.const {case}))"),
                None => {
                    let start = words.len();
                    write!(words, "the plugin asked for {id}, which there is not within a plugin")?;
                    let (start, length) = (PAGE + start, words.len() - start);
                    format!("(call $end (i32.const {start}) (i32.const {length})) (unreachable)")
                }
            };
            writeln!(functions, "(func {export}){} {body})", types(&signature))?;
        }
    }
    for id in RESOURCES.iter().filter(|id| !made.iter().any(|made| made == *id)) {
        writeln!(functions, "(func $\"new {id}\" (param i32) (result i32) (unreachable))")?;
    }
    let heap = PAGE + words.len().next_multiple_of(16);
    Ok(format!(
        "(module\n{imports}{ANSWERS}\n(memory (export \"memory\") {})\n(global $heap_start i32 (i32.const {heap}))\n\
         (data (i32.const {PAGE}) {words:?})\n{functions})\n",
        heap / PAGE + 2,
    ))
}

fn types(signature: &WasmSignature) -> String {
    let list = |word: &str, types: &[WasmType]| {
        let names = types.iter().map(|wasm| match wasm {
            WasmType::I64 | WasmType::PointerOrI64 => " i64",
            WasmType::F32 => " f32",
            WasmType::F64 => " f64",
            WasmType::I32 | WasmType::Pointer | WasmType::Length => " i32",
        });
        if types.is_empty() { String::new() } else { format!(" ({word}{})", names.collect::<String>()) }
    };
    format!("{}{}", list("param", &signature.params), list("result", &signature.results))
}

/// Where an error's case stands behind the result's own, and which one it is.
fn refusal(
    resolve: &Resolve,
    sizes: &SizeAlign,
    function: &Function,
    signature: &WasmSignature,
) -> Option<(usize, usize)> {
    let TypeDefKind::Result(result) = kind(resolve, function.result.as_ref()?)? else { return None };
    let cases: Vec<&str> = match kind(resolve, result.err.as_ref()?)? {
        TypeDefKind::Enum(error) => error.cases.iter().map(|case| case.name.as_str()).collect(),
        TypeDefKind::Variant(error) => {
            // One with more to say is none that can be said.
            error.cases.iter().map(|case| if case.ty.is_none() { case.name.as_str() } else { "" }).collect()
        }
        _ => return None,
    };
    let case = REFUSALS.iter().find_map(|refusal| cases.iter().position(|case| case == refusal))?;
    let offset = sizes.payload_offset(Int::U8, [result.ok.as_ref(), result.err.as_ref()]).size_wasm32();
    signature.retptr.then_some((offset, case))
}

/// What a type is in the end.
fn kind<'a>(resolve: &'a Resolve, of: &Type) -> Option<&'a TypeDefKind> {
    let Type::Id(id) = of else { return None };
    match &resolve.types.get(*id)?.kind {
        TypeDefKind::Type(of) => kind(resolve, of),
        kind => Some(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::Surface;

    /// What system.wat does not know, and not all of what it knows.
    #[test]
    fn just_what_is_asked_for_is_answered() {
        let interface = Interface::read("check").expect("the interface");
        for component in [
            r#"(component (import "wasi:random/random@0.2.0" (instance (export "get-random-u64" (func (result u64))))))"#,
            r#"(component (import "wasi:cli/strange@0.3.7" (instance (export "ask" (func (param "a" string) (result f64))))))"#,
            r#"(component (import "wasi:io/poll@0.2.99" (instance (export "pollable" (type (sub resource))))))"#,
            r#"(component (import "wasi:strange/errors@0.2.1" (instance
                (type $code (enum "odd" "access-denied")) (export "code" (type $error (eq $code)))
                (export "ask" (func (result (result u64 (error $error))))))))"#,
        ] {
            let built = within(wat::parse_str(component).expect(component), &interface).expect(component);
            Validator::new().validate_all(&built).expect(component);
            let imports = Surface::of(&built).expect(component).imports;
            assert!(imports.iter().all(|name| name.starts_with("hostler:host/")), "{component}: {imports:?}");
        }
    }

    #[test]
    fn every_answer_is_to_something() {
        for name in RESOURCES {
            assert!(ANSWERS.contains(&format!("(call $\"new {name}\"")), "{name}");
        }
    }
}
