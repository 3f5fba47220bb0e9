//! `hostler-agent`: what runs on each host of a fleet.

use clap::Parser;
use hostler_agent::cli::Cli;
use hostler_agent::memory;
use hostler_types::terminal::sanitize_lines;
use std::process::ExitCode;

fn main() -> ExitCode {
    memory::one_arena();
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if hostler_agent::cli::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Some of it may be what another machine said.
            eprintln!("hostler-agent: {}", sanitize_lines(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}
