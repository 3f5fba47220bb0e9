//! Operators, their tokens, and roles.

use super::duration;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// What somebody may do.
#[derive(Args, Clone, Debug, Default)]
pub struct Given {
    /// A role; may be given more than once
    #[arg(long = "role", value_name = "ROLE")]
    pub roles: Vec<String>,
    /// Only within this system; may be given more than once; `all` takes the limit away
    #[arg(long = "system", value_name = "SYSTEM")]
    pub systems: Vec<String>,
}

#[derive(Subcommand, Debug)]
pub enum OperatorCommand {
    /// Make an operator: their key is made here, and written with their certificate into a context file
    Create {
        name: String,
        /// Roles and systems; without a role, viewer
        #[command(flatten)]
        given: Given,
        /// The context file to write, to be handed over [default: NAME.contexts.toml]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// How long the certificate is valid
        #[arg(long, value_parser = duration, default_value = "8h")]
        ttl: Duration,
        /// No certificate: they will use tokens only, as programs do
        #[arg(long, conflicts_with_all = ["out", "ttl"])]
        without_certificate: bool,
    },
    /// Give an operator a new certificate; everybody may do it for themselves while theirs counts
    Renew {
        /// Without it, yourself
        name: Option<String>,
        /// The context file to write [default: yourself: the one in use; others: NAME.contexts.toml]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// How long the certificate is valid
        #[arg(long, value_parser = duration, default_value = "8h")]
        ttl: Duration,
    },
    /// List operators
    Ls,
    /// Everything about one operator
    Show { name: String },
    /// Give an operator other roles or systems
    Set {
        name: String,
        #[command(flatten)]
        given: Given,
    },
    /// Shut an operator out for good: refused at once, and cut off where they are connected
    Revoke {
        name: String,
        /// Kept with it, and in the events
        #[arg(long, default_value = "")]
        reason: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Tokens, which programs show instead of a certificate
    #[command(subcommand)]
    Token(OperatorTokenCommand),
}

#[derive(Subcommand, Debug)]
pub enum OperatorTokenCommand {
    /// Make a token; it is shown once
    ///
    /// hostlerctl takes it from HOSTLER_TOKEN, or from a context file that --out
    /// writes. It never allows more than its operator has.
    Create {
        /// Whose; without it, yours
        name: Option<String>,
        /// For how long it works
        #[arg(long, value_parser = duration, default_value = "8h")]
        ttl: Duration,
        #[command(flatten)]
        given: Given,
        /// Write it into a context file, instead of printing it
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List tokens that work, and when each was last used
    Ls {
        /// Whose; without it, everybody's, or yours if you may not see others'
        name: Option<String>,
    },
    /// Make a token stop working, at once
    Rm { id: String },
}

#[derive(Subcommand, Debug)]
pub enum RoleCommand {
    /// List roles, and what each allows
    Ls,
    /// Everything about one role, as `role set -f` takes it
    Show { name: String },
    /// Make or replace a role
    ///
    /// With flags for a role of one rule, or one rule more with --add; or with a
    /// file of several:
    ///
    ///   rules:
    ///     - {verbs: [read, change], kinds: [check, plugin], systems: [shop]}
    ///     - {verbs: [read, act], kinds: [node], where: role=web}
    #[command(verbatim_doc_comment)]
    Set(RoleSetArgs),
    /// Forget a role that nobody has
    Rm {
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Args, Debug)]
pub struct RoleSetArgs {
    pub name: String,
    /// What may be done: read, change, act, push, approve, or all; several with commas between
    #[arg(long = "verb", value_name = "VERB", value_delimiter = ',', required_unless_present = "file")]
    pub verbs: Vec<String>,
    /// To what: a kind of spec, or token, operator, role, key, event, server, or all
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',', required_unless_present = "file")]
    pub kinds: Vec<String>,
    /// Only in this system; may be given more than once
    #[arg(long = "system", value_name = "SYSTEM")]
    pub systems: Vec<String>,
    /// Only on nodes with these labels: role=web
    #[arg(short = 'l', long = "where", value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// One rule more, instead of replacing those there are
    #[arg(long)]
    pub add: bool,
    /// Rules from a file
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["verbs", "kinds", "systems", "selector"])]
    pub file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct CanArgs {
    /// read, change, act, push or approve
    pub verb: String,
    /// A kind such as check or node; or token, operator, role, key, event, server
    pub kind: String,
    /// A node's or an object's name
    pub name: Option<String>,
    /// In which system
    #[arg(long, value_name = "SYSTEM")]
    pub system: Option<String>,
    /// On all nodes with these labels: role=web
    #[arg(short = 'l', long = "where", value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Whether another operator may
    #[arg(long = "as", value_name = "OPERATOR")]
    pub operator: Option<String>,
}
