//! Packing a component with its manifest, and reading one back.

use crate::output::print;
use crate::sign;
use anyhow::{Context, Result};
use hostler_types::plugin::{Manifest, embed_manifest, embedded_manifest, split_signature};
use std::path::Path;

pub fn pack(component: &Path, manifest: &Path, output: &Path) -> Result<()> {
    let bytes = std::fs::read(component).with_context(|| format!("read {}", component.display()))?;
    let text = std::fs::read_to_string(manifest).with_context(|| format!("read {}", manifest.display()))?;
    Manifest::parse(&text).with_context(|| format!("{}", manifest.display()))?;
    let packed = embed_manifest(&bytes, &text).with_context(|| format!("{}", component.display()))?;
    std::fs::write(output, packed).with_context(|| format!("write {}", output.display()))
}

pub fn inspect(file: &Path) -> Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let manifest = embedded_manifest(&bytes).with_context(|| format!("{}", file.display()))?;
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
    let (_, signature) = split_signature(&bytes).with_context(|| format!("{}", file.display()))?;
    let lines = [
        ("name", manifest.name.to_string()),
        ("version", manifest.version),
        ("world", manifest.world),
        ("summary", manifest.summary),
        ("grants", manifest.grants.to_string()),
        ("size", format!("{} bytes", bytes.len())),
        ("signed", signature.map_or_else(|| "no".to_owned(), |signature| format!("by {}", sign::told(&signature)))),
        ("sha256", data_encoding::HEXLOWER.encode(digest.as_ref())),
    ];
    print(&lines.map(|(key, value)| format!("{key:<8} {value}\n")).concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
    const MANIFEST: &str = "name = \"x\"\nversion = \"1.2\"\nworld = \"check\"\n";

    fn packed(component: &[u8], manifest: &str) -> Result<Vec<u8>, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("c.wasm"), component).map_err(|error| error.to_string())?;
        std::fs::write(path("plugin.toml"), manifest).map_err(|error| error.to_string())?;
        pack(&path("c.wasm"), &path("plugin.toml"), &path("out.wasm")).map_err(|error| format!("{error:#}"))?;
        inspect(&path("out.wasm")).map_err(|error| format!("{error:#}"))?;
        std::fs::read(path("out.wasm")).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_packed_can_be_read() {
        let bytes = packed(COMPONENT, MANIFEST).expect("packs");
        assert_eq!(embedded_manifest(&bytes).expect("reads").version, "1.2");
        assert_eq!(packed(&bytes, MANIFEST).expect("packs again"), bytes);
    }

    #[test]
    fn wrong_input_is_named() {
        for (component, manifest, says) in [
            (b"MZ".as_slice(), MANIFEST, "c.wasm: this is not WebAssembly"),
            (b"\0asm\x01\0\0\0", MANIFEST, "c.wasm: this is a core module"),
            (COMPONENT, "name = 1", "plugin.toml: "),
        ] {
            let error = packed(component, manifest).expect_err(says);
            assert!(error.contains(says), "{error}");
        }
    }
}
