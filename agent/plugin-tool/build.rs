//! Assembles the adapter of C and Go, and lists what `hostler-plugin new` and
//! `build` write out: templates, interface, SDK.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let root = here.join("../..").canonicalize()?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);

    let adapter = here.join("src/build/adapter.wat");
    println!("cargo::rerun-if-changed={}", adapter.display());
    std::fs::write(out.join("adapter.wasm"), wat::parse_file(&adapter)?)?;

    let mut code = String::new();
    list(&mut code, "TEMPLATES", &root.join("plugins/templates"))?;
    list(&mut code, "INTERFACE", &root.join("wit/1.0"))?;
    list(&mut code, "SDK", &root.join("plugins/sdk"))?;
    let lock = root.join("plugins/Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    writeln!(code, "pub static SDK_LOCK: &str = include_str!({:?});", lock.display().to_string())?;
    std::fs::write(out.join("embedded.rs"), code)?;
    Ok(())
}

/// A table of every file below the folder: its path from there, and its text.
fn list(code: &mut String, name: &str, folder: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    writeln!(code, "pub static {name}: [(&str, &str); {}] = [", files.len())?;
    for file in files {
        let path = file.strip_prefix(folder)?.to_str().ok_or("a file's name is not UTF-8")?;
        writeln!(code, "    ({path:?}, include_str!({:?})),", file.display().to_string())?;
    }
    writeln!(code, "];")?;
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in std::fs::read_dir(folder).map_err(|error| format!("list {}: {error}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() {
            // What building a template in its place leaves there.
            if !["target", "build", "node_modules", "__pycache__"].iter().any(|built| name == *built) {
                collect(&path, files)?;
            }
        } else if name != "Cargo.lock" {
            files.push(path);
        }
    }
    Ok(())
}
