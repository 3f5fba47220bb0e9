//! Component in, machine code out, within limits that it sets itself before it
//! looks at the input.

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, nice, setrlimit, umask};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Compiling can always wait for what the host is there for.
const NICE: i32 = 10;

#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Must not exist yet
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Processor time after which it is killed
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    seconds_max: u32,
    /// Data it may allocate
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    memory_bytes_max: u64,
}

/// A component larger than this is no plugin: Python's have 18 MB.
const COMPONENT_BYTES_MAX: u64 = 64 << 20;

pub fn compile(arguments: &Arguments) -> Result<()> {
    limit_self(arguments).context("limit the compiler")?;
    let size =
        std::fs::metadata(&arguments.input).with_context(|| format!("read {}", arguments.input.display()))?.len();
    ensure!(
        size <= COMPONENT_BYTES_MAX,
        "{} has {size} bytes; a component may have {COMPONENT_BYTES_MAX}",
        arguments.input.display()
    );
    let component = std::fs::read(&arguments.input).with_context(|| format!("read {}", arguments.input.display()))?;
    // Says what is wrong in the plugin's own terms before the engine does.
    hostler_types::plugin::embedded_manifest(&component)
        .with_context(|| format!("{} is no plugin", arguments.input.display()))?;
    let compiled = match precompile(&component) {
        Ok(compiled) => compiled,
        Err(error) => bail!("{} does not compile: {error}", arguments.input.display()),
    };
    write_new(&arguments.output, &compiled).with_context(|| format!("write {}", arguments.output.display()))
}

fn precompile(component: &[u8]) -> Result<Vec<u8>, String> {
    let words = |error: wasmtime::Error| format!("{error:#}");
    let engine = wasmtime::Engine::new(&hostler_plugin_host::engine_config()).map_err(words)?;
    // Compiled for use here, so that what no engine with these settings would
    // load is refused now: a memory or a table that is too large.
    let compiled = wasmtime::component::Component::new(&engine, component).map_err(words)?;
    compiled.serialize().map_err(words)
}

fn limit_self(arguments: &Arguments) -> Result<()> {
    umask(Mode::RWXG | Mode::RWXO);
    nice(NICE).context("lower the priority")?;
    let both = |value: u64| Rlimit { current: Some(value), maximum: Some(value) };
    // The kernel's signal at this limit can't be caught into a message, so a
    // second more is the hard one.
    let seconds = u64::from(arguments.seconds_max);
    setrlimit(Resource::Cpu, Rlimit { current: Some(seconds), maximum: Some(seconds + 1) })
        .context("limit processor time")?;
    setrlimit(Resource::Data, both(arguments.memory_bytes_max)).context("limit memory")?;
    // A compiler that fails must not leave gigabytes of itself behind.
    setrlimit(Resource::Core, both(0)).context("forbid core files")?;
    Ok(())
}

fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
