//! `hostlerctl lint`, `plan`, `diff`, `apply`, `get` and `delete`

use super::confirm;
use crate::cli::{ApplyArgs, DeleteArgs, DiffArgs, Format, GetArgs, Global, LintArgs, PlanArgs, SpecArgs};
use crate::client::{self, Client};
use crate::folder::{self, Input};
use crate::output::{Out, ago, plural};
use crate::plan_file::PlanFile;
use crate::plan_view::{self, FileChanges, has_changes, title};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::Timestamp;
use hostler_types::spec::{
    Compiled, Detail, Kind, Object, Problems, compile, nearest, read_json, write_value, write_yaml,
};
use hostler_types::terminal::sanitize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

/// There is something to do; only said where it was asked for.
const CHANGES: u8 = 3;
/// Well under what one message may have.
const PIECE_BYTES: usize = 256 * 1024;

/// A spec that was read, and what the control plane says of it.
pub struct Planned {
    pub plan: wire::PlanResponse,
    pub spec: wire::Spec,
    pub files: FileChanges,
    input: Input,
    compiled: Compiled,
}

pub fn to_document(object: &Object) -> wire::Document {
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

fn exit(changes: bool, detailed: bool) -> ExitCode {
    if changes && detailed { ExitCode::from(CHANGES) } else { ExitCode::SUCCESS }
}

pub fn lint(out: &Out, format: Format, args: &LintArgs) -> Result<ExitCode, Problem> {
    let mut inputs = Vec::new();
    let single = args.spec.file.iter().find(|path| path.join("env").is_dir());
    let envs = match (single, &args.spec.env) {
        // A folder means what it means in all of its environments.
        (Some(folder), None) => folder_envs(folder)?,
        _ => Vec::new(),
    };
    if envs.is_empty() {
        inputs.push(folder::read(&args.spec.file, args.spec.env.as_deref())?);
    }
    for env in &envs {
        inputs.push(folder::read(&args.spec.file, Some(env))?);
    }
    let mut problems: Vec<hostler_types::spec::Problem> = Vec::new();
    let mut lines = Vec::new();
    for input in &inputs {
        match compile(&input.source) {
            Ok(compiled) => {
                let system = compiled.system().map(ToString::to_string).unwrap_or_default();
                let env = compiled.env().map(ToString::to_string).unwrap_or_default();
                let files =
                    input.source.files.len() + input.source.env.iter().map(|env| env.files.len()).sum::<usize>();
                let (objects, files) = (plural(compiled.objects.len(), "object"), plural(files, "file"));
                lines.push(format!("{}: {objects} in {files}, no problem", title(&system, &env)));
            }
            Err(Problems(found)) => {
                for problem in found {
                    if !problems.contains(&problem) {
                        problems.push(problem);
                    }
                }
            }
        }
    }
    if format == Format::Json {
        let told = problems.iter().map(|one| {
            json!({ "file": one.file, "line": one.line, "column": one.column, "message": one.message, "help": one.help })
        });
        out.json(&told.collect::<Vec<_>>())?;
        return Ok(ExitCode::from(u8::from(!problems.is_empty())));
    }
    if problems.is_empty() {
        out.line(lines.join("\n")).map(|()| ExitCode::SUCCESS)
    } else {
        Err(Problems(problems).into())
    }
}

fn folder_envs(folder: &std::path::Path) -> Result<Vec<String>, Problem> {
    let path = folder.join("env");
    let entries = std::fs::read_dir(&path);
    let entries =
        entries.map_err(|source| Problem::File { operation: "read the folder", path: path.clone(), source })?;
    let mut envs: Vec<String> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
            if yaml { path.file_stem()?.to_str().map(str::to_owned) } else { None }
        })
        .collect();
    envs.sort();
    Ok(envs)
}

/// Reads and compiles before anything is asked, then asks what it would change.
async fn planned(global: &Global, args: &SpecArgs) -> Result<(Client, Planned), Problem> {
    let input = folder::read(&args.file, args.env.as_deref())?;
    let compiled = compile(&input.source)?;
    let mut client = client::connect(global).await?;
    let spec = wire::Spec { documents: compiled.objects.iter().map(to_document).collect() };
    let plan = client.plan(wire::PlanRequest { spec: Some(spec.clone()) }).await?.into_inner();
    if !plan.problems.is_empty() {
        return Err(placed(&compiled, &plan.problems));
    }
    let files = file_changes(&mut client, &plan, &input).await?;
    Ok((client, Planned { plan, spec, files, input, compiled }))
}

