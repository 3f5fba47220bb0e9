//! A world of the interface 1.0 as a core module meets it, and core modules as
//! components of it.

use crate::root;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::abi::{AbiVariant, WasmType};
use wit_parser::{
    Function, LiftLowerAbi, ManglingAndAbi, Resolve, ResourceIntrinsic, TypeDefKind, WasmExport, WasmExportKind,
    WasmImport, WorldId, WorldItem, WorldKey,
};

pub const WORLDS: [&str; 4] = ["check", "collector", "notifier", "action"];
const NAMES: ManglingAndAbi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);

/// A function that a guest imports or exports.
pub struct CoreFunction {
    /// Of an export: empty.
    pub module: String,
    pub name: String,
    pub params: Vec<WasmType>,
    pub results: Vec<WasmType>,
    /// Whether the last parameter is where the host puts its answer.
    pub answers_in_memory: bool,
}

pub struct World {
    pub word: &'static str,
    resolve: Resolve,
    world: WorldId,
    pub imports: Vec<CoreFunction>,
    /// The interface's own and what is called after each, no memory, no realloc.
    pub exports: Vec<CoreFunction>,
}

impl World {
    pub fn read(word: &'static str) -> World {
        let mut resolve = Resolve::default();
        let mut package = None;
        for name in ["deps/host/host.wit", "plugin.wit"] {
            let text = std::fs::read_to_string(root().join("wit/1.0").join(name)).expect(name);
            package = Some(resolve.push_source(name, &text).expect(name));
        }
        let world = resolve.select_world(&[package.expect("a package")], Some(word)).expect(word);
        let mut imports = Vec::new();
        for (key, item) in &resolve.worlds[world].imports {
            let WorldItem::Interface { id, .. } = item else { continue };
            let interface = &resolve.interfaces[*id];
            imports.extend(interface.functions.values().map(|func| import(&resolve, key, func)));
            for resource in interface.types.values() {
                if matches!(resolve.types[*resource].kind, TypeDefKind::Resource) {
                    let intrinsic = ResourceIntrinsic::ImportedDrop;
                    let which = WasmImport::ResourceIntrinsic { interface: Some(key), resource: *resource, intrinsic };
                    let (module, name) = resolve.wasm_import_name(NAMES, which);
                    let (params, results) = (vec![WasmType::I32], Vec::new());
                    imports.push(CoreFunction { module, name, params, results, answers_in_memory: false });
                }
            }
        }
        let mut exports = Vec::new();
        for (key, item) in &resolve.worlds[world].exports {
            let WorldItem::Interface { id, .. } = item else { continue };
            for func in resolve.interfaces[*id].functions.values() {
                exports.extend(export(&resolve, key, func));
            }
        }
        World { word, resolve, world, imports, exports }
    }

    /// As the build makes one of what a linker left.
    pub fn component(&self, mut core: Vec<u8>) -> Result<Vec<u8>, String> {
        let words = |error: &dyn std::fmt::Display| format!("{error:#}");
        embed_component_metadata(&mut core, &self.resolve, self.world, StringEncoding::UTF8)
            .map_err(|error| words(&error))?;
        let encoder = ComponentEncoder::default().validate(true).module(&core);
        let component = encoder.and_then(|mut encoder| encoder.encode()).map_err(|error| words(&error))?;
        let manifest =
            format!("name = \"fuzz\"\nversion = \"0.1.0\"\nworld = \"{}\"\nsummary = \"a test\"\n", self.word);
        hostler_types::plugin::embed_manifest(&component, &manifest).map_err(|error| words(&error))
    }
}

fn import(resolve: &Resolve, key: &WorldKey, func: &Function) -> CoreFunction {
    let signature = resolve.wasm_signature(AbiVariant::GuestImport, func);
    let (module, name) = resolve.wasm_import_name(NAMES, WasmImport::Func { interface: Some(key), func });
    let answers_in_memory = signature.retptr;
    CoreFunction { module, name, params: signature.params, results: signature.results, answers_in_memory }
}

fn export(resolve: &Resolve, key: &WorldKey, func: &Function) -> [CoreFunction; 2] {
    let signature = resolve.wasm_signature(AbiVariant::GuestExport, func);
    let name = |kind| resolve.wasm_export_name(NAMES, WasmExport::Func { interface: Some(key), func, kind });
    let one = |kind, params, results| CoreFunction {
        module: String::new(),
        name: name(kind),
        params,
        results,
        answers_in_memory: false,
    };
    [
        one(WasmExportKind::Normal, signature.params, signature.results.clone()),
        one(WasmExportKind::PostReturn, signature.results, Vec::new()),
    ]
}

/// As the text format has it.
pub fn word(kind: &WasmType) -> &'static str {
    match kind {
        WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32",
        WasmType::I64 | WasmType::PointerOrI64 => "i64",
        WasmType::F32 => "f32",
        WasmType::F64 => "f64",
    }
}

/// `(param i32 i32) (result i32)`
pub fn signature(function: &CoreFunction) -> String {
    let list = |what: &str, kinds: &[WasmType]| match kinds {
        [] => String::new(),
        kinds => format!(" ({what} {})", kinds.iter().map(word).collect::<Vec<_>>().join(" ")),
    };
    list("param", &function.params) + &list("result", &function.results)
}
