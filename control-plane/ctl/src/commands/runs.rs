//! `hostlerctl run`

mod fetch;
#[cfg(test)]
mod tests;
mod text;

use super::confirm;
use crate::cli::{ActArgs, Format, HowArgs, RunArgs, RunCommand};
use crate::client::Client;
use crate::output::{Cell, Out, age, plural};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::terminal::sanitize;
use hostler_types::time::whole_millis;
use hostler_types::{FetchPath, TaskState};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub async fn run(client: Client, out: &Out, format: Format, args: RunArgs) -> Result<ExitCode, Problem> {
    match args.command {
        None => {
            if args.words.is_empty() && args.script.is_none() {
                return Err(Problem::Usage("say what to run after --: hostlerctl run -l role=web -- uptime".into()));
            }
            let (script, script_name) = args.script.map(|path| read_script(&path)).transpose()?.unwrap_or_default();
            let what = wire::StartRunRequest {
                command: args.words,
                script,
                script_name,
                user: args.user.unwrap_or_default(),
                fetch: fetched(&args.fetch)?,
                ..wire::StartRunRequest::default()
            };
            start_into(client, out, format, what, args.how, args.into).await
        }
        Some(RunCommand::Task { name, how }) => {
            let what = wire::StartRunRequest { task: name, ..wire::StartRunRequest::default() };
            start(client, out, format, what, how).await
        }
        Some(RunCommand::Retry { number, how }) => {
            let retry = number_of(&number)?;
            let what = wire::StartRunRequest { retry, ..wire::StartRunRequest::default() };
            start(client, out, format, what, how).await
        }
        Some(RunCommand::Ls { running, limit }) => {
            list(client, out, format, running, limit).await.map(|()| ExitCode::SUCCESS)
        }
        Some(RunCommand::Show { number }) => {
            show(client, out, format, number_of(&number)?).await.map(|()| ExitCode::SUCCESS)
        }
        Some(RunCommand::Watch { number }) => watch(client, out, format, number_of(&number)?, Files::Left).await,
        Some(RunCommand::Fetch { number, into, nodes }) => {
            fetch::run(client, out, format, number_of(&number)?, nodes, into).await
        }
        Some(RunCommand::Abort { number, reason }) => control(client, out, format, &number, "abort", reason).await,
        Some(RunCommand::Pause { number, reason }) => control(client, out, format, &number, "pause", reason).await,
        Some(RunCommand::Resume { number }) => control(client, out, format, &number, "resume", String::new()).await,
    }
}

/// As the hosts will be told it: what can't be is said before anything runs.
fn fetched(paths: &[String]) -> Result<Vec<String>, Problem> {
    let paths = FetchPath::all(paths.iter().map(String::as_str));
    let paths = paths.map_err(|error| Problem::Usage(format!("--fetch: {error}")))?;
    Ok(paths.iter().map(ToString::to_string).collect())
}

/// A script, and what its file is called.
fn read_script(path: &Path) -> Result<(Vec<u8>, String), Problem> {
    let content =
        fs::read(path).map_err(|source| Problem::File { operation: "read", path: path.to_owned(), source })?;
    if content.is_empty() {
        return Err(Problem::Usage(format!("{} is empty", path.display())));
    }
    Ok((content, path.file_name().unwrap_or_default().to_string_lossy().into_owned()))
}

/// `hostlerctl service restart hello`
pub async fn of_services(
    client: Client,
    out: &Out,
    format: Format,
    verb: &str,
    args: ActArgs,
) -> Result<ExitCode, Problem> {
    let what =
        wire::StartRunRequest { verb: verb.to_owned(), services: args.names, ..wire::StartRunRequest::default() };
    // Nobody misses what starts, or reads its files again.
    let yes = args.how.yes || matches!(verb, "start" | "reload");
    start(client, out, format, what, HowArgs { yes, ..args.how }).await
}

/// `7`, or `run/7` as it is shown.
pub fn number_of(text: &str) -> Result<u64, Problem> {
    let digits = text.strip_prefix("run/").unwrap_or(text);
    let number = digits.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| Problem::Usage(format!("{text} is no run's number: hostlerctl run ls shows them")))
}

pub async fn start(
    client: Client,
    out: &Out,
    format: Format,
    what: wire::StartRunRequest,
    how: HowArgs,
) -> Result<ExitCode, Problem> {
    start_into(client, out, format, what, how, None).await
}

