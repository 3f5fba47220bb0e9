//! What a run is asked to do, as steps and numbers.

use crate::services::{Known, resolved};
use hostler_types::service::FileAssignment;
use hostler_types::spec::{
    Amount, FileStep, OnChange, RunStep, Step, TaskSpec, names_secret, on_node as on_node_json, secrets_in,
};
use hostler_types::task::{Action, Command, SystemUser, TaskStep};
use hostler_types::units::parse_share;
use hostler_types::{FetchPath, Name, ServiceVerb};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
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
        Step::Check(check) => {
            let within = check.within.map_or(CHECK_WITHIN, |within| within.0);
            TaskStep::Check { check: check.name.name.clone(), within }
        }
        Step::Start(service) => TaskStep::Service { service: service.name.clone(), verb: ServiceVerb::Start },
        Step::Stop(service) => TaskStep::Service { service: service.name.clone(), verb: ServiceVerb::Stop },
        Step::Restart(service) => TaskStep::Service { service: service.name.clone(), verb: ServiceVerb::Restart },
        Step::Reload(service) => TaskStep::Service { service: service.name.clone(), verb: ServiceVerb::Reload },
        Step::Wait(time) => TaskStep::Wait(time.0),
        Step::Backup(backup) => {
            return Err(format!("step {number} backs up {}, which no node can do yet", backup.name));
        }
        Step::Run(run) => TaskStep::Command(of_run(number, run)?),
        Step::User(user) => {
            TaskStep::User(SystemUser { name: user.name.clone(), home: user.home.clone(), groups: user.groups.clone() })
        }
        Step::File(file) => TaskStep::File(Box::new(of_file(file))),
        Step::Firewall(one) => TaskStep::Firewall { rules: one.from.digest.clone(), revert: one.revert.0 },
        Step::Action(one) => {
            let with_json = Value::Object(one.with.0.clone()).to_string();
            TaskStep::Action(Box::new(Action { plugin: one.plugin.clone(), with_json }))
        }
    })
}

/// All users of a host see the arguments of programs, and only root their environment.
fn of_run(number: usize, run: &RunStep) -> Result<Command, String> {
    let text = &run.command.0;
    if let Some(secret) = secrets_in(&text.as_str().into()).first() {
        return Err(format!(
            "step {number} has the secret {secret} in its command, where others on the host could read it: write \
             env: {{SECRET: \"${{secret:{secret}}}\"}} beside the command, and \"$SECRET\" in it"
        ));
    }
    let env = run.env.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect();
    Ok(Command { user: run.user.clone(), env, ..shell(text) })
}

fn of_file(file: &FileStep) -> FileAssignment {
    FileAssignment {
        path: file.path.clone(),
        digest: file.from.digest.clone(),
        // The spec names content by its digest alone.
        size_bytes: 0,
        validate: file.validate.as_ref().map(|text| text.0.clone()),
        change: OnChange::Nothing,
        with: file.with.iter().map(|(name, text)| (name.clone(), text.0.clone())).collect(),
        owner: file.owner.clone(),
        mode: file.mode.as_ref().and_then(|mode| u32::from_str_radix(mode, 8).ok()),
    }
}

/// The secrets that its steps put in place.
pub fn secrets(spec: &TaskSpec) -> BTreeSet<Name> {
    let texts = spec.steps.iter().flat_map(|step| match step {
        Step::Run(run) => run.env.values().map(|value| value.0.as_str()).collect(),
        Step::File(file) => {
            let validate = file.validate.as_ref().map(|text| text.0.as_str());
            file.with.values().map(|value| value.0.as_str()).chain(validate).collect()
        }
        _ => Vec::new(),
    });
    let mut all = secrets_in(&texts.filter(|text| names_secret(text)).map(Value::from).collect());
    all.extend(spec.actions().flat_map(|(_, action)| secrets_in(&Value::Object(action.with.0.clone()))));
    all
}

/// With what one node knows about itself in place. What somebody typed just now is left
/// as it was typed.
pub fn on_node(steps: &[TaskStep], known: &Known<'_>) -> Vec<TaskStep> {
    let text = |text: &String| resolved(text, known);
    let all = |map: &BTreeMap<String, String>| map.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    let one = |step: &TaskStep| match step {
        TaskStep::Command(command) if !command.free => TaskStep::Command(Command {
            argv: command.argv.iter().map(text).collect(),
            env: all(&command.env),
            ..command.clone()
        }),
        TaskStep::File(file) => TaskStep::File(Box::new(FileAssignment {
            validate: file.validate.as_ref().map(text),
            with: all(&file.with),
            ..(**file).clone()
        })),
        TaskStep::Action(action) => {
            let with: Value = serde_json::from_str(&action.with_json).unwrap_or_default();
            let with_json = on_node_json(&with, known).to_string();
            TaskStep::Action(Box::new(Action { with_json, ..(**action).clone() }))
        }
        step => step.clone(),
    };
    steps.iter().map(one).collect()
}

