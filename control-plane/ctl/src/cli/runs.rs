//! `hostlerctl run`

use super::duration;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Work across nodes: a command, or what a task of a spec says
///
/// One word after -- is a line for the shell, as with ssh; more are a program and its
/// arguments.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct RunArgs {
    #[command(subcommand)]
    pub command: Option<RunCommand>,
    #[command(flatten)]
    pub how: HowArgs,
    /// Run this file, with what stands after -- as its arguments
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,
    /// As this user [default: hostler-run, which has no rights]
    #[arg(long)]
    pub user: Option<String>,
    /// Bring this file back from each node: a path from the folder in which the command
    /// begins, an empty one of its own, or from /; up to 8 of 16 MiB each, read as its user
    #[arg(long, value_name = "PATH")]
    pub fetch: Vec<String>,
    /// Where they go, in a folder for each node [default: run-NUMBER]
    #[arg(long, value_name = "DIR", requires = "fetch", conflicts_with = "detach")]
    pub into: Option<PathBuf>,
    /// What is run on each node
    #[arg(last = true, value_name = "COMMAND")]
    pub words: Vec<String>,
}

/// Where, how many at a time, and until when.
#[derive(Args, Debug, Default)]
pub struct HowArgs {
    /// Only on nodes that a selector of labels takes: role=app, `role in (a, b)`
    #[arg(short = 'l', long = "where", value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Only on this node; may be given more than once
    #[arg(long = "node", value_name = "NODE")]
    pub nodes: Vec<String>,
    /// So many nodes at once, such as 2 or 25% [default: all for a command, one for what disturbs]
    #[arg(long)]
    pub max: Option<String>,
    /// So many may fail before nothing else begins [default: all for a command, none for what disturbs]
    #[arg(long)]
    pub max_errors: Option<String>,
    /// So many go first, and all of them must be well
    #[arg(long)]
    pub canary: Option<String>,
    /// How long it may take on one node [default: 10m for a command]
    #[arg(long, value_parser = duration)]
    pub timeout: Option<Duration>,
    /// How long all of it may take
    #[arg(long, value_parser = duration)]
    pub deadline: Option<Duration>,
    /// Nodes begin spread over this time
    #[arg(long, value_parser = duration)]
    pub jitter: Option<Duration>,
    /// Kept with the run
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Say what it would be, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not wait for its end
    #[arg(long)]
    pub detach: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

#[derive(Subcommand, Debug)]
pub enum RunCommand {
    /// Do what a task of a spec says
    Task {
        name: String,
        #[command(flatten)]
        how: HowArgs,
    },
    /// List runs, the newest first
    Ls {
        /// Only those that are not over
        #[arg(long)]
        running: bool,
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Everything about one run: each node, what it printed, what was decided
    Show { number: String },
    /// Follow a run until it is over
    Watch { number: String },
    /// End a run: nothing else begins, and what runs is ended as it can be
    Abort {
        number: String,
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Begin nothing else until it is resumed; what runs goes on
    Pause {
        number: String,
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Let it go on
    Resume { number: String },
    /// Get the files that a run brought back
    ///
    /// They are kept as long as the run is, up to 512 MiB of one run; of all runs together
    /// 2 GiB, of the newest.
    Fetch {
        number: String,
        /// Where they go, in a folder for each node [default: run-NUMBER]
        #[arg(long, value_name = "DIR")]
        into: Option<PathBuf>,
        /// Only those of this node; may be given more than once
        #[arg(long = "node", value_name = "NODE")]
        nodes: Vec<String>,
    },
    /// Do the same on those nodes on which it came to no good end
    Retry {
        number: String,
        #[command(flatten)]
        how: HowArgs,
    },
}
