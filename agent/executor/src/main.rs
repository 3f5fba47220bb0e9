//! `hostler-executor`: the root half of an agent.

use clap::Parser;
use hostler_executor::cli::Cli;
use hostler_executor::memory;
use hostler_types::terminal::sanitize_lines;
use std::process::exit;

fn main() {
    memory::one_arena();
    match Cli::parse().run() {
        Ok(code) => exit(code),
        Err(error) => {
            eprintln!("hostler-executor: {}", sanitize_lines(&format!("{error:#}")));
            exit(1);
        }
    }
}
