//! `hostler-executor`: what is said on its command line.

use crate::launch;
use crate::policy::Policy;
use crate::run::{Files, Run};
use crate::take;
use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};
use hostler_types::terminal::sanitize;

/// The root half of hostler-agent: starts it without rights, and does as root what
/// this host's policy allows
#[derive(Debug, Parser)]
#[command(name = "hostler-executor", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the agent, and serve it
    Run(Run),
    /// Show what this host allows
    Policy(Show),
    #[command(hide = true)]
    Launch {
        spec: String,
        #[arg(last = true)]
        argv: Vec<String>,
    },
    #[command(hide = true)]
    Take { spec: String },
}

#[derive(clap::Args, Debug)]
struct Show {
    #[command(flatten)]
    files: Files,
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Table,
    Json,
}

impl Cli {
    pub fn run(self) -> Result<i32> {
        match self.command {
            Command::Run(run) => run.run(),
            Command::Policy(show) => show.run(),
            Command::Launch { spec, argv } => {
                let words = launch::launched(&spec, &argv);
                eprintln!("hostler-executor: {}", sanitize(&words));
                Ok(launch::FAILED_CODE)
            }
            Command::Take { spec } => {
                let taken = take::taken(&spec).inspect_err(|words| eprintln!("{}", sanitize(words)));
                Ok(i32::from(taken.is_err()))
            }
        }
    }
}

impl Show {
    fn run(self) -> Result<i32> {
        let (policy, problem) = Policy::load(&self.files.policy, &self.files.agent_config);
        let problem = problem.map(|problem| problem.to_string());
        let text = match self.output {
            Output::Table => table(&policy),
            Output::Json => json(&policy, problem.as_deref())?,
        };
        use std::io::Write;
        writeln!(std::io::stdout(), "{text}").context("print")?;
        if let Some(problem) = &problem {
            eprintln!("hostler-executor: {}", hostler_types::terminal::sanitize_lines(problem));
        }
        Ok(i32::from(problem.is_some()))
    }
}

fn table(policy: &Policy) -> String {
    let mut lines = vec![format!("{:<10}{}  ({})", "profile", policy.profile, sanitize(&policy.said_by))];
    for (name, list) in policy.lists() {
        let value = match list {
            None => "as the profile says".to_owned(),
            Some(list) if list.values.is_empty() => format!("none  (line {})", list.line),
            Some(list) => format!("{}  (line {})", list.values.join(", "), list.line),
        };
        lines.push(format!("{name:<10}{}", sanitize(&value)));
    }
    lines.join("\n")
}

fn json(policy: &Policy, problem: Option<&str>) -> Result<String> {
    let mut value = serde_json::to_value(policy).context("write the policy")?;
    if let (Some(fields), Some(problem)) = (value.as_object_mut(), problem) {
        fields.insert("problem".into(), problem.into());
    }
    let text = serde_json::to_string_pretty(&value).context("write the policy")?;
    Ok(hostler_types::terminal::sanitize_json(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_as_people_and_programs_read_it() {
        let text = "units = [\"nginx.service\", \"hostler-*\"]\nusers = []\n";
        let file = std::path::Path::new(crate::policy::FILE);
        let otherwise = || Policy::of(hostler_types::Policy::Operate, "the default");
        let policy = Policy::parse(file, text, otherwise).unwrap();
        insta::assert_snapshot!(format!("{}\n\n{}", table(&policy), json(&policy, Some("a \u{1b}problem")).unwrap()));
    }
}
