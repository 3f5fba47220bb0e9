//! `hostler-plugin`: compiles plugins for the agent on this host, and packs and
//! inspects them for their author.
//!
//! The compiler lives here and not in the agent: it costs memory, and what it
//! reads comes from outside. So `compile` first takes from itself what it will
//! not need.

mod build;
mod compile;
mod embedded;
mod new;
mod pack;

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
    /// Show a packed plugin's name, version, grants and digest
    Inspect { file: PathBuf },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Compile(arguments) => compile::compile(&arguments),
        Command::New(arguments) => new::new(&arguments),
        Command::Build(arguments) => build::build(&arguments),
        Command::Pack { component, manifest, output } => pack::pack(&component, &manifest, &output),
        Command::Inspect { file } => pack::inspect(&file),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hostler-plugin: {error:#}");
            ExitCode::FAILURE
        }
    }
}
