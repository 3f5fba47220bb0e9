//! The command line.

mod services;

use crate::config::Config;
use crate::demo::Demo;
use crate::join::Join;
use crate::status::{self, Output};
use crate::uninstall::Uninstall;
use crate::{app, bench, logging};
use anyhow::Result;
use clap::{Parser, Subcommand};
use hostler_types::Name;
use std::path::{Path, PathBuf};
use std::time::Duration;
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
    /// The services of this host: list them, start, stop, restart, reload
    Service {
        #[command(flatten)]
        config: ConfigFile,
        #[command(subcommand)]
        what: services::What,
    },
    /// The last lines that a service printed
    Logs {
        #[command(flatten)]
        config: ConfigFile,
        service: Name,
        /// How many
        #[arg(short = 'n', long, default_value_t = 50, value_name = "LINES")]
        lines: u32,
    },
    /// What was done about a service of late, or not, and why
    Why {
        #[command(flatten)]
        config: ConfigFile,
        /// A service; all of them without it
        service: Option<Name>,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Leave services that end or fail as they are; checks go on
    Pause {
        #[command(flatten)]
        config: ConfigFile,
        /// For how long; until `hostler-agent resume` without it
        #[arg(long = "for", value_name = "DURATION", value_parser = services::duration)]
        for_: Option<Duration>,
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Look after services again
    Resume {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Remove the agent from this host, with all it has kept
    Uninstall(Uninstall),
    /// Measure the whole way of a check
    #[command(hide = true)]
    BenchCheck(bench::Bench),
    /// A service to try things on
    #[command(hide = true)]
    Demo(Demo),
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
            Command::Service { config, what } => services::run(&config.load()?, what),
            Command::Logs { config, service, lines } => services::logs(&config.load()?, service, lines),
            Command::Why { config, service, output } => services::why(&config.load()?, service, output),
            Command::Pause { config, for_, reason } => services::pause(&config.load()?, for_, reason),
            Command::Resume { config } => services::resume(&config.load()?),
            Command::Uninstall(uninstall) => uninstall.run(),
            Command::BenchCheck(bench) => bench.run(),
            Command::Demo(demo) => demo.run(),
        }
    }
}

fn run(config: Config) -> Result<()> {
    logging::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Blocking work is a file now and then; idle threads only hold stacks.
        .max_blocking_threads(4)
        .thread_keep_alive(Duration::from_secs(2))
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
