//! What a run would be, from what was asked for.

mod rights;
mod services;

pub use rights::{Right, weigh};

use super::{TASK, no_run, show};
use crate::admin::schedules;
use crate::admin::services::{Host, hosts};
use crate::app::App;
use crate::approvals::{Hand, Sealed};
use crate::audit::Call;
use crate::clock;
use crate::pki::sha256_hex;
use crate::records::runs::Extra;
use crate::runs::{About, FleetView, NewRun, readable};
use crate::schedules::task_of;
use crate::world::World;
use hostler_core::access::{Noun, Verb};
use hostler_core::applied::Owned;
use hostler_core::runs::steps::{amount, amount_of, free, of_task};
use hostler_core::runs::{Link, Order, Run, Task, View};
use hostler_proto::admin as wire;
use hostler_types::spec::{Body, Kind, TaskSpec, nearest};
use hostler_types::task::Command;
use hostler_types::{FetchPath, Labels, Name, NodeId, Selector, TaskId, TaskReport, TaskState, TaskStep, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

const REASON_CHARACTERS_MAX: usize = 200;
/// Somebody waits for a free command; what takes longer says so, or is a task.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(600);
/// It is kept, and sent to each node.
const SCRIPT_BYTES_MAX: usize = 512 * 1024;
/// A month: nothing that is looked at takes longer.
const SPAN_MS_MAX: u64 = 31 * 86_400_000;

/// A run without its nodes.
struct Draft {
    title: String,
    origin: String,
    system: String,
    steps: Vec<TaskStep>,
    chosen: String,
    hosts: Vec<(NodeId, Name)>,
    max: usize,
    max_errors: usize,
    canary: usize,
    timeout: Duration,
    retries: u64,
    absent: BTreeMap<NodeId, BTreeSet<Name>>,
    schedule: String,
    /// What whoever asks must be allowed.
    rights: Vec<Right>,
}

pub async fn start(
    app: &App,
    hand: &Hand,
    call: &Call,
    request: wire::StartRunRequest,
) -> Result<wire::StartRunResponse, Status> {
    let world = app.mirror.now();
    let caller = &hand.caller;
    super::may_somewhere(&world, caller, Verb::Act)?;
    let draft = draft(app, &world, &request).await?;
    draft.rights.iter().try_for_each(|right| right.require(&world, caller))?;
    draft.hosts.iter().for_each(|(_, name)| call.on("node", name.as_str()));
    if !draft.schedule.is_empty() {
        call.on("schedule", &draft.schedule);
    }
    if !request.dry_run {
        script(app, &request, true).await?;
        hand.still_good(app, || rights::weighed(&draft, &request))?;
    }
    let mut new = into_run(draft, hand, &request)?;
    let warnings = warnings(app, &new.run);
    let (mut run, tasks) = show::to_wire(&new.run, &new.about);
    if !request.dry_run {
        new.sealed = hand.sealed(0);
        let number = app.work.begin(new).await;
        run.number = number.ok_or_else(|| Status::unavailable("the control plane stops: try again in a moment"))?;
        call.on("run", &run.number.to_string());
    }
    Ok(wire::StartRunResponse { run: Some(run), warnings, tasks })
}

/// What it would be, whoever asks.
async fn draft(app: &App, world: &World, request: &wire::StartRunRequest) -> Result<Draft, Status> {
    let asked = [
        !request.task.is_empty(),
        !request.schedule.is_empty(),
        !request.verb.is_empty(),
        !request.command.is_empty() || !request.script.is_empty(),
        request.retry != 0,
    ];
    if asked.iter().filter(|asked| **asked).count() != 1 {
        return Err(Status::invalid_argument(
            "say one thing to run: a task, a schedule, services, a command, or a run to retry",
        ));
    }
    if !request.fetch.is_empty() && request.command.is_empty() && request.script.is_empty() {
        return Err(Status::invalid_argument("files come back from a command or a script alone"));
    }
    if !request.task.is_empty() {
        of_spec(world, request)
    } else if !request.schedule.is_empty() {
        of_schedule(world, request)
    } else if !request.verb.is_empty() {
        services::draft(app, world, request)
    } else if request.retry != 0 {
        again(app, world, request).await
    } else {
        of_command(world, request, script(app, request, false).await?)
    }
}

fn labels_only(selector: &str) -> Result<(), Status> {
    let names_facts = Selector::parse(selector).is_ok_and(|selector| selector.names_facts());
    if names_facts {
        return Err(Status::invalid_argument(format!(
            "{selector}: facts are a host's own claims, and what is done to a host goes by labels: choose by labels or names"
        )));
    }
    Ok(())
}

/// By what its nodes were chosen: names of all that would be chosen without them say
/// nothing of their own.
fn chosen(request: &wire::StartRunRequest, otherwise: &str, taken: usize, of: usize) -> String {
    match request.selector.as_str() {
        "" if taken == of => otherwise.to_owned(),
        "" => "by name".to_owned(),
        selector => selector.to_owned(),
    }
}

/// Members that a selector of labels takes.
fn taken_by(world: &World, takes: impl Fn(&Labels) -> bool) -> usize {
    let members = world.members.values().filter(|member| member.revoked.is_none());
    members.filter(|member| takes(&world.labels(member))).count()
}

fn named<'a>(hosts: impl Iterator<Item = &'a Host<'a>>) -> Vec<(NodeId, Name)> {
    hosts.map(|host| (host.member.id.clone(), host.member.name.clone())).collect()
}

