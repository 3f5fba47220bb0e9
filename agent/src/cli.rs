//! The command line.

use crate::config::Config;
use crate::join::Join;
use crate::status::{self, Output};
use crate::uninstall::Uninstall;
use crate::{app, bench, logging};
use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Looks after this host: runs its checks and reports to the control plane.
#[derive(Parser)]
#[command(name = "hostler-agent", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make this host a node of a fleet
    Join(Join),
    /// Run the agent
    Run {
        #[command(flatten)]
        config: ConfigFile,
        /// Say whether the configuration is good, and stop
        #[arg(long)]
        check_config: bool,
    },
    /// How the agent on this host does
    Status {
        #[command(flatten)]
        config: ConfigFile,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// How the checks of this host stand, with or without a control plane
    Check {
        #[command(flatten)]
        config: ConfigFile,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Remove the agent from this host, with all it has kept
    Uninstall(Uninstall),
    /// Measure the whole way of a check
    #[command(hide = true)]
    BenchCheck(bench::Bench),
}

#[derive(clap::Args)]
struct ConfigFile {
    /// The configuration file [default: /etc/hostler/agent.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    fn load(&self) -> Result<Config> {
        Ok(Config::load(self.config.as_deref().map(Path::new))?)
    }
}

impl Cli {
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Join(join) => join.run(),
            Command::Run { config, check_config: true } => {
                app::check(&config.load()?)?;
                println!("the configuration is good");
                Ok(())
            }
            Command::Run { config, check_config: false } => run(config.load()?),
            Command::Status { config, output } => status::status(&config.load()?, output),
            Command::Check { config, output } => status::checks(&config.load()?, output),
            Command::Uninstall(uninstall) => uninstall.run(),
            Command::BenchCheck(bench) => bench.run(),
        }
    }
}

fn run(config: Config) -> Result<()> {
    logging::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Blocking work is a file now and then; idle threads only hold stacks.
        .max_blocking_threads(4)
        .thread_keep_alive(std::time::Duration::from_secs(2))
        .thread_stack_size(512 * 1024)
        .build()?;
    let outcome = runtime.block_on(async {
        let stop = CancellationToken::new();
        let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stopping = stop.clone();
        let running = app::run(config, stop);
        tokio::pin!(running);
        tokio::select! {
            outcome = &mut running => return outcome,
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopping.cancel();
        running.await
    });
    // A blocked fsync must not hold the stop up any longer than the grace did.
    runtime.shutdown_background();
    outcome
}

/// Whoever reads our output has seen enough: that is no failure.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
