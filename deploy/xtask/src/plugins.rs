//! Builds the plugins: guests to components, components packed with their
//! manifests, by whichever compiler for wasm this machine has.
//!
//! The hosts' compiler is `hostler-plugin`, built here as well, because tests
//! and the lab compile what was packed.

use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const TARGET: &str = "wasm32-unknown-unknown";

/// Where Debian's compiler is, whatever PATH says.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// The standard library's sources that come with it.
const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];

/// The compile companion and author's tool, as `build` leaves it.
pub fn tool_path(root: &Path) -> PathBuf {
    root.join("target/debug/hostler-plugin")
}

/// Whether a tool is built alone, or together with its own tests: what those
/// depend on changes the compiler's features, and apart it would be built twice.
#[derive(Clone, Copy, PartialEq)]
pub enum Tool {
    Alone,
    WithTests,
}

/// Builds tool and guests; returns the packed plugins that ship. The hostile
/// ones for tests are in `target/plugins/fixtures`.
pub fn build(root: &Path, tool: Tool, progress: &mut dyn FnMut(&str)) -> Result<Vec<PathBuf>> {
    build_tool(root, tool, progress)?;
    let toolchain = Toolchain::find(root, progress)?;
    let folders = plugin_folders(root)?;
    let shipped = || folders.iter().filter(|one| one.ships).map(|one| one.output.clone()).collect();

    let stamp_path = root.join("target/plugins/stamp");
    let stamp = stamp(root, &toolchain)?;
    let unchanged = std::fs::read_to_string(&stamp_path).is_ok_and(|old| old == stamp);
    if unchanged && folders.iter().all(|one| one.output.is_file()) {
        progress("unchanged");
        return Ok(shipped());
    }

    progress(&format!("building {} guests with {}", folders.len(), toolchain.name()));
    run(&mut toolchain.cargo(root), "build the guests")?;
    std::fs::create_dir_all(root.join("target/plugins/fixtures")).context("create target/plugins")?;
    for plugin in &folders {
        let component =
            root.join("target/guests").join(TARGET).join("release").join(format!("{}.wasm", plugin.library));
        run(
            Command::new(tool_path(root))
                .arg("pack")
                .arg("--component")
                .arg(&component)
                .arg("--manifest")
                .arg(plugin.folder.join("plugin.toml"))
                .arg("--output")
                .arg(&plugin.output),
            &format!("pack {}", plugin.library),
        )?;
    }
    std::fs::write(&stamp_path, stamp).with_context(|| format!("write {}", stamp_path.display()))?;
    progress(&format!("{} packed in target/plugins", folders.len()));
    Ok(shipped())
}

/// The tool, for those who need no guest.
pub fn build_tool(root: &Path, tool: Tool, progress: &mut dyn FnMut(&str)) -> Result<()> {
    progress("building hostler-plugin");
    let mut cargo = cargo();
    cargo.args(["build", "--locked", "--manifest-path", "agent/plugin-tool/Cargo.toml", "--target-dir", "target"]);
    if tool == Tool::WithTests {
        cargo.args(["--bins", "--tests"]);
    }
    run(cargo.current_dir(root), "build hostler-plugin")
}

/// A compiler that makes wasm components.
enum Toolchain {
    /// rustup's, with its target installed.
    Rustup { version: String },
    /// Debian's, with rustup's linker and the standard library from source.
    Debian { version: String, linkers: PathBuf },
}

impl Toolchain {
    fn find(root: &Path, progress: &mut dyn FnMut(&str)) -> Result<Toolchain> {
        let mut rustc = Command::new("rustc");
        rustc.current_dir(root);
        let sysroot = text(rustc.args(["--print", "sysroot"]), "ask rustc for its folder")?;
        let sysroot = PathBuf::from(sysroot.trim());
        if sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir() {
            return Ok(Toolchain::Rustup { version: version("rustc")? });
        }
        if !debian_ready() {
            install_debian(progress)?;
        }
        let host = text(Command::new("rustc").arg("-vV"), "ask rustc for its host")?;
        let host =
            host.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?.to_owned();
        let linkers = sysroot.join("lib/rustlib").join(host).join("bin");
        ensure!(
            linkers.join("wasm-component-ld").is_file(),
            "no wasm-component-ld in {}: install the target with `rustup target add {TARGET}`",
            linkers.display()
        );
        Ok(Toolchain::Debian { version: version(DEBIAN_RUSTC)?, linkers })
    }

    fn name(&self) -> &'static str {
        match self {
            Toolchain::Rustup { .. } => "rustup's compiler",
            Toolchain::Debian { .. } => "Debian's compiler",
        }
    }

    fn version(&self) -> &str {
        match self {
            Toolchain::Rustup { version } | Toolchain::Debian { version, .. } => version,
        }
    }

    fn cargo(&self, root: &Path) -> Command {
        let mut command = cargo();
        // cargo reads .cargo/config.toml from the folder it is started in.
        command.current_dir(root.join("plugins"));
        command.args(["build", "--release", "--locked", "--target", TARGET, "--target-dir", "../target/guests"]);
        if let Toolchain::Debian { linkers, .. } = self {
            let mut path = vec![linkers.clone(), linkers.join("gcc-ld")];
            path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
            if let Ok(path) = std::env::join_paths(path) {
                command.env("PATH", path);
            }
            command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=std,panic_abort");
        }
        command
    }
}