/// What only the control plane could know, at its line.
fn placed(compiled: &Compiled, problems: &[wire::Problem]) -> Problem {
    let place = |one: &wire::Problem| {
        let help = (!one.help.is_empty()).then(|| one.help.clone());
        compiled.problem(&one.kind, &one.name, &one.path, &one.message, help)
    };
    let mut problems: Vec<_> = problems.iter().map(place).collect();
    problems.sort_by(|left, right| (&left.file, left.line, left.column).cmp(&(&right.file, right.line, right.column)));
    Problems(problems).into()
}

async fn fetched(client: &mut Client, digest: &str) -> Result<Option<String>, Problem> {
    let answer = client.get_file(wire::GetFileRequest { digest: digest.to_owned() }).await;
    let mut pieces = match answer {
        Ok(answer) => answer.into_inner(),
        // Gone with its version: only its name is told.
        Err(status) if status.code() == tonic::Code::NotFound => return Ok(None),
        Err(status) => return Err(status.into()),
    };
    let mut content = Vec::new();
    while let Some(piece) = pieces.message().await? {
        content.extend_from_slice(&piece.data);
    }
    Ok(String::from_utf8(content).ok())
}

fn own_text(input: &Input, file: &str) -> Option<String> {
    std::fs::read_to_string(input.contents.get(file)?).ok()
}

/// The files whose content changes: name, old digest, new digest.
fn changed_files(plan: &wire::PlanResponse) -> BTreeSet<(String, String, String)> {
    let fields = plan.changes.iter().flat_map(|change| &change.fields);
    let changed = fields.filter_map(|field| {
        let text = |json: &str| serde_json::from_str::<String>(json).ok();
        let (before, after) = (text(&field.before_json)?, text(&field.after_json)?);
        let ((old, from), (new, to)) = (before.split_once("@sha256:")?, after.split_once("@sha256:")?);
        (old == new).then(|| (new.to_owned(), from.to_owned(), to.to_owned()))
    });
    changed.collect()
}

async fn file_changes(client: &mut Client, plan: &wire::PlanResponse, input: &Input) -> Result<FileChanges, Problem> {
    let mut changes = FileChanges::new();
    for (file, from, to) in changed_files(plan) {
        if let (Some(old), Some(new)) = (fetched(client, &from).await?, own_text(input, &file)) {
            let diff = similar::TextDiff::from_lines(&old, &new);
            let count = |tag| diff.iter_all_changes().filter(|change| change.tag() == tag).count();
            let (came, went) = (count(similar::ChangeTag::Insert), count(similar::ChangeTag::Delete));
            changes.insert((from, to), (came, went));
        }
    }
    Ok(changes)
}

pub async fn plan(global: &Global, out: &Out, args: PlanArgs) -> Result<ExitCode, Problem> {
    let (mut client, planned) = planned(global, &args.spec).await?;
    let changes = has_changes(&planned.plan.changes);
    if let Some(path) = &args.out {
        // Applied from elsewhere, its files must be there.
        send_files(&mut client, &planned.compiled, &planned.input).await?;
        PlanFile::new(&planned.plan, &planned.spec, now().to_string()).write(path)?;
    }
    show(out, global.output, &planned)?;
    if global.output == Format::Table && changes {
        let next = match &args.out {
            Some(path) => format!("apply --plan {}", path.display()),
            None => format!("apply {}", planned.input.arguments),
        };
        out.line(format!("next:  hostlerctl {next}"))?;
    }
    Ok(exit(changes, args.detailed_exitcode))
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or_default())
}

fn show(out: &Out, format: Format, planned: &Planned) -> Result<(), Problem> {
    if format == Format::Table {
        return out.print(&plan_view::render(&planned.plan, &planned.files, out));
    }
    out.json(&to_json(&planned.plan, true))
}

fn to_json(plan: &wire::PlanResponse, dry_run: bool) -> serde_json::Value {
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap_or_default();
    let change = |one: &wire::Change| {
        let fields = one.fields.iter().map(
            |field| json!({ "path": field.path, "before": json(&field.before_json), "after": json(&field.after_json) }),
        );
        json!({
            "kind": one.kind,
            "name": one.name,
            "act": one.act,
            "effect": one.effect,
            "fields": fields.collect::<Vec<_>>(),
        })
    };
    json!({
        "system": plan.system,
        "env": plan.env,
        "version": plan.seen,
        "changes": plan.changes.iter().map(change).collect::<Vec<_>>(),
        "notes": plan.notes,
        "dry_run": dry_run,
    })
}

