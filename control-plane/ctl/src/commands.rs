//! One module a noun; here only who does what.

mod access;
mod checks;
mod contexts;
mod events;
mod nodes;
mod plugins;
mod specs;

use crate::cli::{Cli, Command, Format};
use crate::client;
use crate::output::Out;
use crate::problem::Problem;
use hostler_proto::admin as wire;
use std::io::{self, BufRead, IsTerminal, Write};

pub async fn run(cli: Cli) -> Result<(), Problem> {
    let (global, out) = (&cli.global, Out::new());
    // What needs no control plane.
    if let Command::Context(command) = cli.command {
        return contexts::run(global, &out, command);
    }
    if let Command::Apply(args) = &cli.command {
        // A spec that is wrong is told before anything is asked.
        let documents = specs::read(&args.file)?;
        let client = client::connect(global).await?;
        return specs::apply(client, &out, global.output, documents, args.dry_run).await;
    }
    let client = client::connect(global).await?;
    let format = global.output;
    match cli.command {
        Command::Node(command) => nodes::run(client, &out, format, command).await,
        Command::Check(command) => checks::run(client, &out, format, command).await,
        Command::Token(command) => access::token(client, &out, format, command).await,
        Command::Operator(command) => access::operator(client, &out, format, command).await,
        Command::Plugin(command) => plugins::run(client, &out, format, command).await,
        Command::Get(args) => specs::get(client, &out, format, args).await,
        Command::Delete(args) => specs::delete(client, &out, args).await,
        Command::Events(args) => events::run(client, &out, format, args).await,
        Command::Status => status(client, &out, format).await,
        Command::Context(_) | Command::Apply(_) => Ok(()),
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
    out.line(format!("control plane  {}  store: {}, revision {}", server.version, server.store, server.revision))?;
    out.line(format!("agents         {}", server.addresses.join(", ")))?;
    out.line(format!("you            {}", server.operator))
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