/// The digest of the script, which lies among the blobs from then on where it is to be kept.
async fn script(app: &App, request: &wire::StartRunRequest, keep: bool) -> Result<Option<String>, Status> {
    if request.script.is_empty() {
        return Ok(None);
    }
    let (name, content) = (&request.script_name, request.script.clone());
    if content.len() > SCRIPT_BYTES_MAX {
        let most = SCRIPT_BYTES_MAX >> 10;
        return Err(Status::invalid_argument(format!("{name} is larger than {most} KiB: put a program on the hosts")));
    }
    if ![&b"#!"[..], b"\x7fELF"].iter().any(|head| content.starts_with(head)) {
        return Err(Status::invalid_argument(format!(
            "{name} does not say what runs it: begin it with a line like #!/bin/sh"
        )));
    }
    if !keep {
        return Ok(Some(sha256_hex(&content)));
    }
    let blobs = app.blobs.clone();
    let stored = tokio::task::spawn_blocking(move || blobs.put(&content)).await;
    let stored = stored.map_err(|_| Status::internal("storing the script was interrupted"))?;
    stored.map(Some).map_err(|error| Status::unavailable(format!("store the script: {error}")))
}

fn of_command(world: &World, request: &wire::StartRunRequest, script: Option<String>) -> Result<Draft, Status> {
    labels_only(&request.selector)?;
    let hosts = hosts(world, &request.selector, &request.nodes)?;
    let rights = hosts.iter().map(|host| Right::of(Noun::Command, None, &host.member.name, &host.labels)).collect();
    let user = Some(request.user.clone()).filter(|user| !user.is_empty());
    let fetch = FetchPath::all(request.fetch.iter().map(String::as_str));
    let fetch = fetch.map_err(|error| Status::invalid_argument(format!("--fetch: {error}")))?;
    let (step, title) = match script {
        Some(script) => {
            let (argv, script) = (request.command.clone(), Some(script));
            let command = Command { argv, script, user, free: true, fetch, ..Command::default() };
            let title = format!("script {} {}", request.script_name, request.command.join(" "));
            (TaskStep::Command(command), title.trim_end().to_owned())
        }
        None => {
            let step = TaskStep::Command(Command { fetch, ..free(&request.command, user) });
            let title = step.to_string();
            (step, title)
        }
    };
    Ok(Draft {
        title: title.chars().take(80).collect(),
        origin: String::new(),
        system: String::new(),
        steps: vec![step],
        chosen: chosen(request, "all nodes", hosts.len(), taken_by(world, |_| true)),
        max: hosts.len(),
        // Whoever asks all wants to hear all.
        max_errors: hosts.len(),
        canary: 0,
        hosts: named(hosts.iter()),
        timeout: COMMAND_TIMEOUT,
        retries: 0,
        absent: BTreeMap::new(),
        schedule: String::new(),
        rights,
    })
}

fn tasks(world: &World) -> impl Iterator<Item = (&Owned, &TaskSpec)> {
    world.specs.applied.of_kind(Kind::Task).filter_map(task_of)
}

