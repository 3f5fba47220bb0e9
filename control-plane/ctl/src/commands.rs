//! One module a noun; here only who does what.

mod access;
mod alerts;
mod approvals;
mod audit;
mod backup;
mod brakes;
mod checks;
mod contents;
mod contexts;
mod dev;
mod diff;
mod doctor;
mod events;
mod import;
mod language;
mod lint;
mod nodes;
mod objects;
mod operators;
mod plugins;
mod roles;
mod runs;
mod schedules;
mod secrets;
mod services;
mod specs;
mod systems;
mod why;

use crate::cli::{Cli, Command, Format, Global, SystemCommand};
use crate::client;
use crate::output::Out;
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::terminal::sanitize;
use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

pub async fn run(cli: Cli) -> Result<ExitCode, Problem> {
    let (global, out) = (&cli.global, Out::new());
    let wait_for_it = match &cli.command {
        Command::Apply(args) => args.wait,
        Command::System(SystemCommand::Rollback { wait, .. }) => *wait,
        _ => false,
    };
    match act(global, &out, cli.command).await {
        Err(problem) => approvals::waits(global, &out, problem, wait_for_it).await,
        done => done,
    }
}

async fn act(global: &Global, out: &Out, command: Command) -> Result<ExitCode, Problem> {
    let format = global.output;
    match command {
        // What needs no control plane, or reads before it asks one.
        Command::Context(command) => contexts::run(global, out, command).map(|()| ExitCode::SUCCESS),
        Command::Explain(args) => language::explain(out, &args).map(|()| ExitCode::SUCCESS),
        Command::Schema(args) => language::schema(out, &args).map(|()| ExitCode::SUCCESS),
        Command::Lint(args) => lint::run(out, format, &args),
        Command::Import(command) => import::run(out, format, command).map(|()| ExitCode::SUCCESS),
        Command::Plan(args) => specs::plan(global, out, args).await,
        Command::Diff(args) => diff::run(global, out, args).await,
        Command::Apply(args) => specs::apply(global, out, args).await,
        Command::Plugin(command) => plugins::run(global, out, format, command).await,
        Command::Audit(args) => audit::run(global, out, args).await,
        Command::Approve(command) => approvals::run(global, out, command).await,
        Command::Doctor => doctor::run(global, out).await,
        Command::Service(command) => services::run(client::connect(global).await?, out, format, command).await,
        Command::Run(args) => runs::run(client::connect(global).await?, out, format, *args).await,
        Command::Schedule(command) => schedules::run(client::connect(global).await?, out, format, command).await,
        Command::Can(args) => roles::can(client::connect(global).await?, out, format, args).await,
        command => ask(global, out, command).await.map(|()| ExitCode::SUCCESS),
    }
}

async fn ask(global: &Global, out: &Out, command: Command) -> Result<(), Problem> {
    let client = client::connect(global).await?;
    let format = global.output;
    match command {
        Command::Node(command) => nodes::run(client, out, format, command).await,
        Command::Check(command) => checks::run(client, out, format, command).await,
        Command::Why(args) => why::run(client, out, format, args).await,
        Command::Dev(command) => dev::run(client, out, format, command).await,
        Command::Token(command) => access::token(client, out, format, command).await,
        Command::Secret(command) => secrets::run(client, out, format, command).await,
        Command::Operator(command) => operators::run(client, out, global, command).await,
        Command::Role(command) => roles::run(client, out, format, command).await,
        Command::Whoami => operators::who_am_i(client, out, format).await,
        Command::System(command) => systems::run(client, out, global, command).await,
        Command::Get(args) => objects::get(client, out, format, args).await,
        Command::Delete(args) => objects::delete(client, out, args).await,
        Command::Events(args) => events::run(client, out, format, args).await,
        Command::Alert(command) => alerts::run(client, out, format, command).await,
        Command::Freeze(args) => brakes::freeze(client, out, format, args).await,
        Command::Thaw(args) => brakes::thaw(client, out, format, args).await,
        Command::Status => status(client, out, format).await,
        Command::Can(_)
        | Command::Service(_)
        | Command::Run(_)
        | Command::Schedule(_)
        | Command::Import(_)
        | Command::Context(_)
        | Command::Explain(_)
        | Command::Schema(_)
        | Command::Lint(_)
        | Command::Plan(_)
        | Command::Diff(_)
        | Command::Apply(_)
        | Command::Audit(_)
        | Command::Approve(_)
        | Command::Doctor
        | Command::Plugin(_) => Ok(()),
    }
}

async fn status(mut client: client::Client, out: &Out, format: Format) -> Result<(), Problem> {
    let server = client.get_server(wire::GetServerRequest {}).await?.into_inner();
    if format == Format::Json {
        return out.json(&serde_json::json!({
            "version": server.version,
            "store": server.store,
            "lineage": server.lineage,
            "revision": server.revision,
            "addresses": server.addresses,
            "operator": server.operator,
        }));
    }
    let (version, store) = (sanitize(&server.version), sanitize(&server.store));
    out.line(format!("control plane  {version}  store: {store}, revision {}", server.revision))?;
    out.line(format!("agents         {}", sanitize(&server.addresses.join(", "))))?;
    out.line(format!("you            {}", sanitize(&server.operator)))
}

/// Asks before what is hard to undo.
fn confirm(question: &str, yes: bool) -> Result<(), Problem> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Problem::Usage(format!("{question}  Say --yes to do it without being asked.")));
    }
    eprint!("{question}  Go? [y/N] ");
    let _ = io::stderr().flush();
    let mut answer = String::new();
    let _ = io::stdin().lock().read_line(&mut answer);
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Problem::Failed("not done".into())),
    }
}
