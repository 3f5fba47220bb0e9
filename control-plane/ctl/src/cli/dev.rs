//! To try things, and to come from elsewhere.

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Subcommand, Debug)]
pub enum DevCommand {
    /// Make the demo of `cargo xtask up` fail, and watch it heal
    Break {
        /// The demo's service
        service: String,
        /// Where it runs on several
        #[arg(long)]
        node: Option<String>,
    },
}

#[derive(Subcommand, Debug)]
pub enum ImportCommand {
    /// Print a service for a systemd unit: adopted as it is, or to be Hostler's own
    Systemd(SystemdArgs),
}

#[derive(Args, Debug)]
pub struct SystemdArgs {
    /// As `systemctl cat` knows it here: nginx, postgresql@15-main.service
    #[arg(required_unless_present = "file")]
    pub unit: Option<String>,
    /// Read the unit from a file, or from standard input with -; its name is UNIT, or the file's
    #[arg(short = 'f', long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Say what it runs, in place of the unit's name: the unit itself is not needed any more
    #[arg(long)]
    pub own: bool,
    /// The nodes that it runs on
    #[arg(short = 'l', long = "where", value_name = "SELECTOR", default_value = "all")]
    pub selector: String,
}
