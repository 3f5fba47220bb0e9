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

pub use language::Language;

use anyhow::{Context, Result, bail, ensure};
use hostler_types::plugin::{Manifest, embed_manifest};
use interface::Interface;
use std::io::Write;
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
}

pub fn build(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let folder = arguments.folder.canonicalize().with_context(|| format!("find {}", arguments.folder.display()))?;
    let manifest_path = folder.join("plugin.toml");
    let text = match std::fs::read_to_string(&manifest_path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "{} has no plugin.toml: give the folder of a plugin, or begin one with `hostlerctl plugin new`",
            arguments.folder.display()
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
    };
    component::check(&bytes, &job.interface, language)?;
    let packed = embed_manifest(&bytes, &text).with_context(|| format!("{}", manifest_path.display()))?;

    let output = match &arguments.output {
        Some(output) => output.clone(),
        None => arguments.folder.join(format!("{}.wasm", job.manifest.name)),
    };
    write_whole(&output, &packed)?;
    report(&job.manifest, &packed, &output, start)
}

/// So that a reader never sees half of it.
fn write_whole(output: &Path, bytes: &[u8]) -> Result<()> {
    let folder = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    ensure!(folder.is_dir(), "write {}: there is no folder {}", output.display(), folder.display());
    let mut partial = output.as_os_str().to_owned();
    partial.push(".part");
    let partial = PathBuf::from(partial);
    std::fs::write(&partial, bytes).with_context(|| format!("write {}", partial.display()))?;
    std::fs::rename(&partial, output).with_context(|| format!("write {}", output.display()))
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
    match writeln!(std::io::stdout().lock(), "{line}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("write to standard output"),
    }
}

fn size(bytes: usize) -> String {
    let kib = bytes as f64 / 1024.0;
    if kib < 1024.0 { format!("{kib:.0} KiB") } else { format!("{:.1} MiB", kib / 1024.0) }
}
