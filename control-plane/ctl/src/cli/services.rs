//! Services, and why things are as they are.

use super::HowArgs;
use clap::{Args, Subcommand};

#[derive(Subcommand, Debug)]
pub enum ServiceCommand {
    /// List services and where they stand
    Ls {
        /// Only these
        names: Vec<String>,
        /// Only on nodes that a selector takes: role=app, `role in (a, b)`
        #[arg(short = 'l', long = "where", value_name = "SELECTOR")]
        selector: Option<String>,
        /// Only on one node
        #[arg(long)]
        node: Option<String>,
        /// Only of one system
        #[arg(long)]
        system: Option<String>,
    },
    /// Everything about one service: what it is, where it stands, its checks and needs
    Show {
        service: String,
        /// Only on one node
        #[arg(long)]
        node: Option<String>,
    },
    /// Start services
    Start(ActArgs),
    /// Stop services: they stay so until somebody starts them
    Stop(ActArgs),
    /// Restart services, one node after the other
    Restart(ActArgs),
    /// Tell services to read their configuration again
    Reload(ActArgs),
    /// The last lines that a service printed, node by node
    Logs {
        service: String,
        /// So many lines of each node
        #[arg(short = 'n', long = "lines", default_value_t = 50)]
        lines: u32,
        /// Only on nodes that a selector takes
        #[arg(short = 'l', long = "where", value_name = "SELECTOR")]
        selector: Option<String>,
        /// Only on one node
        #[arg(long)]
        node: Option<String>,
    },
    /// What was done to a service, and what was held back, the newest first
    History {
        service: String,
        /// Only on one node
        #[arg(long)]
        node: Option<String>,
        /// The newest so many
        #[arg(short = 'n', long, default_value_t = 20)]
        limit: u32,
    },
}

#[derive(Args, Debug)]
pub struct ActArgs {
    #[arg(required = true)]
    pub names: Vec<String>,
    #[command(flatten)]
    pub how: HowArgs,
}

#[derive(Args, Debug)]
pub struct WhyArgs {
    /// What is asked about: service/NAME, run/NUMBER, schedule/NAME or node/NAME
    #[arg(value_name = "KIND/NAME")]
    pub subject: String,
    /// Only on one node
    #[arg(long)]
    pub node: Option<String>,
    /// The newest so many acts of each node
    #[arg(short = 'n', long, default_value_t = 1)]
    pub limit: u32,
}
