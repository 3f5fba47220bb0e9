//! Runs: beginning them, looking at them, and saying when they are to stop.

mod asked;
mod files;
mod show;

pub use asked::{Right, start, weigh};
pub use files::{Fetched, fetch};
pub use show::{get, list, watch};

use crate::access::{self, Caller};
use crate::app::App;
use crate::world::World;
use hostler_core::access::{Ask, Nodes, Noun, Place, Verb};
use hostler_core::runs::Verb as Control;
use hostler_proto::admin as wire;
use hostler_types::Name;
use hostler_types::spec::Kind;
use tonic::Status;

const TASK: Noun = Noun::Spec(Kind::Task);

/// Whoever began it themselves, and whoever may do that to tasks of its system.
fn may(app: &App, caller: &Caller, run: &wire::Run, verb: Verb) -> bool {
    is_own(caller, run) || allowed(app, caller, &run.system, verb).is_ok()
}

/// A token has its operator's name, and perhaps less of a right.
fn is_own(caller: &Caller, run: &wire::Run) -> bool {
    caller.identity.token.is_none() && run.by == caller.name()
}

/// Whether there is anything at all that they may run, or look at.
fn may_somewhere(world: &World, caller: &Caller, verb: Verb) -> Result<(), Status> {
    let ask = |noun| Ask::new(verb, noun).within(Place::Some).on(Nodes::Some);
    let others = [Noun::Command, Noun::Spec(Kind::Service), Noun::Spec(Kind::Schedule)];
    if others.into_iter().any(|noun| access::may(world, caller, &ask(noun))) {
        return Ok(());
    }
    access::require(world, caller, &ask(TASK))
}

fn allowed(app: &App, caller: &Caller, system: &str, verb: Verb) -> Result<(), Status> {
    let (world, ask) = (app.mirror.now(), Ask::new(verb, TASK));
    match Name::new(system) {
        Ok(system) => access::require(&world, caller, &access::in_system(ask, &system)),
        Err(_) => access::require(&world, caller, &ask),
    }
}

fn no_run(number: u64) -> Status {
    Status::not_found(format!("there is no run {number}: hostlerctl run ls shows them"))
}

pub async fn control(app: &App, caller: &Caller, request: wire::ControlRunRequest) -> Result<wire::Run, Status> {
    let wire::ControlRunRequest { number, verb, reason } = request;
    may_somewhere(&app.mirror.now(), caller, Verb::Act)?;
    let (control, past) = match verb.as_str() {
        "pause" => (Control::Pause, "paused"),
        "resume" => (Control::Resume, "resumed"),
        "abort" => (Control::Abort, "aborted"),
        other => return Err(Status::invalid_argument(format!("{other:?} is none of pause, resume, abort"))),
    };
    let picture = show::picture(app, number).await?.ok_or_else(|| no_run(number))?;
    if !is_own(caller, &picture.run) {
        allowed(app, caller, &picture.run.system, Verb::Act)?;
    }
    let words = hostler_core::brakes::words(caller.name(), &reason.chars().take(200).collect::<String>());
    let done = app.work.control(number, control, format!("{past} {words}")).await;
    match done {
        Some(true) => {
            let picture = show::picture(app, number).await?.ok_or_else(|| no_run(number))?;
            Ok(picture.run)
        }
        Some(false) => {
            let state = &picture.run.state;
            Err(Status::failed_precondition(format!("run {number} is over: it {state}, and nothing of it goes on")))
        }
        None => Err(Status::unavailable("the control plane stops: try again in a moment")),
    }
}
