//! The audit log with a million records, against a plain read of the same files and a
//! bare append and sync, in the same run.

use super::{Figure, store};
use crate::workspace::Workspace;
use anyhow::Result;
use std::fs;
use std::path::Path;

const VERIFY_MS_MAX: f64 = 10_000.0;
const BY_MS_MAX: f64 = 200.0;
/// What authorization and audit together may add to a call.
const ADDED_US_MAX: f64 = 50.0;

pub fn run(workspace: &Workspace) -> Result<Vec<Figure>> {
    workspace.build(&["--release", "--package", "hostler-control-plane", "--example", "measure_audit"])?;
    let program = workspace.root.join("target/release/examples/measure_audit");
    let folder = std::env::temp_dir().join(format!("hostler-bench-audit-{}", std::process::id()));
    let figures = measure(&program, &folder);
    let _ = fs::remove_dir_all(&folder);
    figures
}

fn measure(program: &Path, folder: &Path) -> Result<Vec<Figure>> {
    fs::create_dir_all(folder)?;
    let mut said = store::ask(program, "calls", folder)?;
    let log = folder.join("million");
    said.extend(store::ask(program, "fill", &log)?);
    said.extend(store::ask(program, "read", &log)?);
    let of = |name: &str| said.get(name).copied().unwrap_or(f64::INFINITY);
    let figure = |name, value, unit, at_most| Figure { name, value, unit, at_most };
    Ok(vec![
        figure("verify 1,000,000 records", of("verify-ms"), "ms", Some(VERIFY_MS_MAX)),
        figure("read the same files, nothing else", of("plain-ms"), "ms", None),
        figure("--by an operator of the first three calls", of("by-rare-ms"), "ms", Some(BY_MS_MAX)),
        figure("--by nobody", of("by-nobody-ms"), "ms", Some(BY_MS_MAX)),
        figure("--by one of 40 operators, newest 50", of("by-common-ms"), "ms", Some(BY_MS_MAX)),
        figure("--on one of 900 nodes, all of it", of("on-all-ms"), "ms", None),
        figure("a record on disk", of("bytes-a-record"), "bytes", None),
        figure("records written, no one waiting", of("fill-rate"), "/s", None),
        figure("to judge a call by 20 roles of 5 rules", of("judged-us"), "us", None),
        figure("to queue a record, nobody waiting", of("queued-us"), "us", None),
        figure("both together", of("judged-us") + of("queued-us"), "us", Some(ADDED_US_MAX)),
        figure("a record that is waited for, alone", of("durable-us"), "us", None),
        figure("bare append and sync, 200 bytes", of("bare-us"), "us", None),
        figure("records of 64 who wait", of("grouped-rate"), "/s", None),
    ])
}