/// Whether a node that does these is sent this content.
pub fn need_content(steps: &[TaskStep], digest: &str) -> bool {
    steps.iter().any(|step| step.content() == Some(digest))
}

/// A line of a spec, for the shell.
pub fn shell(text: &str) -> Command {
    Command { argv: ["/bin/sh", "-c", text].map(str::to_owned).into(), ..Command::default() }
}

/// What each of its nodes is to bring back.
pub fn fetch_of(steps: &[TaskStep]) -> impl Iterator<Item = &FetchPath> {
    steps.iter().flat_map(|step| match step {
        TaskStep::Command(command) => command.fetch.as_slice(),
        _ => &[],
    })
}

/// One word is a line for the shell, as with ssh; more are a program and its arguments.
pub fn free(words: &[String], user: Option<String>) -> Command {
    match words {
        [line] => Command { user, free: true, ..shell(line) },
        words => Command { argv: words.to_vec(), user, free: true, ..Command::default() },
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
    use hostler_types::spec::{Body, Source, SourceFile, compile};

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

    fn words(all: &[&str]) -> Vec<String> {
        all.iter().map(|&word| word.to_owned()).collect()
    }

    fn task(steps: &str) -> TaskSpec {
        let text = format!("task:\n  a: {{where: all, steps: [{steps}]}}\nsecret: {{key: {{}}}}\n");
        let file = SourceFile { path: "spec.yaml".to_owned(), text };
        let source = Source { files: vec![file], ..Source::default() };
        let compiled = compile(&source).expect("a spec");
        let task = compiled.objects.into_iter().find_map(|object| match object.body {
            Body::Task(spec) => Some(*spec),
            _ => None,
        });
        task.expect("a task")
    }

    #[test]
    fn a_node_fills_in_what_it_knows_and_nothing_else() {
        let spec = task(
            "{run: {command: 'echo ${node.name} $${HOME} $HOME', env: {KEY: '${secret:key}', AT: '${node.label.at}'}}}",
        );
        assert_eq!(secrets(&spec), [Name::new("key").expect("a name")].into());
        let steps = of_task(&spec).expect("steps");
        let known = |word: &str| match word {
            "name" => Some("web-1".to_owned()),
            "label.at" => Some("oslo".to_owned()),
            _ => None,
        };
        let TaskStep::Command(command) = on_node(&steps, &known).remove(0) else { panic!("a command") };
        assert_eq!(command.argv, words(&["/bin/sh", "-c", "echo web-1 ${HOME} $HOME"]));
        assert_eq!(command.env["KEY"], "${secret:key}");
        assert_eq!(command.env["AT"], "oslo");
        let free = [TaskStep::Command(free(&words(&["echo ${node.name} $${HOME}"]), None))];
        assert_eq!(on_node(&free, &known), free);
    }

    #[test]
    fn a_plugin_is_given_what_a_check_would_be() {
        let spec = task(
            "{wait: 1s}, {action: {plugin: lb, with: {server: '${node.name}', deep: [{token: '${secret:key}'}], brace: '$${x}', at: 5}}}",
        );
        assert_eq!(secrets(&spec), [Name::new("key").expect("a name")].into());
        let steps = of_task(&spec).expect("steps");
        assert_eq!(
            steps[1].to_string(),
            "action lb server=${node.name} deep=[{\"token\":\"${secret:key}\"}] brace=$${x} at=5"
        );
        let known = |word: &str| (word == "name").then(|| "web-1".to_owned());
        let TaskStep::Action(action) = on_node(&steps, &known).remove(1) else { panic!("an action") };
        let with = r#"{"server":"web-1","deep":[{"token":"${secret:key}"}],"brace":"${x}","at":5}"#;
        assert_eq!(action.with_json, with);
    }

    #[test]
    fn a_secret_stands_in_no_command() {
        let refused = of_task(&task("{wait: 1s}, {run: 'login ${secret:key}'}")).expect_err("refused");
        assert!(refused.starts_with("step 2 has the secret key in its command"), "{refused}");
        assert!(refused.contains("env: {SECRET: \"${secret:key}\"}"), "{refused}");
    }

    #[test]
    fn one_word_is_for_the_shell_and_more_are_not() {
        assert_eq!(free(&words(&["df | tail -1"]), None).argv, words(&["/bin/sh", "-c", "df | tail -1"]));
        let plain = free(&words(&["echo", "a b"]), Some("shop".to_owned()));
        assert!(plain.argv == words(&["echo", "a b"]) && plain.free && plain.user.as_deref() == Some("shop"));
    }
}
