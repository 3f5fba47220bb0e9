//! The command line. A flag and the spec's field of the same meaning share a
//! name.

mod access;
mod approvals;
pub mod brakes;
mod dev;
mod runs;
mod schedules;
mod services;

pub use access::{CanArgs, Given, OperatorCommand, OperatorTokenCommand, RoleCommand, RoleSetArgs};
pub use approvals::ApproveCommand;
pub use dev::{DevCommand, ImportCommand, SystemdArgs};
pub use runs::{HowArgs, RunArgs, RunCommand};
pub use schedules::ScheduleCommand;
pub use services::{ActArgs, ServiceCommand, WhyArgs};

use brakes::{FreezeArgs, MaintenanceArgs, ThawArgs};
use clap::{Args, Parser, Subcommand, ValueEnum};
use hostler_types::selector::parse_label;
use hostler_types::units::parse_duration;
use std::path::PathBuf;
use std::time::Duration;

/// Looks after your hosts: asks and tells the control plane.
#[derive(Parser, Debug)]
#[command(name = "hostlerctl", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args, Debug)]
pub struct Global {
    /// Which control plane, by its name in the context file
    #[arg(long, global = true, value_name = "NAME", env = "HOSTLER_CONTEXT")]
    pub context: Option<String>,
    /// Where the context file is [default: ~/.config/hostler/contexts.toml, then /etc/hostler/contexts.toml]
    #[arg(long, global = true, value_name = "FILE", env = "HOSTLER_CONTEXT_FILE")]
    pub context_file: Option<PathBuf>,
    /// How results are printed
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// In an emergency: do without a second approval, if you may; people are told why
    #[arg(long, global = true, value_name = "REASON")]
    pub override_approval: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For scripts
    Json,
    /// As it would be written in a spec
    Yaml,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Nodes: the hosts that joined
    #[command(subcommand)]
    Node(NodeCommand),
    /// Checks, and where each stands on each node
    #[command(subcommand)]
    Check(CheckCommand),
    /// Services: what runs on nodes
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Work across nodes: a command, or what a task of a spec says
    Run(Box<RunArgs>),
    /// Schedules: what is done when it is due
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Why a service, a run or a schedule is as it is: what was seen, which rule, what was refused
    Why(WhyArgs),
    /// Try things on the demo of `cargo xtask up`
    #[command(subcommand)]
    Dev(DevCommand),
    /// Join codes, by which hosts get in
    #[command(subcommand)]
    Token(TokenCommand),
    /// Plugins that were pushed
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Secrets: values that specs name and never hold
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Look for mistakes in specs, without a control plane
    Lint(LintArgs),
    /// Say what applying specs would change, and what that does
    Plan(PlanArgs),
    /// Show the same line by line
    Diff(DiffArgs),
    /// Apply specs: all of them, or none when anything is wrong
    Apply(ApplyArgs),
    /// Systems: what was applied as one folder, and every version of it
    #[command(subcommand)]
    System(SystemCommand),
    /// Say what a kind or a field of a spec means
    Explain(ExplainArgs),
    /// Print the JSON schema of specs, for editors
    Schema(SchemaArgs),
    /// Print specs for what is there without Hostler
    #[command(subcommand)]
    Import(ImportCommand),
    /// Print applied objects as they would be written
    Get(GetArgs),
    /// Delete applied objects
    Delete(DeleteArgs),
    /// What happened
    Events(EventsArgs),
    /// Who called what, from where, on what, and whether it was let
    Audit(AuditArgs),
    /// Alerts: what is wrong, who was told, and who sees to it
    #[command(subcommand)]
    Alert(AlertCommand),
    /// Hold back whatever acts by itself: healing, runs, schedules, deploys; checks and alerts go on
    Freeze(FreezeArgs),
    /// Let it act again
    Thaw(ThawArgs),
    /// What waits for a second person's yes
    #[command(subcommand)]
    Approve(ApproveCommand),
    /// What is not as it should be, and how to mend it; exits with 1 where something is
    Doctor,
    /// Operators: who may ask the control plane
    #[command(subcommand)]
    Operator(OperatorCommand),
    /// Roles: what operators may do
    #[command(subcommand)]
    Role(RoleCommand),
    /// Whether you may do something, or who else; says by which role, or what is missing
    Can(CanArgs),
    /// Who you are to the control plane, and what you may do
    Whoami,
    /// Which control planes this machine knows
    #[command(subcommand)]
    Context(ContextCommand),
    /// The control plane itself
    Status,
}