fn of_spec(world: &World, request: &wire::StartRunRequest) -> Result<Draft, Status> {
    let (one, spec) = tasks(world).find(|(one, _)| one.object.name.as_str() == request.task).ok_or_else(|| {
        let help = match nearest(&request.task, tasks(world).map(|(one, _)| one.object.name.as_str())) {
            Some(name) => format!("; did you mean {name}?"),
            None => "; hostlerctl get task shows them".to_owned(),
        };
        Status::not_found(format!("there is no task {:?}{help}", request.task))
    })?;
    of_task_spec(world, request, (one, spec), TASK, one)
}

/// The task of a schedule: whoever may run that, may.
fn of_schedule(world: &World, request: &wire::StartRunRequest) -> Result<Draft, Status> {
    let owned = schedules::find(world, &request.schedule)?;
    let Body::Schedule(schedule) = &owned.object.body else { return Err(Status::internal("another kind")) };
    let name = &owned.object.name;
    let Some(task) = &schedule.task else {
        return Err(Status::failed_precondition(format!("schedule {name} makes a report, and these are not made yet")));
    };
    let found = world.specs.applied.get(Kind::Task, &task.name).and_then(task_of);
    let found = found.ok_or_else(|| Status::failed_precondition(format!("there is no task {} any more", task.name)))?;
    let draft = of_task_spec(world, request, found, schedules::SCHEDULE, owned)?;
    Ok(Draft { title: format!("{}, of schedule {name}", draft.title), schedule: name.to_string(), ..draft })
}

/// `by` is what whoever asks must be able to run on each of its nodes.
fn of_task_spec(
    world: &World,
    request: &wire::StartRunRequest,
    (one, spec): (&Owned, &TaskSpec),
    noun: Noun,
    by: &Owned,
) -> Result<Draft, Status> {
    labels_only(&request.selector)?;
    let none = BTreeMap::new();
    let all = hosts(world, &request.selector, &request.nodes)?;
    let hosts: Vec<&Host<'_>> = all.iter().filter(|host| spec.where_.matches(&host.labels, &none)).collect();
    let right = |host: &&Host<'_>| Right::of(noun, Some(&by.system), &by.object.name, &host.labels);
    let rights = hosts.iter().map(right).collect();
    let task = &one.object.name;
    let steps = of_task(spec).map_err(|words| Status::failed_precondition(format!("task {task}: {words}")))?;
    let count = hosts.len();
    Ok(Draft {
        title: format!("task {task}"),
        origin: one.object.origin.clone(),
        system: by.system.to_string(),
        steps,
        chosen: chosen(
            request,
            &spec.where_.to_string(),
            count,
            taken_by(world, |labels| spec.where_.matches(labels, &none)),
        ),
        max: amount_of(spec.max, count, 1),
        max_errors: amount_of(spec.max_errors, count, 0),
        canary: spec.canary.map_or(0, |canary| amount_of(canary, count, 1)),
        hosts: named(hosts.into_iter()),
        timeout: spec.timeout.0,
        retries: 0,
        absent: BTreeMap::new(),
        schedule: String::new(),
        rights,
    })
}

/// What one step of a run is on one node.
fn right_of_step(step: &TaskStep, system: &str, host: &Host<'_>) -> Right {
    let (noun, name) = match step {
        TaskStep::Command(command) if command.free => (Noun::Command, &host.member.name),
        TaskStep::Service { service, .. } => (Noun::Spec(Kind::Service), service),
        _ => (TASK, &host.member.name),
    };
    Right::of(noun, Name::new(system).ok().as_ref(), name, &host.labels)
}

/// The same steps, where they came to no good end.
async fn again(app: &App, world: &World, request: &wire::StartRunRequest) -> Result<Draft, Status> {
    labels_only(&request.selector)?;
    let number = request.retry;
    let picture = show::picture(app, number).await?.ok_or_else(|| no_run(number))?;
    if !picture.is_over {
        return Err(Status::failed_precondition(format!("run {number} is not over: hostlerctl run watch {number}")));
    }
    let (steps, mut absent) = (picture.steps, picture.absent);
    let wanted = hosts(world, &request.selector, &request.nodes)?;
    let (mut chosen, mut rights) = (Vec::new(), Vec::new());
    for host in wanted {
        let task = picture.tasks.get(&host.member.id);
        if task.is_none_or(|task| task.state == TaskState::Succeeded.word()) {
            continue;
        }
        rights.extend(steps.iter().map(|step| right_of_step(step, &picture.run.system, &host)));
        chosen.push((host.member.id.clone(), host.member.name.clone()));
    }
    absent.retain(|node, _| chosen.iter().any(|(id, _)| id == node));
    if chosen.is_empty() {
        return Err(Status::failed_precondition(format!("run {number} came to a good end on all of these nodes")));
    }
    let run = picture.run;
    Ok(Draft {
        title: run.title,
        origin: run.origin,
        system: run.system,
        steps,
        chosen: format!("those of run/{number} that did not end well"),
        max: run.max as usize,
        max_errors: run.max_errors as usize,
        canary: 0,
        hosts: chosen,
        timeout: Duration::from_millis(run.timeout_ms),
        retries: number,
        absent,
        schedule: String::new(),
        rights,
    })
}

