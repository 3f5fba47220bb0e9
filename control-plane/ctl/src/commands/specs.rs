//! `hostlerctl plan` and `apply`: a spec, what it would change, and doing it.

use super::{confirm, contents};
use crate::cli::{ApplyArgs, Format, Global, PlanArgs, SpecArgs};
use crate::client::{self, Client};
use crate::folder::{self, Input};
use crate::output::{Out, ago};
use crate::plan_file::{Made, PlanFile};
use crate::plan_view::{self, Provenance, gone, has_changes, title};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::spec::{Compiled, Object, Problems, compile, read_json};
use hostler_types::terminal::sanitize;
use hostler_types::time::whole_millis;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tonic::Code;

/// There is something to do; only said where it was asked for.
const CHANGES: u8 = 3;
/// Help is not worth a longer wait than this for a control plane that is away.
const HELP_TIME_MAX: Duration = Duration::from_secs(2);

/// A spec that was read, and what the control plane says of it.
pub struct Planned {
    pub plan: wire::PlanResponse,
    pub input: Input,
    spec: wire::Spec,
    compiled: Compiled,
}

impl Planned {
    pub fn objects(&self) -> &[Object] {
        &self.compiled.objects
    }
}

fn to_document(object: &Object) -> wire::Document {
    wire::Document {
        kind: object.kind().word().to_owned(),
        name: object.name.to_string(),
        body_json: object.body.to_json(false).to_string(),
        origin: object.origin.clone(),
        origins: object.origins.clone().into_iter().collect(),
    }
}

pub fn to_object(document: &wire::Document) -> Result<Object, Problem> {
    let object = read_json(&document.kind, &document.name, &document.body_json, &document.origin)?;
    Ok(Object { origins: document.origins.clone().into_iter().collect(), ..object })
}

pub fn exit(changes: &[wire::Change], detailed: bool) -> ExitCode {
    if detailed && has_changes(changes) { ExitCode::from(CHANGES) } else { ExitCode::SUCCESS }
}