#[derive(Subcommand, Debug)]
pub enum NodeCommand {
    /// List nodes
    Ls {
        /// Only nodes that a selector takes: role=app, `role in (a, b)`, os.id=debian
        #[arg(short = 'l', long = "where", value_name = "SELECTOR")]
        selector: Option<String>,
    },
    /// Everything about one node
    Show { node: String },
    /// What the host itself allows, asked of it now: profile, units, paths, users, packages, commands
    Policy { node: String },
    /// Hold back whatever acts by itself on some nodes, while somebody works on them
    Maintenance(MaintenanceArgs),
    /// Shut a node out: its stream is cut, and it stays out
    Revoke {
        node: String,
        /// Kept with it, and in the events
        #[arg(long, default_value = "")]
        reason: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Forget a node that is revoked, lost or never came
    Rm {
        node: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Subcommand, Debug)]
pub enum CheckCommand {
    /// List checks and where they stand
    Ls {
        /// Only those on one node
        #[arg(long)]
        node: Option<String>,
    },
    /// Everything about one check, on each of its nodes
    Show {
        check: String,
        /// Only on one node
        #[arg(long)]
        node: Option<String>,
    },
}

#[derive(Subcommand, Debug)]
pub enum SecretCommand {
    /// Give a secret its value: from standard input, a file, or made here
    ///
    /// Never as an argument: other users see those, and shells keep them.
    Set {
        name: String,
        #[command(flatten)]
        value: SecretValue,
    },
    /// Give a secret that has a value another one; without any, one is made
    Rotate {
        name: String,
        #[command(flatten)]
        value: SecretValue,
        /// Read it from standard input
        #[arg(long, conflicts_with_all = ["file", "generate"])]
        stdin: bool,
    },
    /// List secrets: where they are used, and never what they are
    Ls,
    /// Remove a secret that nothing uses any more
    Rm {
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Seal every value anew, under a new master key
    Rekey,
}

#[derive(Args, Debug)]
pub struct SecretValue {
    /// Read it from a file, without the line end at its end
    #[arg(long, value_name = "FILE", conflicts_with = "generate")]
    pub file: Option<PathBuf>,
    /// Have one made, of so many letters and digits
    #[arg(long, value_name = "LENGTH", num_args = 0..=1, default_missing_value = "32")]
    pub generate: Option<u32>,
}

#[derive(Subcommand, Debug)]
pub enum TokenCommand {
    /// Make a join code, and print what to type on the new host
    ///
    /// Without curl, or behind a proxy: copy hostler-agent and hostler-plugin to
    /// the host, and run `hostler-agent join CODE` there as root. The code alone
    /// is printed with -o json.
    Create {
        /// For how long it works
        #[arg(long, value_parser = duration, default_value = "15m")]
        ttl: Duration,
        /// For how many hosts it works
        #[arg(long, default_value_t = 1)]
        uses: u32,
        /// A label for the hosts that join with it; may be given more than once
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
    },
    /// List join codes that still work
    Ls,
    /// Make a join code stop working
    Rm { id: String },
}

#[derive(Subcommand, Debug)]
pub enum PluginCommand {
    /// Begin a plugin: a folder that builds, with a test
    #[command(disable_help_flag = true)]
    New(ToolArgs),
    /// Build a plugin's folder into one file, whatever its language
    #[command(disable_help_flag = true)]
    Build(ToolArgs),
    /// Run a plugin's test cases in the real host, with recorded answers
    #[command(disable_help_flag = true)]
    Test(ToolArgs),
    /// Run a plugin once for real, and keep what it asked and was told as a test case
    #[command(disable_help_flag = true)]
    Record(ToolArgs),
    /// Look for mistakes in a built plugin
    #[command(disable_help_flag = true)]
    Lint(ToolArgs),
    /// Make a key to sign plugins with
    #[command(disable_help_flag = true)]
    Keygen(ToolArgs),
    /// Sign a built plugin
    #[command(disable_help_flag = true)]
    Sign(ToolArgs),
    /// Push a plugin: a component with its manifest inside
    Push {
        file: PathBuf,
        /// Approve what it asks for, if that is more than before
        #[arg(long)]
        approve: bool,
    },
    /// Give a version that waits what it asks for
    Approve {
        name: String,
        /// Without it, the newest that waits
        #[arg(id = "number", value_name = "VERSION")]
        version: Option<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// What one version asks for and another does not
    Diff {
        /// NAME, NAME@VERSION, or a file
        old: String,
        new: String,
    },
    /// List plugins
    Ls,
    /// Forget a version that nothing runs
    Rm {
        name: String,
        #[arg(id = "number", value_name = "VERSION")]
        version: String,
    },
    /// What plugins cost: processor, memory, calls, bytes, series, by node
    Top {
        /// Only on one node
        #[arg(long)]
        node: Option<String>,
        /// Only one plugin
        #[arg(long)]
        plugin: Option<String>,
        /// A line a node, instead of a line a plugin
        #[arg(long)]
        by_node: bool,
    },
    /// Whose signatures count
    #[command(subcommand)]
    Trust(TrustCommand),
}

/// What hostler-plugin is told, as it is.
#[derive(Args, Debug)]
pub struct ToolArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    pub arguments: Vec<String>,
}

#[derive(Subcommand, Debug)]
pub enum TrustCommand {
    /// Trust a key: from the first one on, only signed plugins are taken
    Add {
        name: String,
        /// The .pub file of `plugin keygen`
        file: PathBuf,
    },
    /// List trusted keys
    Ls,
    /// Trust a key no more
    Rm {
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Which spec, in which environment.
#[derive(Args, Clone, Debug)]
pub struct SpecArgs {
    /// A system's folder, or a file; - for standard input
    #[arg(short, long, value_name = "FOLDER|FILE", required = true)]
    pub file: Vec<PathBuf>,
    /// The environment: env/NAME.yaml is laid over the rest
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,
}

#[derive(Args, Debug)]
pub struct LintArgs {
    #[command(flatten)]
    pub spec: SpecArgs,
    /// In each of the folder's environments, as without --env
    #[arg(long, conflicts_with = "env")]
    pub all_envs: bool,
}

#[derive(Args, Debug)]
pub struct PlanArgs {
    #[command(flatten)]
    pub spec: SpecArgs,
    /// Also keep the plan in a file, for apply --plan
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Exit with 3 when there is something to do
    #[arg(long)]
    pub detailed_exitcode: bool,
}

#[derive(Args, Debug)]
pub struct DiffArgs {
    #[command(flatten)]
    pub spec: SpecArgs,
    /// Exit with 3 when there is something to do
    #[arg(long)]
    pub detailed_exitcode: bool,
}

#[derive(Args, Debug)]
pub struct ApplyArgs {
    /// A system's folder, or a file; - for standard input
    #[arg(short, long, value_name = "FOLDER|FILE", required_unless_present = "plan", conflicts_with = "plan")]
    pub file: Vec<PathBuf>,
    /// The environment: env/NAME.yaml is laid over the rest
    #[arg(long, value_name = "NAME", conflicts_with = "plan")]
    pub env: Option<String>,
    /// A plan that plan --out kept: exactly that, and only if nothing changed since
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Why; kept in the history
    #[arg(short, long, value_name = "WHY")]
    pub message: Option<String>,
    /// Say what would change, and change nothing
    #[arg(long, conflicts_with = "plan")]
    pub dry_run: bool,
    /// Do not ask before something is deleted
    #[arg(long)]
    pub yes: bool,
    /// If it has to wait for a second approval: wait, and say how it ended; else it exits with 3
    #[arg(long)]
    pub wait: bool,
}

impl ApplyArgs {
    pub fn spec(&self) -> SpecArgs {
        SpecArgs { file: self.file.clone(), env: self.env.clone() }
    }
}

#[derive(Subcommand, Debug)]
pub enum SystemCommand {
    /// List systems
    Ls,
    /// What is in a system, or was in a version of it
    Show {
        #[arg(value_name = "NAME[@N]")]
        system: String,
    },
    /// Every version of a system that is kept, the newest first
    History {
        name: String,
        /// With what each one changed
        #[arg(long)]
        diff: bool,
    },
    /// Apply an old version of a system again, as its newest one
    Rollback {
        #[arg(value_name = "NAME@N")]
        system: String,
        /// Why; kept in the history
        #[arg(short, long, value_name = "WHY")]
        message: Option<String>,
        /// Say what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Do not ask before something is deleted
        #[arg(long)]
        yes: bool,
        /// If it has to wait for a second approval: wait, and say how it ended; else it exits with 3
        #[arg(long)]
        wait: bool,
    },
    /// Save the control plane itself: state, keys and plugins, to come back on another machine
    Backup {
        /// Where to; must not be there yet
        file: PathBuf,
        /// Seal it with the passphrase on the first line of this file
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
}

#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// A kind, or a field of one: service.rollout.canary
    pub path: Option<String>,
}

#[derive(Args, Debug)]
pub struct SchemaArgs {
    /// Of env/NAME.yaml, where nothing is required and null removes
    #[arg(long)]
    pub overlay: bool,
}

#[derive(Args, Debug)]
pub struct GetArgs {
    /// A kind such as check, several with commas between, or all
    pub kind: String,
    pub name: Option<String>,
    /// With every default, and where each value was written
    #[arg(long)]
    pub full: bool,
}

#[derive(Args, Debug)]
pub struct DeleteArgs {
    /// A kind such as check; a system goes with all of its objects
    pub kind: String,
    #[arg(required = true)]
    pub names: Vec<String>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

#[derive(Args, Debug)]
pub struct EventsArgs {
    /// Go on printing as they happen
    #[arg(short, long)]
    pub watch: bool,
    /// Only those of one node
    #[arg(long)]
    pub node: Option<String>,
    /// Only of one kind: node, check, service, plugin, spec, agent, operator, secret, server, notice, approval
    #[arg(long)]
    pub kind: Option<String>,
    /// Only about one check, service, plugin or node
    #[arg(long)]
    pub subject: Option<String>,
    /// Only those of the last so long, such as 1h
    #[arg(long, value_parser = duration)]
    pub since: Option<Duration>,
    /// Only those after this one (its seq)
    #[arg(long, value_name = "SEQ")]
    pub after: Option<String>,
    /// The newest so many
    #[arg(short = 'n', long, default_value_t = 50)]
    pub limit: u32,
}

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct AuditArgs {
    #[command(subcommand)]
    pub command: Option<AuditCommand>,
    #[command(flatten)]
    pub list: AuditListArgs,
}

#[derive(Args, Debug, Default)]
pub struct AuditListArgs {
    /// Only calls by one operator or node
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Only calls on one thing, such as node/web1, or on one kind of thing, such as node
    #[arg(long, value_name = "NOUN/NAME")]
    pub on: Option<String>,
    /// Only those of the last so long, such as 2h
    #[arg(long, value_parser = duration)]
    pub since: Option<Duration>,
    /// Only those that are at least so long ago
    #[arg(long, value_parser = duration)]
    pub until: Option<Duration>,
    /// Only calls that were refused
    #[arg(long)]
    pub refused: bool,
    /// The newest so many [default: 50; with -o json, all, as JSON lines]
    #[arg(short = 'n', long)]
    pub limit: Option<u64>,
}

#[derive(Subcommand, Debug)]
pub enum AuditCommand {
    /// Read the whole log, and name the first record that is not what was written
    Verify {
        /// The folder of a control plane that does not run
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
}

#[derive(Subcommand, Debug)]
pub enum AlertCommand {
    /// List what is wrong, the worst first
    Ls {
        /// Also what is over, of the last week
        #[arg(long)]
        all: bool,
    },
    /// Everything about one alert: NODE, NODE/CHECK, FLEET, FLEET/CHECK or SCHEDULE/NAME
    Show {
        #[arg(value_name = "ALERT")]
        name: String,
    },
    /// Say that you see to it: nobody is reminded until then
    Ack {
        #[arg(value_name = "ALERT")]
        name: String,
        /// For how long
        #[arg(long = "for", value_parser = duration, default_value = "4h", value_name = "DURATION")]
        for_: Duration,
        /// Kept with it
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Tell nobody of some nodes or checks for a while; what is still wrong then is told
    Silence {
        /// The nodes, by their labels: role=db, name=web1, all
        #[arg(short = 'l', long = "where", value_name = "SELECTOR", required_unless_present = "check")]
        selector: Option<String>,
        /// Only this check, and not the nodes themselves
        #[arg(long)]
        check: Option<String>,
        /// For how long
        #[arg(long = "for", value_parser = duration, value_name = "DURATION")]
        for_: Duration,
        /// Kept with it, for the others
        #[arg(long)]
        reason: String,
    },
    /// List silences
    Silences,
    /// End a silence
    Unsilence { id: String },
    /// Send a test notice right now, and say what the other server answers
    Test { notifier: String },
}

#[derive(Subcommand, Debug)]
pub enum ContextCommand {
    /// List control planes
    Ls,
    /// Choose the one that is asked from now on
    Use { name: String },
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

fn label(text: &str) -> Result<(String, String), String> {
    parse_label(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_contradicts_itself_is_refused_with_the_names_of_both() {
        for (line, told) in [
            ("apply", "--file"),
            ("apply -f shop --plan plan.json", "--plan"),
            ("apply --plan plan.json --env prod", "--env"),
            ("apply --plan plan.json --dry-run", "--dry-run"),
            ("lint -f shop --env prod --all-envs", "--all-envs"),
            ("plan -f shop --outt plan.json", "'--out'"),
            ("system rolback shop@3", "'rollback'"),
            ("system rollback", "<NAME@N>"),
        ] {
            let words = ["hostlerctl"].into_iter().chain(line.split(' '));
            let error = Cli::try_parse_from(words).expect_err(line);
            assert!(error.use_stderr() && error.to_string().contains(told), "{line}: {error}");
        }
        for line in ["apply --plan plan.json --yes -m why", "plan -f a -f b --env prod --out p", "get all", "lint -f -"]
        {
            let words = ["hostlerctl"].into_iter().chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
    }
}
