//! `hostler-control-plane`: the one server of a fleet.

use clap::Parser;
use hostler_control_plane::config::{Config, Settings};
use hostler_control_plane::upkeep::{self, Command};
use hostler_control_plane::{app::App, logging};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The server of a fleet: agents connect to it, hostlerctl asks it.
#[derive(Parser)]
#[command(name = "hostler-control-plane", version)]
struct Cli {
    /// The configuration file [default: /etc/hostler/control-plane.toml, if it is there]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Say whether the configuration is good, and stop
    #[arg(long)]
    check_config: bool,
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hostler-control-plane: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well.
fn run(cli: Cli) -> anyhow::Result<bool> {
    let config = Config::load(cli.config.as_deref(), cli.settings)?;
    if cli.check_config {
        println!("the configuration is good");
        return Ok(true);
    }
    if let Some(command) = cli.command {
        return upkeep::run(&config, command);
    }
    logging::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stopping = stop.clone();
        let running = App::run(config, stop);
        tokio::pin!(running);
        tokio::select! {
            outcome = &mut running => return Ok(outcome.map(|()| true)?),
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopping.cancel();
        Ok(running.await.map(|()| true)?)
    })
}