pub async fn diff(global: &Global, out: &Out, args: DiffArgs) -> Result<ExitCode, Problem> {
    let (mut client, planned) = planned(global, &args.spec).await?;
    let mut before: BTreeMap<(String, String), Object> = BTreeMap::new();
    if planned.plan.seen > 0 {
        let request = wire::GetSystemRequest { name: planned.plan.system.clone(), ..wire::GetSystemRequest::default() };
        let there = client.get_system(request).await?.into_inner();
        for document in there.spec.unwrap_or_default().documents {
            before.insert((document.kind.clone(), document.name.clone()), to_object(&document)?);
        }
    }
    let printed = |object: Option<&Object>| {
        object.map(|object| write_yaml(std::slice::from_ref(object), Detail::Short)).unwrap_or_default()
    };
    for change in planned.plan.changes.iter().filter(|change| change.act != "unchanged") {
        let key = (change.kind.clone(), change.name.clone());
        let after =
            planned.compiled.objects.iter().find(|one| one.kind().word() == key.0 && one.name.as_str() == key.1);
        let after = after.filter(|_| change.act != "delete");
        let name = format!("{} {}", change.kind, change.name);
        unified(out, &name, &printed(before.get(&key)), &printed(after))?;
    }
    for (file, from, _) in changed_files(&planned.plan) {
        if let (Some(old), Some(new)) = (fetched(&mut client, &from).await?, own_text(&planned.input, &file)) {
            unified(out, &file, &old, &new)?;
        }
    }
    Ok(exit(has_changes(&planned.plan.changes), args.detailed_exitcode))
}

fn unified(out: &Out, name: &str, before: &str, after: &str) -> Result<(), Problem> {
    use crate::output::Tone;
    let diff = similar::TextDiff::from_lines(before, after);
    let text =
        diff.unified_diff().context_radius(3).header(&format!("{name}, applied"), &format!("{name}, here")).to_string();
    for line in text.lines() {
        let tone = match line.chars().next() {
            Some('+') => Tone::Good,
            Some('-') => Tone::Bad,
            Some('@') => Tone::Faint,
            _ => Tone::Plain,
        };
        out.line(out.paint(&sanitize(line), tone))?;
    }
    Ok(())
}

/// Sends the content that the control plane does not have.
async fn send_files(client: &mut Client, compiled: &Compiled, input: &Input) -> Result<(), Problem> {
    let files = compiled.files();
    let digests: BTreeSet<String> = files.values().cloned().collect();
    if digests.is_empty() {
        return Ok(());
    }
    let request = wire::FindMissingFilesRequest { digests: digests.into_iter().collect() };
    let missing = client.find_missing_files(request).await?.into_inner().digests;
    for (file, digest) in files.iter().filter(|(_, digest)| missing.contains(digest)) {
        let Some(path) = input.contents.get(file) else {
            let told = format!("{file}@sha256:{digest} is not on the control plane: apply the folder that holds it");
            return Err(Problem::Failed(told));
        };
        let read = std::fs::read(path);
        let content = read.map_err(|source| Problem::File { operation: "read", path: path.clone(), source })?;
        if folder::digest(&content) != *digest {
            return Err(Problem::Failed(format!("{} changed while it was read: try again", path.display())));
        }
        let pieces: Vec<_> =
            content.chunks(PIECE_BYTES).map(|piece| wire::PutFileRequest { data: piece.to_vec() }).collect();
        client.put_file(tokio_stream::iter(pieces)).await?;
    }
    Ok(())
}