/// And where the files go that it brings back.
async fn start_into(
    mut client: Client,
    out: &Out,
    format: Format,
    what: wire::StartRunRequest,
    how: HowArgs,
    into: Option<PathBuf>,
) -> Result<ExitCode, Problem> {
    let span = |span: Option<std::time::Duration>| span.map_or(0, whole_millis);
    let mut request = wire::StartRunRequest {
        selector: how.selector.unwrap_or_default(),
        nodes: how.nodes,
        reason: how.reason,
        max: how.max.unwrap_or_default(),
        max_errors: how.max_errors.unwrap_or_default(),
        canary: how.canary.unwrap_or_default(),
        jitter_ms: span(how.jitter),
        timeout_ms: span(how.timeout),
        deadline_ms: span(how.deadline),
        dry_run: true,
        ..what
    };
    let asked = client.start_run(request.clone()).await?.into_inner();
    let would = asked.run.ok_or_else(|| Problem::Failed("the control plane did not say what it would be".into()))?;
    if how.dry_run {
        return match format {
            Format::Table => out.print(&text::would(&would, &asked.tasks, &asked.warnings)),
            _ => out.json(&json!({
                "run": run_json(&would),
                "nodes": asked.tasks.iter().map(|task| &task.node).collect::<Vec<_>>(),
                "warnings": asked.warnings,
            })),
        }
        .map(|()| ExitCode::SUCCESS);
    }
    if format == Format::Table {
        for warning in &asked.warnings {
            eprintln!("note: {}", sanitize(warning));
        }
    }
    if would.nodes > 1 {
        confirm(&text::question(&would), how.yes)?;
    }
    // Those that were shown, and no others that came meanwhile.
    request.nodes = asked.tasks.into_iter().map(|task| task.node).collect();
    request.dry_run = false;
    let begun = client.start_run(request).await?.into_inner().run.unwrap_or_default();
    if how.detach {
        return match format {
            Format::Table => {
                let next = if begun.fetch.is_empty() { "watch" } else { "fetch" };
                let what = if begun.fetch.is_empty() { "Follow it" } else { "Its files" };
                out.line(format!("run {0} begun.  {what}: hostlerctl run {next} {0}", begun.number))
            }
            _ => out.json(&json!({"run": run_json(&begun)})),
        }
        .map(|()| ExitCode::SUCCESS);
    }
    watch(client, out, format, begun.number, Files::Into(into)).await
}

/// What becomes of the files that a run brings back.
enum Files {
    /// They stay where they are, for whoever began it.
    Left,
    /// They come into that folder, or one of the run's name.
    Into(Option<PathBuf>),
}

/// Until it is over; then what it printed, and how it ended.
async fn watch(mut client: Client, out: &Out, format: Format, number: u64, files: Files) -> Result<ExitCode, Problem> {
    let mut news = client.watch_run(wire::GetRunRequest { number }).await?.into_inner();
    let (mut run, mut tasks) = (wire::Run::default(), BTreeMap::<String, wire::RunTask>::new());
    let mut progress = Progress::new(format);
    while let Some(one) = news.message().await? {
        if let Some(task) = one.task {
            let before = tasks.insert(task.node.clone(), task.clone());
            if format == Format::Table {
                progress.clear();
                out.print(&text::step(out, number, &task, before.as_ref(), &tasks))?;
            }
        }
        run = one.run.unwrap_or(run);
        progress.show(&run);
    }
    progress.clear();
    let tasks: Vec<wire::RunTask> = tasks.into_values().collect();
    let well = tasks.iter().all(|task| task.state == TaskState::Succeeded.word());
    if format == Format::Table {
        out.print(&text::said(out, number, &tasks))?;
        out.print(&text::ended(&run, &tasks))?;
    }
    let is_over = matches!(run.state.as_str(), "succeeded" | "failed" | "aborted");
    let into = match files {
        Files::Into(into) if is_over && !run.fetch.is_empty() => Some(into.unwrap_or_else(|| fetch::folder_of(number))),
        _ => None,
    };
    let fetched = match &into {
        Some(into) => fetch::fetch(&mut client, number, Vec::new(), into).await?,
        None => Vec::new(),
    };
    match (format, &into) {
        (Format::Table, Some(into)) => out.print(&fetch::text(&fetched, into))?,
        (Format::Table, None) => {}
        (_, into) => {
            let mut all = json!({"run": run_json(&run), "tasks": tasks.iter().map(task_json).collect::<Vec<_>>()});
            if let (Some(all), Some(_)) = (all.as_object_mut(), into) {
                all.insert("files".to_owned(), fetch::json(&fetched));
            }
            out.json(&all)?;
        }
    }
    if !is_over {
        return Err(Problem::Failed(format!("run {number} goes on: hostlerctl run watch {number}")));
    }
    Ok(if well { fetch::code(&fetched) } else { ExitCode::FAILURE })
}

/// A line at the foot of a terminal, which goes again.
struct Progress {
    on: bool,
    shown: bool,
}

impl Progress {
    fn new(format: Format) -> Self {
        Self { on: format == Format::Table && io::stderr().is_terminal(), shown: false }
    }

    fn show(&mut self, run: &wire::Run) {
        if self.on {
            eprint!("\r\u{1b}[K{}", sanitize(&text::progress(run)));
            let _ = io::stderr().flush();
            self.shown = true;
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            eprint!("\r\u{1b}[K");
        }
    }
}

