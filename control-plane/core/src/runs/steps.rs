//! What a run is asked to do, as steps and numbers.

use hostler_types::ServiceVerb;
use hostler_types::spec::{Amount, Step, TaskSpec, secrets_in};
use hostler_types::task::{Command, TaskStep};
use hostler_types::units::parse_share;
use std::time::Duration;

/// A check that does not pass by then does not pass.
const CHECK_WITHIN: Duration = Duration::from_secs(300);

/// A task's steps; or what of it can't be done.
pub fn of_task(spec: &TaskSpec) -> Result<Vec<TaskStep>, String> {
    spec.steps.iter().enumerate().map(|(index, step)| of_step(index + 1, step)).collect()
}

fn of_step(number: usize, step: &Step) -> Result<TaskStep, String> {
    Ok(match step {
        Step::Drain => TaskStep::Drain,
        Step::Undrain => TaskStep::Undrain,
        Step::Packages(which) => TaskStep::Packages(*which),
        Step::Reboot(when) => TaskStep::Reboot(*when),
        Step::Check(check) => TaskStep::Check { check: check.name.clone(), within: CHECK_WITHIN },
        Step::Restart(service) => TaskStep::Service { service: service.name.clone(), verb: ServiceVerb::Restart },
        Step::Backup(backup) => {
            return Err(format!("step {number} backs up {}, which no node can do yet", backup.name));
        }
        Step::Run(text) => {
            if !secrets_in(&text.0.as_str().into()).is_empty() || text.0.contains("${node.") {
                return Err(format!("step {number} has a reference in its command, which steps can't fill in yet"));
            }
            TaskStep::Command(shell(&text.0))
        }
    })
}

/// A line of a spec, for the shell.
pub fn shell(text: &str) -> Command {
    Command { argv: ["/bin/sh", "-c", text].map(str::to_owned).into(), ..Command::default() }
}

/// One word is a line for the shell, as with ssh; more are a program and its arguments.
pub fn free(words: &[String], user: Option<String>) -> Command {
    match words {
        [line] => Command { user, free: true, ..shell(line) },
        words => Command { argv: words.to_vec(), user, free: true, script: None },
    }
}

/// `2` or `25%` of so many; a share is rounded down, and is one at least where nothing
/// would never begin.
pub fn amount(flag: &str, text: &str, nodes: usize, least: usize) -> Result<usize, String> {
    let wrong = || format!("{flag} {text} is no number of nodes: write it like 2 or 25%");
    if text.ends_with('%') {
        let share = parse_share(text).map_err(|_| wrong())?;
        return Ok(part(share.fraction(), nodes).max(least));
    }
    let count: usize = text.parse().map_err(|_| wrong())?;
    if count < least { Err(format!("{flag} {text} would do nothing: write {least} or more")) } else { Ok(count) }
}

/// The same, as a spec says it.
pub fn amount_of(amount: Amount, nodes: usize, least: usize) -> usize {
    match amount {
        Amount::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
        Amount::Share(share) => part(share.fraction(), nodes),
    }
    .max(least)
}

/// Of so many nodes, rounded down.
pub fn part(fraction: f64, nodes: usize) -> usize {
    // 29% of 100 is 29, and a hair less in binary.
    (fraction.min(1.0) * nodes as f64 + 1e-9).floor() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_of_the_nodes() {
        assert_eq!(amount("--max", "25%", 6, 1), Ok(1));
        assert_eq!(amount("--max", "1%", 6, 1), Ok(1));
        assert_eq!(amount("--max-errors", "1%", 6, 0), Ok(0));
        assert_eq!(amount("--max", "29%", 100, 1), Ok(29));
        assert_eq!(amount("--max", "4", 2, 1), Ok(4));
        assert_eq!(amount("--max-errors", "0", 2, 0), Ok(0));
        assert!(amount("--max", "0", 2, 1).is_err_and(|words| words.contains("would do nothing")));
        assert!(amount("--max", "some", 2, 1).is_err_and(|words| words.contains("like 2 or 25%")));
    }

    #[test]
    fn one_word_is_for_the_shell_and_more_are_not() {
        let words = |all: &[&str]| all.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        assert_eq!(free(&words(&["df | tail -1"]), None).argv, words(&["/bin/sh", "-c", "df | tail -1"]));
        let plain = free(&words(&["echo", "a b"]), Some("shop".to_owned()));
        assert!(plain.argv == words(&["echo", "a b"]) && plain.free && plain.user.as_deref() == Some("shop"));
    }
}
