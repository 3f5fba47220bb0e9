//! The project's own tasks: `cargo xtask VERB`. One module a verb; `deployment`
//! starts a control plane and an agent for those that need them running.

mod bench;
mod ci;
mod cli;
mod deployment;
mod executor;
mod packages;
mod plugins;
mod ports;
mod process;
mod test;
mod tidy;
mod up;
mod workspace;

use anyhow::{Context, Result, ensure};
use cli::Verb;
use std::process::{Command, ExitCode};
use workspace::Workspace;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let verb = match cli::parse(&arguments) {
        Ok(verb) => verb,
        Err(message) => {
            eprintln!("xtask: {message}");
            return ExitCode::from(2);
        }
    };
    match run(verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<()> {
    let workspace = Workspace::find()?;
    match verb {
        Verb::Help(text) => {
            print!("{text}");
            Ok(())
        }
        Verb::Up { detach } => up::up(&workspace, detach),
        Verb::Down { purge } => up::down(&workspace, purge),
        Verb::Test(options) => test::run(&workspace, &options),
        Verb::Ci => ci::run(&workspace),
        Verb::Bench { which, agents } => bench::run(&workspace, which, agents),
        Verb::Plugins => build_plugins(&workspace),
        Verb::Tidy => tidy::run(&workspace),
        Verb::Codegen => {
            for (package, test) in [("hostler-proto", "generated"), ("hostler-types", "specs")] {
                let arguments = ["test", "--package", package, "--test", test];
                let mut command = Command::new("cargo");
                pass(command.current_dir(&workspace.root).env("HOSTLER_REGENERATE", "1").args(arguments))?;
            }
            Ok(())
        }
        Verb::Crash(arguments) => {
            workspace.build(&["--package", "hostler-crash"])?;
            let program = workspace.target.join("debug/hostler-crash");
            // Its disks are mounted where nobody else sees them.
            let mut command = if packages::is_root() {
                let mut command = Command::new("unshare");
                command.arg("--mount").arg(program);
                command
            } else {
                Command::new(program)
            };
            pass(command.args(arguments))
        }
        Verb::Lab(arguments) => pass(Command::new(workspace.root.join("deploy/lab/lab")).args(arguments)),
    }
}

fn build_plugins(workspace: &Workspace) -> Result<()> {
    for plugin in
        plugins::build(&workspace.root, plugins::Tool::Alone, &mut |line| eprintln!("  plugins        {line}"))?
    {
        println!("{}", plugin.display());
    }
    Ok(())
}

/// Runs a program in our place: its output and its verdict are ours.
fn pass(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("start {name}"))?;
    ensure!(status.success(), "{name} ended with {status}");
    Ok(())
}