fn now_ms() -> u64 {
    whole_millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Reads and compiles before anything is asked, then asks what it would change.
pub async fn planned(global: &Global, args: &SpecArgs) -> Result<(Client, Planned), Problem> {
    let mut input = folder::read(&args.file)?;
    match &args.env {
        Some(env) => input.choose(env)?,
        None if input.envs().next().is_some() => {
            let applied = tokio::time::timeout(HELP_TIME_MAX, applied_env(global, &input)).await.ok().flatten();
            return Err(input.undecided(applied.as_deref()));
        }
        None => {}
    }
    let compiled = compile(&input.source)?;
    let mut client = client::connect(global).await?;
    let spec = wire::Spec { documents: compiled.objects.iter().map(to_document).collect() };
    let plan = client.plan(wire::PlanRequest { spec: Some(spec.clone()) }).await?.into_inner();
    if !plan.problems.is_empty() {
        return Err(placed(&compiled, &plan.problems));
    }
    Ok((client, Planned { plan, input, spec, compiled }))
}

/// With which environment the folder's system is applied, as far as that can be
/// found out.
async fn applied_env(global: &Global, input: &Input) -> Option<String> {
    let compiled = compile(&input.source).ok()?;
    let name = compiled.system()?.as_str();
    let mut client = client::connect(global).await.ok()?;
    let systems = client.list_systems(wire::ListSystemsRequest {}).await.ok()?.into_inner().systems;
    let env = systems.into_iter().find(|system| system.name == name)?.version?.env;
    input.envs().any(|known| known == env).then_some(env)
}

/// Each of its words is one line, whoever wrote it.
fn lines_of(problem: &wire::Problem) -> [String; 5] {
    let wire::Problem { kind, name, path, message, help, .. } = problem;
    [kind, name, path, message, help].map(|text| sanitize(text).into_owned())
}

/// What only the control plane could know, at its line.
fn placed(compiled: &Compiled, problems: &[wire::Problem]) -> Problem {
    let place = |one: &wire::Problem| {
        let [kind, name, path, message, help] = lines_of(one);
        compiled.problem(&kind, &name, &path, &message, (!help.is_empty()).then_some(help))
    };
    let mut problems: Vec<_> = problems.iter().map(place).collect();
    problems.sort_by(|left, right| (&left.file, left.line, left.column).cmp(&(&right.file, right.line, right.column)));
    Problems(problems).into()
}

/// The same where there are no files to point into.
pub fn without_place(problems: &[wire::Problem]) -> String {
    let line = |one: &wire::Problem| {
        let [kind, name, path, message, help] = lines_of(one);
        let path = if path.is_empty() { String::new() } else { format!(": {}", path.trim_end_matches('~')) };
        let help = if help.is_empty() { String::new() } else { format!("; {help}") };
        format!("  {kind} {name}{path} {message}{help}")
    };
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

pub async fn plan(global: &Global, out: &Out, args: PlanArgs) -> Result<ExitCode, Problem> {
    let (mut client, planned) = planned(global, &args.spec).await?;
    if let Some(path) = &args.out {
        let files = planned.compiled.files();
        // Applied from elsewhere, they must be there.
        contents::send(&mut client, &files, &planned.input).await?;
        let made = Made { control_plane: client::addresses(global)?, at_ms: now_ms(), files };
        PlanFile::new(&planned.plan, &planned.spec, made).write(path)?;
    }
    let view = View { format: global.output, dry_run: true };
    show(&mut client, out, view, &planned.plan, Some(&planned.input)).await?;
    if global.output == Format::Table && has_changes(&planned.plan.changes) {
        let next = match &args.out {
            Some(path) => format!("apply --plan {}", folder::quoted(path)),
            None => format!("apply {}", planned.input.arguments()),
        };
        out.line(format!("next:  hostlerctl {next}"))?;
    }
    Ok(exit(&planned.plan.changes, args.detailed_exitcode))
}

/// How a plan is shown, and whether more than that was asked for.
#[derive(Clone, Copy)]
pub struct View {
    pub format: Format,
    pub dry_run: bool,
}

/// The plan, with what only further questions tell: whose version it is against,
/// and how its files differ.
pub async fn show(
    client: &mut Client,
    out: &Out,
    view: View,
    plan: &wire::PlanResponse,
    input: Option<&Input>,
) -> Result<(), Problem> {
    if view.format != Format::Table {
        return out.json(&plan_json(plan, view.dry_run));
    }
    let files = contents::changes(client, plan, input).await?;
    let provenance = provenance(client, plan).await?;
    out.print(&plan_view::render(plan, &files, &provenance, out))
}

async fn provenance(client: &mut Client, plan: &wire::PlanResponse) -> Result<Provenance, Problem> {
    if plan.seen == 0 || !has_changes(&plan.changes) {
        return Ok(None);
    }
    let answer = match client.list_versions(wire::ListVersionsRequest { name: plan.system.clone() }).await {
        Ok(answer) => answer.into_inner(),
        Err(status) if status.code() == Code::NotFound => return Ok(None),
        Err(status) => return Err(status.into()),
    };
    let seen = answer.versions.iter().find(|version| version.number == plan.seen);
    Ok(seen.map(|version| format!(" by {}, {}", version.by, ago(version.at_ms, answer.wall_ms))))
}

pub fn changes_json(changes: &[wire::Change]) -> serde_json::Value {
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap_or_default();
    let field = |one: &wire::FieldChange| json!({ "path": one.path, "before": json(&one.before_json), "after": json(&one.after_json) });
    let change = |one: &wire::Change| {
        json!({
            "kind": one.kind,
            "name": one.name,
            "act": one.act,
            "effect": one.effect,
            "fields": one.fields.iter().map(field).collect::<Vec<_>>(),
        })
    };
    changes.iter().map(change).collect()
}

pub fn plan_json(plan: &wire::PlanResponse, dry_run: bool) -> serde_json::Value {
    json!({
        "system": plan.system,
        "env": plan.env,
        "env_before": plan.env_before,
        "version": plan.seen,
        "changes": changes_json(&plan.changes),
        "notes": plan.notes,
        "dry_run": dry_run,
    })
}

pub async fn apply(global: &Global, out: &Out, args: ApplyArgs) -> Result<ExitCode, Problem> {
    let message = args.message.clone().unwrap_or_default();
    if let Some(path) = &args.plan {
        return apply_kept(global, out, path, message, args.yes).await;
    }
    let (mut client, planned) = planned(global, &args.spec()).await?;
    let changes = has_changes(&planned.plan.changes);
    let view = View { format: global.output, dry_run: args.dry_run };
    if args.dry_run || !changes {
        show(&mut client, out, view, &planned.plan, Some(&planned.input)).await?;
        return nothing_done(out, global.output, args.dry_run && changes).map(|()| ExitCode::SUCCESS);
    }
    if global.output == Format::Table {
        show(&mut client, out, view, &planned.plan, Some(&planned.input)).await?;
    }
    ask(&planned.plan, args.yes)?;
    contents::send(&mut client, &planned.compiled.files(), &planned.input).await?;
    let Planned { plan, spec, compiled, .. } = planned;
    commit(&mut client, global, out, Commit { plan, spec, message }, Some(&compiled)).await?;
    Ok(ExitCode::SUCCESS)
}

pub fn nothing_done(out: &Out, format: Format, changes: bool) -> Result<(), Problem> {
    if changes && format == Format::Table { out.line("Nothing was done.") } else { Ok(()) }
}

/// Exactly what was planned, or nothing.
async fn apply_kept(global: &Global, out: &Out, path: &Path, message: String, yes: bool) -> Result<ExitCode, Problem> {
    let file = PlanFile::read(path)?;
    let mut client = client::connect(global).await?;
    let server = client.get_server(wire::GetServerRequest {}).await?.into_inner();
    if server.lineage != file.lineage {
        return Err(Problem::Failed(format!(
            "{} was made for the control plane at {}; the one at {} is another, or was restored since: plan again here",
            path.display(),
            file.control_plane,
            client::addresses(global)?
        )));
    }
    let plan = file.plan();
    if global.output == Format::Table && has_changes(&plan.changes) {
        let files = contents::changes(&mut client, &plan, None).await?;
        let made = Some(format!(", made {}", ago(file.made_at_ms, now_ms())));
        out.print(&plan_view::render(&plan, &files, &made, out))?;
    }
    ask(&plan, yes)?;
    commit(&mut client, global, out, Commit { plan, spec: file.spec(), message }, None).await?;
    Ok(ExitCode::SUCCESS)
}

/// What goes is asked for; what comes can be taken back.
pub fn ask(plan: &wire::PlanResponse, yes: bool) -> Result<(), Problem> {
    gone(plan).map_or(Ok(()), |question| confirm(&question, yes))
}

/// What was planned, and seen by whoever applies it.
pub struct Commit {
    pub plan: wire::PlanResponse,
    pub spec: wire::Spec,
    pub message: String,
}

/// Does it, and says what was done, or why not.
pub async fn commit(
    client: &mut Client,
    global: &Global,
    out: &Out,
    commit: Commit,
    compiled: Option<&Compiled>,
) -> Result<(), Problem> {
    let Commit { plan, spec, message } = commit;
    let request = wire::ApplyRequest { spec: Some(spec), seen: Some(plan.seen), lineage: plan.lineage, message };
    let answer = client.apply(request).await?.into_inner();
    if !answer.since.is_empty() {
        let now_ms = now_ms();
        let told = plan_view::since(&plan.system, plan.seen, &answer.since, |at_ms| ago(at_ms, now_ms));
        return Err(Problem::Failed(told));
    }
    if !answer.problems.is_empty() {
        return Err(match compiled {
            Some(compiled) => placed(compiled, &answer.problems),
            None => Problem::Failed(format!("nothing was applied:\n{}", without_place(&answer.problems))),
        });
    }
    if global.output != Format::Table {
        let (changes, notes) = (answer.changes, answer.notes);
        let done = wire::PlanResponse { changes, seen: answer.version, notes, ..plan };
        return out.json(&plan_json(&done, false));
    }
    let (title, done) = (title(&plan.system, &plan.env), plan_view::done(&answer.changes));
    if !has_changes(&answer.changes) {
        return out.line(format!("nothing to do: {title} is at version {}", answer.version));
    }
    out.line(format!("applied {title}: version {}; {done}", answer.version))?;
    let touched = |kind: &str| answer.changes.iter().any(|change| change.kind == kind && change.act != "delete");
    // What runs comes first: its checks say how it is.
    match ["service", "check"].into_iter().find(|kind| touched(kind)) {
        Some(kind) => out.line(format!("next:  hostlerctl {kind} ls")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_without_files_name_the_field() {
        let problem = |path: &str, help: &str| wire::Problem {
            kind: "check".into(),
            name: "disk".into(),
            path: path.into(),
            message: "is wrong".into(),
            help: help.into(),
            origin: String::new(),
        };
        let told = without_place(&[problem("with.url~", "write it so"), problem("", "")]);
        assert_eq!(told, "  check disk: with.url is wrong; write it so\n  check disk is wrong");
    }

    #[test]
    fn a_detailed_exit_tells_whether_there_is_something_to_do() {
        let change = |act: &str| vec![wire::Change { act: act.into(), ..wire::Change::default() }];
        for (changes, detailed, code) in [("create", true, CHANGES), ("create", false, 0), ("unchanged", true, 0)] {
            assert_eq!(format!("{:?}", exit(&change(changes), detailed)), format!("{:?}", ExitCode::from(code)));
        }
    }
}
