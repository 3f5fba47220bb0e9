//! Guests that wasm-smith makes up: any valid code behind a world's exports.

use crate::interface::{World, signature};
use crate::mutate::{number, sections};
use crate::random::Rng;
use arbitrary::Unstructured;
use wasm_smith::{Config, Module};

/// What one is made of; a module takes what it needs of it.
const MATERIAL_BYTES: usize = 8 << 10;

pub fn core(world: &World, rng: &mut Rng) -> Result<Vec<u8>, String> {
    let pages = *rng.pick(&[1, 2, 17, 1024]);
    let mut exports = format!(
        "(module (memory (export \"memory\") {pages})\n(func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) unreachable)\n"
    );
    for function in &world.exports {
        exports += &format!("(func (export {:?}) {} unreachable)\n", function.name, signature(function));
    }
    let mut imports = "(module\n".to_owned();
    for function in &world.imports {
        // Few each, so that they are called.
        if rng.chance(12) {
            imports += &format!("(import {:?} {:?} (func {}))\n", function.module, function.name, signature(function));
        }
    }
    let module = |text: String| wat::parse_str(text + ")").map_err(|error| error.to_string());
    let config = Config {
        exports: Some(module(exports)?),
        available_imports: Some(module(imports)?),
        allow_start_export: rng.chance(10),
        disallow_traps: rng.chance(50),
        simd_enabled: rng.chance(50),
        tail_call_enabled: rng.chance(20),
        reference_types_enabled: rng.chance(5),
        max_instructions: *rng.pick(&[5, 20, 100, 1000]),
        max_funcs: 40,
        max_types: 100,
        // One more than the one above.
        max_memories: 0,
        max_tables: *rng.pick(&[1, 1, 1, 4]),
        max_table_elements: *rng.pick(&[10, 10_000, 1_000_000]),
        max_type_size: 10_000,
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        relaxed_simd_enabled: false,
        threads_enabled: false,
        ..Config::default()
    };
    let mut material = Vec::new();
    while material.len() < MATERIAL_BYTES {
        material.extend(rng.next().to_le_bytes());
    }
    let mut module = Module::new(config, &mut Unstructured::new(&material)).map_err(|error| error.to_string())?;
    if rng.chance(97) {
        module.ensure_termination(*rng.pick(&[100, 1000, 100_000])).map_err(|error| error.to_string())?;
    }
    let core = module.to_bytes();
    // Left to chance, hardly any gets as far as its call.
    let sound = rng.chance(80).then(|| soundly_begun(&core)).flatten();
    Ok(sound.unwrap_or(core))
}

/// The same with a realloc that always gives the same sound place, and a
/// configure that points where there is mostly nothing, which is consent.
fn soundly_begun(core: &[u8]) -> Option<Vec<u8>> {
    /// No locals; 1024; its end. And 8192.
    const BODIES: [(&str, &[u8]); 2] =
        [("cabi_realloc", &[0, 0x41, 0x80, 0x08, 0x0b]), ("#configure", &[0, 0x41, 0x80, 0xc0, 0x00, 0x0b])];
    let mut imported = 0;
    let mut sound = Vec::new();
    let mut out = core.get(..8)?.to_vec();
    for section in sections(core)? {
        let (_, head) = number(&section[1..])?;
        let content = &section[1 + head..];
        let (count, mut at) = number(content)?;
        match section[0] {
            // All imports are functions: two names, a zero, a type.
            2 => imported = count,
            7 => {
                for _ in 0..count {
                    let (length, taken) = number(&content[at..])?;
                    let name = content.get(at + taken..at + taken + length)?;
                    at += taken + length;
                    let kind = *content.get(at)?;
                    let (index, taken) = number(&content[at + 1..])?;
                    at += 1 + taken;
                    let body = BODIES.iter().find(|(end, _)| name.ends_with(end.as_bytes()));
                    if let Some((_, body)) = body.filter(|_| kind == 0 && !name.starts_with(b"cabi_post")) {
                        sound.push((index, *body));
                    }
                }
            }
            10 => {
                let mut code = content[..at].to_vec();
                for function in imported..imported + count {
                    let (length, taken) = number(&content[at..])?;
                    let body = content.get(at + taken..at + taken + length)?;
                    at += taken + length;
                    let body = sound.iter().find(|(index, _)| *index == function).map_or(body, |(_, body)| body);
                    code.extend(written(body.len()));
                    code.extend(body);
                }
                out.push(10);
                out.extend(written(code.len()));
                out.extend(code);
                continue;
            }
            _ => {}
        }
        out.extend(section);
    }
    Some(out)
}

fn written(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
