//! `hostlerctl`: what people and scripts ask of a control plane.
//!
//! Results go to standard output, all else to standard error. Exit 0: done; 1:
//! it failed; 2: the command line is wrong; 3: it waits for a second approval, or,
//! where asked for, there is something to do.

mod cli;
mod client;
mod commands;
mod folder;
mod output;
mod plan_file;
mod plan_view;
mod problem;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("hostlerctl: start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(code) => code,
        Err(problem) => problem.report(),
    }
}
