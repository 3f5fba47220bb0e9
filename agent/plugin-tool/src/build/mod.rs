//! `hostler-plugin build`: an author's folder to a plugin that can be pushed.
//!
//! The author brings a compiler for their language and nothing else: the
//! interface, the packaging and the place of the system that C and Go expect
//! are in here.

mod c;
mod component;
mod go;
mod interface;
mod javascript;
mod language;
mod program;
mod python;
mod rust;
mod system;

pub use component::{Surface, check, wasi_advice};
pub use interface::Interface;
pub use language::Language;

use crate::called_as::called_as;
use crate::output::{print, write_whole};
use anyhow::{Context, Result, bail};
use hostler_types::plugin::{Manifest, embed_manifest};
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(clap::Args)]
pub struct Arguments {
    /// The plugin's folder, with its plugin.toml
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Where to write the plugin [default: FOLDER/NAME.wasm]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What each language's build is given.
struct Job {
    folder: PathBuf,
    /// `build/` in the folder: what can be made again.
    scratch: PathBuf,
    /// The interface as files, for tools and for whoever looks something up.
    wit: PathBuf,
    manifest: Manifest,
    interface: Interface,
}

/// What a language's build leaves.
enum Built {
    /// Still to be made a component, with the adapter.
    Core(Vec<u8>),
    Component(Vec<u8>),
    /// A component that asks for WASI, to be given a system.
    Asking(Vec<u8>),
}

pub fn build(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let folder = arguments.folder.canonicalize().with_context(|| format!("find {}", arguments.folder.display()))?;
    let manifest_path = folder.join("plugin.toml");
    let text = match std::fs::read_to_string(&manifest_path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "{} has no plugin.toml: give the folder of a plugin, or begin one with `{} new`",
            arguments.folder.display(),
            called_as()
        ),
        result => result.with_context(|| format!("read {}", manifest_path.display()))?,
    };
    let manifest = Manifest::parse(&text).with_context(|| format!("{}", manifest_path.display()))?;
    let language = Language::find(&folder)?;
    let scratch = folder.join("build");
    std::fs::create_dir_all(&scratch).with_context(|| format!("create {}", scratch.display()))?;
    let interface = Interface::read(&manifest.world)?;
    let wit = scratch.join("wit");
    interface.write(&wit)?;
    let job = Job { folder, scratch, wit, manifest, interface };

    let built = match language {
        Language::C => c::build(&job),
        Language::Go => go::build(&job),
        Language::Javascript => javascript::build(&job),
        Language::Python => python::build(&job),
        Language::Rust => rust::build(&job),
    }?;
    let bytes = match built {
        Built::Core(core) => component::from_core(core, &job.interface)?,
        Built::Component(component) => component,
        Built::Asking(component) => system::within(component, &job.interface)?,
    };
    check(&bytes, &job.interface, language)?;
    let packed = embed_manifest(&bytes, &text).with_context(|| format!("{}", manifest_path.display()))?;

    let output = match &arguments.output {
        Some(output) => output.clone(),
        None => arguments.folder.join(format!("{}.wasm", job.manifest.name)),
    };
    write_whole(&output, &packed)?;
    report(&job.manifest, &packed, &output, start)
}

fn report(manifest: &Manifest, packed: &[u8], output: &Path, start: Instant) -> Result<()> {
    let digest = ring::digest::digest(&ring::digest::SHA256, packed);
    let line = format!(
        "{} {}  {}  sha256:{}  {:.1} s  {}",
        manifest.name,
        manifest.version,
        size(packed.len()),
        data_encoding::HEXLOWER.encode(digest.as_ref()),
        start.elapsed().as_secs_f64(),
        output.display()
    );
    print(&format!("{line}\n"))
}

fn size(bytes: usize) -> String {
    let kib = bytes as f64 / 1024.0;
    if kib < 1024.0 { format!("{kib:.0} KiB") } else { format!("{:.1} MiB", kib / 1024.0) }
}
