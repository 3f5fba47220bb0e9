//! `hostler-plugin test`: a plugin's cases, each in a fresh instance in the host
//! that nodes run it in.

mod judge;
mod replay;

pub use judge::outcome_words;
use replay::Replay;

use crate::called_as::called_as;
use crate::case::{self, Case, calls, write};
use crate::output::print;
use crate::real_host::RealHost;
use crate::subject::{Subject, SubjectArguments};
use anyhow::{Result, bail, ensure};
use hostler_plugin_host::{Bill, Call, Plugin, Run, RunContext, RunRequest};
use hostler_types::terminal::sanitize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    subject: SubjectArguments,
    /// Only this one: its file's name without .yaml
    #[arg(long, value_name = "NAME")]
    case: Option<String>,
}

/// Nothing could be tested.
pub const EXIT_BROKEN: u8 = 2;

pub fn test(arguments: &Arguments) -> Result<ExitCode> {
    let subject = arguments.subject.find()?;
    let files = chosen(&subject, arguments.case.as_deref())?;
    let cases = case::load(&files, &subject.manifest.world)?;
    if subject.is_stale() {
        eprintln!(
            "warning: plugin.toml was changed since {} was built: {} build {}",
            subject.wasm.display(),
            called_as(),
            subject.folder.display()
        );
    }
    let stage = Stage::new()?;
    let width = cases.iter().map(|case| case.name.len()).max().unwrap_or_default();
    let mut failed = 0;
    for case in &cases {
        let played = stage.play(&subject, case)?;
        print(&line(case, &played, width))?;
        if !played.differences.is_empty() {
            failed += 1;
            // What it did not get to ask is not the first thing to mend.
            continue;
        }
        for (line, call) in &played.unused {
            eprintln!("warning: {}:{line}: nothing asked for this answer to {call}: leave it out", case.file);
        }
    }
    print(&format!("{} passed, {failed} failed\n", cases.len() - failed))?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chosen(subject: &Subject, name: Option<&str>) -> Result<Vec<PathBuf>> {
    let folder = subject.cases();
    let files = case::files(&folder)?;
    ensure!(
        !files.is_empty(),
        "there is no test case in {}: write one, or record one with `{} record {}`",
        folder.display(),
        called_as(),
        subject.folder.display()
    );
    let Some(name) = name else { return Ok(files) };
    let names: Vec<String> = files.iter().map(|file| case::name_of(file)).collect();
    let found: Vec<PathBuf> = files.into_iter().filter(|file| case::name_of(file) == name).collect();
    if found.is_empty() {
        bail!("there is no case {name:?} in {}; there are {}", folder.display(), names.join(", "));
    }
    Ok(found)
}

/// The host with the backend that plays cases.
pub struct Stage {
    replay: Arc<Replay>,
    host: RealHost,
}

/// How a case went.
pub struct Played {
    pub run: Run,
    /// None: it passed.
    pub differences: Vec<String>,
    pub calls: Vec<Call>,
    /// Lines and names of answers that were not asked for.
    pub unused: Vec<(u32, String)>,
}

impl Stage {
    pub fn new() -> Result<Stage> {
        let replay = Arc::new(Replay::default());
        Ok(Stage { host: RealHost::new(replay.clone())?, replay })
    }

    pub fn load(&self, subject: &Subject) -> Result<Arc<Plugin>> {
        self.host.load(&subject.wasm, &subject.bytes)
    }

    pub fn play(&self, subject: &Subject, case: &Case) -> Result<Played> {
        // Loaded anew: it is asked for its judgement of the configuration each time.
        let plugin = self.load(subject)?;
        let world = plugin.world().word();
        ensure!(
            world == subject.manifest.world,
            "{} is a {world}, and its plugin.toml says that it is a {}",
            subject.wasm.display(),
            subject.manifest.world
        );
        let script = self.replay.play(case);
        let grants = Arc::new(subject.manifest.grants.clone());
        let request = RunRequest {
            context: RunContext { instance: case.name.as_str().into(), grants },
            ..RunRequest::new(case.config_json.as_str())
        };
        let run = self.host.wait(plugin.run(case.work.clone(), request));
        let script = script.lock().unwrap_or_else(PoisonError::into_inner);
        let mut differences: Vec<String> =
            script.asked.unanswered.iter().map(|call| unanswered(call, &case.file)).collect();
        differences.dedup();
        // What a run without its answers says is beside the point.
        if differences.is_empty() {
            differences = judge::differences(&case.expect, &run);
        }
        let unused = script.unused().map(|one| (one.line, one.call.clone())).collect();
        Ok(Played { run, differences, calls: script.asked.calls.clone(), unused })
    }
}

fn unanswered(call: &Call, file: &str) -> String {
    let (name, fields) = calls::written(call);
    let example = calls::example_answer(call);
    let snippet =
        write::answer(&name, &calls::distinguishing(&fields), example.as_ref().map(|answer| ("answer", answer)));
    format!("asked for {name}, and no answer was recorded: add it to {file}:\nanswers:\n{}", snippet.trim_end())
}

fn line(case: &Case, played: &Played, width: usize) -> String {
    let text = match played.differences.as_slice() {
        [] => format!("ok   {:width$}   {}\n", case.name, bill(&played.run.bill)),
        [one] => format!("FAIL {}: {one}\n", case.name),
        several => {
            let lines: String = several.iter().map(|one| format!("  {one}\n")).collect();
            format!("FAIL {}:\n{lines}", case.name)
        }
    };
    // A plugin's words are anybody's.
    text.lines().map(|line| format!("{}\n", sanitize(line))).collect()
}

fn bill(bill: &Bill) -> String {
    let calls = if bill.calls == 1 { "1 call".to_owned() } else { format!("{} calls", bill.calls) };
    let mib = bill.memory_peak_bytes as f64 / f64::from(1 << 20);
    format!("{} cpu, {mib:.1} MiB, {calls}", time(bill.cpu))
}

fn time(span: Duration) -> String {
    match span.as_micros() {
        micros @ 0..10_000 => format!("{micros} us"),
        micros => format!("{:.1} ms", micros as f64 / 1000.0),
    }
}
