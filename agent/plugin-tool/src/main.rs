//! `hostler-plugin`: compiles plugins for the agent on this host, and packs and
//! inspects them for their author.
//!
//! The compiler lives here and not in the agent: it costs memory, and what it
//! reads comes from outside. So `compile` first takes from itself what it will
//! not need.

mod build;
mod called_as;
mod case;
mod compile;
mod embedded;
mod keygen;
mod lint;
mod new;
mod output;
mod pack;
mod real_host;
mod record;
mod sign;
mod subject;
mod test;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "hostler-plugin", version, about = "Begins, builds, compiles and inspects Hostler plugins")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compile a component for this host's processor (run by the agent)
    Compile(compile::Arguments),
    /// Put plugin.toml into a component
    Pack {
        #[arg(long, value_name = "FILE")]
        component: PathBuf,
        #[arg(long, value_name = "FILE")]
        manifest: PathBuf,
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Begin a plugin in a new folder
    New(new::Arguments),
    /// Build a plugin from its folder, with the compiler installed for its language
    Build(build::Arguments),
    /// Run a plugin's test cases in the host that nodes run it in
    Test(test::Arguments),
    /// Run a plugin once on this machine, and write down what happens as a test case
    Record(record::Arguments),
    /// Look for what is wrong with a plugin before it is pushed
    Lint(lint::Arguments),
    /// Make a key pair for signing plugins
    Keygen(keygen::Arguments),
    /// Sign a built plugin, in its place
    Sign(sign::Arguments),
    /// Show a packed plugin's name, version, grants, signature and digest
    Inspect { file: PathBuf },
}

fn main() -> ExitCode {
    let done = |()| ExitCode::SUCCESS;
    let mut failure = ExitCode::FAILURE;
    let result = match Arguments::parse().command {
        Command::Compile(arguments) => compile::compile(&arguments).map(done),
        Command::New(arguments) => new::new(&arguments).map(done),
        Command::Build(arguments) => build::build(&arguments).map(done),
        Command::Test(arguments) => {
            failure = ExitCode::from(test::EXIT_BROKEN);
            test::test(&arguments)
        }
        Command::Record(arguments) => record::record(&arguments).map(done),
        Command::Lint(arguments) => lint::lint(&arguments),
        Command::Keygen(arguments) => keygen::keygen(&arguments).map(done),
        Command::Sign(arguments) => sign::sign(&arguments).map(done),
        Command::Pack { component, manifest, output } => pack::pack(&component, &manifest, &output).map(done),
        Command::Inspect { file } => pack::inspect(&file).map(done),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}: {error:#}", called_as::called_as());
            failure
        }
    }
}