fn into_run(mut draft: Draft, hand: &Hand, request: &wire::StartRunRequest) -> Result<NewRun, Status> {
    draft.hosts.sort_by(|left, right| left.1.cmp(&right.1));
    let count = draft.hosts.len();
    if count == 0 {
        return Err(Status::failed_precondition(format!(
            "there is no such node ({}): hostlerctl node ls shows them",
            draft.chosen
        )));
    }
    if [request.timeout_ms, request.deadline_ms, request.jitter_ms].iter().any(|ms| *ms > SPAN_MS_MAX) {
        return Err(Status::invalid_argument("a timeout, deadline or jitter of more than 31 days is none"));
    }
    let number = |flag: &str, text: &str, least: usize, otherwise: usize| match text {
        "" => Ok(otherwise),
        text => amount(flag, text, count, least).map_err(Status::invalid_argument),
    };
    let some = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
    let at = clock::wall();
    let task = TaskId::of_run(0, 0);
    let order = Order {
        number: 0,
        task: task.clone(),
        title: draft.title,
        by: hand.name().to_owned(),
        reason: reason(hand, &request.reason),
        at,
        origin: draft.origin,
        chosen: draft.chosen,
        max: number("--max", &request.max, 1, draft.max)?.clamp(1, count),
        max_errors: number("--max-errors", &request.max_errors, 0, draft.max_errors)?.min(count),
        canary: number("--canary", &request.canary, 0, draft.canary)?.min(count),
        jitter: Duration::from_millis(request.jitter_ms),
        timeout: some(request.timeout_ms).unwrap_or(draft.timeout),
        deadline: some(request.deadline_ms),
        begin_by: None,
        fire: None,
        disturbs: draft.steps.iter().any(TaskStep::disturbs),
        settles: TaskStep::leave_unsettled(&draft.steps),
    };
    readable(&order, &draft.steps).map_err(Status::invalid_argument)?;
    let planned = |at: Timestamp| TaskReport::new(task.clone(), TaskState::Planned, at, "");
    let tasks = (0u32..).zip(draft.hosts).map(|(place, (id, name))| (id, Task::new(name, place, planned(at))));
    let run = Run::new(order, tasks.collect());
    let Draft { system, retries, absent, schedule, .. } = draft;
    let extra = Extra { system, retries, absent, schedule, due: None };
    Ok(NewRun { run, about: About { steps: draft.steps, extra }, task: None, begun: None, sealed: Sealed::default() })
}

fn reason(hand: &Hand, given: &str) -> String {
    let given: String = given.chars().take(REASON_CHARACTERS_MAX).collect();
    match (given.as_str(), hand.approved_by()) {
        (_, "") => given,
        ("", who) => format!("approved by {who}"),
        (given, who) => format!("{given} (approved by {who})"),
    }
}

/// What would keep some of its nodes from their turn now.
fn warnings(app: &App, run: &Run) -> Vec<String> {
    let view = FleetView::new(app, run.order.disturbs, &Arc::default());
    let mut away = Vec::new();
    let mut held: BTreeMap<String, usize> = BTreeMap::new();
    for (node, task) in &run.tasks {
        if view.link(node) != Link::Ready {
            away.push(&task.name);
        }
        if let Some(brake) = view.brake(node) {
            *held.entry(brake.words).or_default() += 1;
        }
    }
    let mut words = Vec::new();
    if !away.is_empty() {
        words.push(format!("away: {}", hostler_core::runs::names(away.into_iter())));
    }
    words.extend(held.into_iter().map(|(brake, count)| format!("{count} held: {brake}")));
    words
}