/// A cargo whose settings are the machine's, not those of the cargo that runs
/// xtask.
fn cargo() -> Command {
    let mut command = Command::new("cargo");
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"]
    {
        command.env_remove(name);
    }
    command
}

fn version(rustc: &str) -> Result<String> {
    text(Command::new(rustc).arg("-vV"), &format!("run {rustc}"))
}

fn debian_ready() -> bool {
    let sysroot = Command::new(DEBIAN_RUSTC).args(["--print", "sysroot"]).output();
    sysroot.is_ok_and(|output| {
        let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success() && Path::new(&sysroot).join("lib/rustlib/src/rust/library/std").is_dir()
    })
}

fn install_debian(progress: &mut dyn FnMut(&str)) -> Result<()> {
    let advice = format!(
        "no compiler for {TARGET} here: run `rustup target add {TARGET}`, or on Debian as root `apt-get install {}`",
        DEBIAN_PACKAGES.join(" ")
    );
    let is_root = text(Command::new("id").arg("-u"), "ask who we are").is_ok_and(|id| id.trim() == "0");
    if !is_root || !Path::new("/usr/bin/apt-get").is_file() {
        bail!(advice);
    }
    progress(&format!("installing {}", DEBIAN_PACKAGES.join(" and ")));
    let quiet = |command: &mut Command| {
        command.env("DEBIAN_FRONTEND", "noninteractive");
        run(command, "install Debian's compiler").with_context(|| advice.clone())
    };
    quiet(Command::new("apt-get").args(["update", "-q"]))?;
    quiet(Command::new("apt-get").args(["install", "-q", "-y", "--no-install-recommends"]).args(DEBIAN_PACKAGES))?;
    ensure!(debian_ready(), "{advice}: what was installed has no sources of the standard library");
    Ok(())
}

struct PluginFolder {
    folder: PathBuf,
    /// What cargo calls the component's file.
    library: String,
    output: PathBuf,
    /// False for fixtures.
    ships: bool,
}

/// Every folder with a plugin.toml, directly or among the fixtures.
fn plugin_folders(root: &Path) -> Result<Vec<PluginFolder>> {
    let mut found = Vec::new();
    for (below, prefix, out) in
        [("plugins", "plugin", "target/plugins"), ("plugins/fixtures", "fixture", "target/plugins/fixtures")]
    {
        let parent = root.join(below);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&parent).with_context(|| format!("list {}", parent.display()))? {
            let entry = entry.with_context(|| format!("list {}", parent.display()))?;
            if entry.path().join("plugin.toml").is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        for name in names {
            found.push(PluginFolder {
                folder: parent.join(&name),
                ships: prefix == "plugin",
                library: format!("{prefix}_{}", name.replace('-', "_")),
                output: root.join(out).join(format!("{name}.wasm")),
            });
        }
    }
    ensure!(!found.is_empty(), "no plugin.toml below {}", root.join("plugins").display());
    Ok(found)
}

/// What the components depend on, in one word: sources, interface, compiler.
fn stamp(root: &Path, toolchain: &Toolchain) -> Result<String> {
    let mut files = BTreeMap::new();
    for folder in ["plugins", "wit"] {
        collect(&root.join(folder), &mut files)?;
    }
    let mut hash = Fnv::new();
    hash.add(toolchain.version().as_bytes());
    for (path, bytes) in &files {
        hash.add(path.strip_prefix(root).unwrap_or(path).as_os_str().as_encoded_bytes());
        hash.add(bytes);
    }
    Ok(format!("{:016x}\n", hash.0))
}

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
        if path.is_dir() {
            // `cargo test` in plugins/ leaves a target; templates are no guests.
            if path.file_name().is_none_or(|name| name != "target" && name != "templates") {
                collect(&path, files)?;
            }
        } else {
            let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            files.insert(path, bytes);
        }
    }
    Ok(())
}

/// FNV-1a: tells a change from none, and guards against nobody.
struct Fnv(u64);

impl Fnv {
    fn new() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    /// With its length, so that moving a byte from one file to the next shows.
    fn add(&mut self, bytes: &[u8]) {
        let length = bytes.len().to_le_bytes();
        for byte in length.iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

fn output(command: &mut Command, what: &str) -> Result<Output> {
    let output =
        command.output().with_context(|| format!("{what}: start {}", command.get_program().to_string_lossy()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{what}: {}\n{}", output.status, said.trim_end());
    }
    Ok(output)
}

fn run(command: &mut Command, what: &str) -> Result<()> {
    output(command, what).map(drop)
}

fn text(command: &mut Command, what: &str) -> Result<String> {
    Ok(String::from_utf8_lossy(&output(command, what)?.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_moved_between_files_changes_the_hash() {
        let of = |parts: &[&[u8]]| {
            let mut hash = Fnv::new();
            parts.iter().for_each(|part| hash.add(part));
            hash.0
        };
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_eq!(of(&[b"ab", b"c"]), of(&[b"ab", b"c"]));
    }

    #[test]
    fn every_plugin_is_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let found = plugin_folders(&root).expect("plugins");
        let names: Vec<&str> = found.iter().map(|one| one.library.as_str()).collect();
        assert!(names.contains(&"plugin_disk") && names.contains(&"fixture_hostile"), "{names:?}");
    }
}
