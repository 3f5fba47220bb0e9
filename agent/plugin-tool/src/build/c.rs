//! C: clang for wasm32 with wasi-libc, and bindings made here.

use super::language::sources;
use super::{Built, Job, program};
use anyhow::{Context, Result, anyhow};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use wit_bindgen_core::Files;

const ADVICE: &str = "no C compiler for WebAssembly was found. On Debian, as root: `apt-get install clang-19 lld-19 \
                      wasi-libc libclang-rt-19-dev-wasm32`. Elsewhere: unpack wasi-sdk from \
                      https://github.com/WebAssembly/wasi-sdk/releases and set WASI_SDK_PATH to its folder, or \
                      install zig";

/// Newest first; older ones than the last have no linker that makes reactors
/// as this needs them.
const CLANG_VERSIONS: std::ops::RangeInclusive<u32> = 15..=30;

pub fn build(job: &Job) -> Result<Built> {
    let compiler = Compiler::find().context(ADVICE)?;
    let bindings = job.scratch.join("bindings");
    let generated = generate(job, &bindings)?;
    let core = job.scratch.join("core.wasm");
    let mut command = compiler.command();
    command
        .current_dir(&job.folder)
        .args(["-mexec-model=reactor", "-Os", "-Wall", "-Wextra", "-Wl,-s", "-I"])
        .arg(&bindings)
        .arg("-o")
        .arg(&core);
    for source in sources(&job.folder, "c")?.iter().chain(&generated) {
        // As the author knows it, so that errors name it so.
        command.arg(source.strip_prefix(&job.folder).unwrap_or(source));
    }
    let output = program::run(&mut command, "compile C")?;
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    Ok(Built::Core(std::fs::read(&core).with_context(|| format!("read {}", core.display()))?))
}

/// Header, glue and the object that holds the types; the last two are to be
/// linked.
fn generate(job: &Job, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut resolve = job.interface.resolve.clone();
    let mut files = Files::default();
    let options = wit_bindgen_c::Opts::default();
    options
        .build()
        .generate(&mut resolve, job.interface.world, &mut files)
        .map_err(|error| anyhow!("make the C bindings: {error:#}"))?;
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let mut to_link = Vec::new();
    for (name, bytes) in files.iter() {
        let path = folder.join(name);
        // Unchanged files keep their time, for editors and makefiles.
        if std::fs::read(&path).ok().as_deref() != Some(bytes) {
            std::fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
        }
        if path.extension().is_some_and(|extension| extension == "c" || extension == "o") {
            to_link.push(path);
        }
    }
    Ok(to_link)
}

struct Compiler {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Compiler {
    fn find() -> Option<Compiler> {
        Compiler::wasi_sdk().or_else(Compiler::clang).or_else(Compiler::zig)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command
    }

    fn wasi_sdk() -> Option<Compiler> {
        let folder = std::env::var_os("WASI_SDK_PATH").map_or_else(|| PathBuf::from("/opt/wasi-sdk"), PathBuf::from);
        let program = folder.join("bin/clang");
        program.is_file().then(|| Compiler { program, arguments: vec!["--target=wasm32-wasip1".into()] })
    }

    /// A distribution's, if its parts for wasm are installed as well.
    fn clang() -> Option<Compiler> {
        let numbered = CLANG_VERSIONS.rev().map(|version| (format!("clang-{version}"), format!("wasm-ld-{version}")));
        for (clang, linker) in numbered.chain([("clang".to_owned(), "wasm-ld".to_owned())]) {
            let Some(program) = program::find(&clang) else { continue };
            let Some(linker) = program::find(&linker).or_else(|| program::find("wasm-ld")) else { continue };
            let target = "--target=wasm32-wasi";
            // clang repeats the bare name of what it does not find.
            let has = |what: &str| {
                program::says(Command::new(&program).args([target, what]))
                    .is_some_and(|path| Path::new(&path).is_file())
            };
            if has("-print-file-name=crt1-reactor.o") && has("-print-libgcc-file-name") {
                let mut use_linker = OsString::from("-fuse-ld=");
                use_linker.push(linker);
                return Some(Compiler { program, arguments: vec![target.into(), use_linker] });
            }
        }
        None
    }

    fn zig() -> Option<Compiler> {
        let arguments =
            |before: &[&str]| before.iter().chain(&["cc", "--target=wasm32-wasi"]).map(Into::into).collect();
        if let Some(program) = program::find("zig") {
            return Some(Compiler { program, arguments: arguments(&[]) });
        }
        let python = program::find("python3")?;
        program::says(Command::new(&python).args(["-m", "ziglang", "version"]))?;
        Some(Compiler { program: python, arguments: arguments(&["-m", "ziglang"]) })
    }
}
