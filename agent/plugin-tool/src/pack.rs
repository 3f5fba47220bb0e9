//! Packing a component with its manifest, and reading one back.

use anyhow::{Context, Result};
use hostler_types::plugin::{Manifest, embed_manifest, embedded_manifest};
use std::io::Write;
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
    let mut grants: Vec<String> = manifest.grants.http.iter().map(|pattern| format!("http {pattern}")).collect();
    if manifest.grants.system {
        grants.push("system".to_owned());
    }
    if grants.is_empty() {
        grants.push("none".to_owned());
    }
    let lines = [
        ("name", manifest.name.to_string()),
        ("version", manifest.version),
        ("world", manifest.world),
        ("summary", manifest.summary),
        ("grants", grants.join(", ")),
        ("size", format!("{} bytes", bytes.len())),
        ("sha256", data_encoding::HEXLOWER.encode(digest.as_ref())),
    ];
    let mut out = std::io::stdout().lock();
    for (key, value) in lines {
        match writeln!(out, "{key:<8} {value}") {
            // Whoever read us has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            result => result.context("write to standard output")?,
        }
    }
    Ok(())
}