pub async fn apply(global: &Global, out: &Out, args: ApplyArgs) -> Result<ExitCode, Problem> {
    if let Some(path) = &args.plan {
        let file = PlanFile::read(path)?;
        let mut client = client::connect(global).await?;
        let plan = file.plan();
        if global.output == Format::Table {
            out.print(&plan_view::render(&plan, &FileChanges::new(), out))?;
        }
        return commit(&mut client, global, out, &args, plan, file.spec(), None).await;
    }
    let (mut client, planned) = planned(global, &args.spec()).await?;
    let changes = has_changes(&planned.plan.changes);
    if args.dry_run || !changes {
        show(out, global.output, &planned)?;
        if args.dry_run && changes && global.output == Format::Table {
            out.line("Nothing was done.")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if global.output == Format::Table {
        out.print(&plan_view::render(&planned.plan, &planned.files, out))?;
    }
    ask(&planned.plan, args.yes)?;
    send_files(&mut client, &planned.compiled, &planned.input).await?;
    let Planned { plan, spec, compiled, .. } = planned;
    commit(&mut client, global, out, &ApplyArgs { yes: true, ..args }, plan, spec, Some(&compiled)).await
}

/// What goes is asked for; what comes can be taken back.
pub fn ask(plan: &wire::PlanResponse, yes: bool) -> Result<(), Problem> {
    let gone = plan.changes.iter().filter(|change| change.act == "delete").count();
    if gone == 0 {
        return Ok(());
    }
    confirm(&format!("{} of {} will be deleted.", plural(gone, "object"), title(&plan.system, &plan.env)), yes)
}

async fn commit(
    client: &mut Client,
    global: &Global,
    out: &Out,
    args: &ApplyArgs,
    plan: wire::PlanResponse,
    spec: wire::Spec,
    compiled: Option<&Compiled>,
) -> Result<ExitCode, Problem> {
    ask(&plan, args.yes)?;
    let message = args.message.clone().unwrap_or_default();
    let request = wire::ApplyRequest { spec: Some(spec), seen: Some(plan.seen), lineage: plan.lineage, message };
    let answer = client.apply(request).await?.into_inner();
    finish(global, out, &plan, &answer, compiled)?;
    Ok(ExitCode::SUCCESS)
}

/// Says what was done, or why not.
pub fn finish(
    global: &Global,
    out: &Out,
    plan: &wire::PlanResponse,
    answer: &wire::ApplyResponse,
    compiled: Option<&Compiled>,
) -> Result<(), Problem> {
    if !answer.since.is_empty() {
        let now_ms = now().as_millis();
        let told = plan_view::since(&plan.system, plan.seen, &answer.since, |at_ms| ago(at_ms, now_ms));
        return Err(Problem::Failed(told));
    }
    if !answer.problems.is_empty() {
        if let Some(compiled) = compiled {
            return Err(placed(compiled, &answer.problems));
        }
        let told = answer.problems.iter().map(|one| format!("{} {} {}; {}", one.kind, one.name, one.message, one.help));
        return Err(Problem::Failed(told.collect::<Vec<_>>().join("\n")));
    }
    if global.output != Format::Table {
        let done = wire::PlanResponse {
            changes: answer.changes.clone(),
            seen: answer.version,
            notes: answer.notes.clone(),
            ..plan.clone()
        };
        return out.json(&to_json(&done, false));
    }
    let (title, done) = (title(&plan.system, &plan.env), plan_view::done(&answer.changes));
    if !has_changes(&answer.changes) {
        return out.line(format!("nothing to do: {title} is at version {}", answer.version));
    }
    out.line(format!("applied {title}: version {}; {done}", answer.version))?;
    if answer.changes.iter().any(|change| change.kind == "check") {
        out.line("next:  hostlerctl check ls")?;
    }
    Ok(())
}

pub async fn get(mut client: Client, out: &Out, format: Format, args: GetArgs) -> Result<(), Problem> {
    let mut documents = Vec::new();
    if args.kind == "system"
        && let Some(name) = &args.name
    {
        let request = wire::GetSystemRequest { name: name.clone(), ..wire::GetSystemRequest::default() };
        documents = client.get_system(request).await?.into_inner().spec.unwrap_or_default().documents;
    } else {
        let kinds: Vec<&str> = if args.kind == "all" { Kind::words() } else { args.kind.split(',').collect() };
        for kind in kinds {
            let name = args.name.clone().unwrap_or_default();
            let request = wire::GetObjectsRequest { kind: kind.to_owned(), name, full: args.full };
            documents.extend(client.get_objects(request).await?.into_inner().documents);
        }
    }
    let objects: Vec<Object> = documents.iter().map(to_object).collect::<Result<_, _>>()?;
    let detail = if args.full { Detail::Full } else { Detail::Short };
    match format {
        Format::Json => out.json(&as_json(&objects, args.full)),
        // What is printed can be applied.
        _ if objects.is_empty() => {
            eprintln!("no {} is applied", sanitize(&args.kind));
            Ok(())
        }
        _ => out.print(&write_yaml(&objects, detail)),
    }
}

/// `kind: {name: body}` as JSON; a system has its body without a name before it.
fn as_json(objects: &[Object], full: bool) -> serde_json::Value {
    let mut kinds = serde_json::Map::new();
    for object in objects {
        let kind = kinds.entry(object.kind().word()).or_insert_with(|| json!({}));
        if let serde_json::Value::Object(named) = kind {
            named.insert(object.name.to_string(), object.body.to_json(full));
        }
    }
    kinds.into()
}

pub async fn delete(mut client: Client, out: &Out, args: DeleteArgs) -> Result<(), Problem> {
    if Kind::parse(&args.kind).is_none() {
        let help = match nearest(&args.kind, Kind::words()) {
            Some(kind) => format!("did you mean {kind}?"),
            None => format!("kinds are {}", Kind::words().join(", ")),
        };
        return Err(Problem::Usage(format!("there is no kind {:?}; {help}", args.kind)));
    }
    let whole = if args.kind == "system" { ", with all of its objects" } else { "" };
    confirm(&format!("{} {} goes{whole}.", args.kind, args.names.join(", ")), args.yes)?;
    let request = wire::DeleteObjectsRequest { kind: args.kind, names: args.names };
    let answer = client.delete_objects(request).await?.into_inner();
    out.line(format!("{} deleted", plural(answer.changes.len(), "object")))
}

/// For `-o yaml` of what is no object.
pub fn yaml(out: &Out, value: &serde_json::Value) -> Result<(), Problem> {
    out.print(&write_value(value))
}