async fn control(
    mut client: Client,
    out: &Out,
    format: Format,
    number: &str,
    verb: &str,
    reason: String,
) -> Result<ExitCode, Problem> {
    let request = wire::ControlRunRequest { number: number_of(number)?, verb: verb.to_owned(), reason };
    let run = client.control_run(request).await?.into_inner();
    match format {
        Format::Table => out.line(text::controlled(&run)),
        _ => out.json(&run_json(&run)),
    }
    .map(|()| ExitCode::SUCCESS)
}

async fn list(mut client: Client, out: &Out, format: Format, running: bool, limit: u32) -> Result<(), Problem> {
    let server_ms = client.get_server(wire::GetServerRequest {}).await?.into_inner().wall_ms;
    let request = wire::ListRunsRequest { running, limit, ..wire::ListRunsRequest::default() };
    let answer = client.list_runs(request).await?.into_inner();
    if format != Format::Table {
        return out.json(&answer.runs.iter().map(run_json).collect::<Vec<_>>());
    }
    let rows: Vec<Vec<Cell>> = answer
        .runs
        .iter()
        .map(|run| {
            vec![
                Cell::new(run.number.to_string()),
                Cell::state(&run.state),
                Cell::new(text::tally(run)),
                Cell::new(age(run.at_ms, server_ms)),
                Cell::new(&run.by),
                Cell::new(&run.title),
            ]
        })
        .collect();
    if rows.is_empty() {
        out.line("nothing was run yet.  Try: hostlerctl run -- uptime")?;
    } else {
        out.print(&out.table(&["RUN", "STATE", "NODES", "AGE", "BY", "WHAT"], &rows))?;
        let held: Vec<String> = answer.runs.iter().flat_map(|run| run.held.iter().cloned()).collect();
        for words in held {
            out.line(format!("held  {}", sanitize(&words)))?;
        }
    }
    answer.held.iter().try_for_each(|words| out.line(format!("held  {}", sanitize(words))))
}

/// `hostlerctl why run/7`
pub async fn why(mut client: Client, out: &Out, format: Format, subject: &str) -> Result<(), Problem> {
    let number = number_of(subject)?;
    if format != Format::Table {
        return show(client, out, format, number).await;
    }
    let answer = client.get_run(wire::GetRunRequest { number }).await?.into_inner();
    out.print(&text::why(&answer))
}

async fn show(mut client: Client, out: &Out, format: Format, number: u64) -> Result<(), Problem> {
    let answer = client.get_run(wire::GetRunRequest { number }).await?.into_inner();
    let run = answer.run.clone().unwrap_or_default();
    if format != Format::Table {
        let notes = answer.notes.iter().map(|note| {
            json!({"at_ms": note.at_ms, "what": note.what, "node": note.node, "words": note.words, "origin": note.origin})
        });
        return out.json(&json!({
            "run": run_json(&run),
            "tasks": answer.tasks.iter().map(task_json).collect::<Vec<_>>(),
            "notes": notes.collect::<Vec<_>>(),
        }));
    }
    out.print(&text::shown(out, &answer))?;
    out.line(plural(answer.tasks.len(), "node"))
}

pub fn run_json(run: &wire::Run) -> Value {
    json!({
        "number": run.number,
        "title": run.title,
        "state": run.state,
        "words": run.words,
        "by": run.by,
        "reason": run.reason,
        "at_ms": run.at_ms,
        "ended_ms": run.ended_ms,
        "steps": run.steps,
        "nodes": run.nodes,
        "chosen": run.chosen,
        "max": run.max,
        "max_errors": run.max_errors,
        "canary": run.canary,
        "jitter_ms": run.jitter_ms,
        "system": run.system,
        "timeout_ms": run.timeout_ms,
        "deadline_ms": run.deadline_ms,
        "tasks": run.tasks,
        "held": run.held,
        "retries": run.retries,
        "schedule": run.schedule,
        "origin": run.origin,
        "fetch": run.fetch,
    })
}

fn task_json(task: &wire::RunTask) -> Value {
    json!({
        "node": task.node,
        "state": task.state,
        "words": task.words,
        "held": task.held,
        "exit": task.exit,
        "output": task.output,
        "output_cut_bytes": task.output_cut_bytes,
        "changed": task.changed,
        "offered_ms": task.offered_ms,
        "began_ms": task.began_ms,
        "ended_ms": task.at_ms,
        "steps_done": task.done,
        "files": task.files.iter().map(file_json).collect::<Vec<_>>(),
    })
}

fn file_json(file: &wire::RunFile) -> Value {
    json!({
        "path": file.path,
        "bytes": file.size_bytes,
        "sha256": file.digest,
        "here": file.here,
        "words": file.words,
    })
}
