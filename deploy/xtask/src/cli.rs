//! The command line: a table of verbs, and one function that reads it.

use crate::bench::{Bench, fleet};
use crate::test::Options;

#[derive(Debug, PartialEq)]
pub enum Verb {
    Help(String),
    Up { detach: bool },
    Down { purge: bool },
    Test(Options),
    Ci,
    Bench { which: Bench, agents: usize },
    Plugins,
    Tidy,
    Codegen,
    Lab(Vec<String>),
    Crash(Vec<String>),
}

struct Entry {
    name: &'static str,
    usage: &'static str,
    about: &'static str,
}

const VERBS: [Entry; 10] = [
    Entry {
        name: "up",
        usage: "up [--detach]",
        about: "build all, start a control plane and an agent on this machine, with a\n\
                demo; runs until Ctrl-C, or goes on by itself with --detach",
    },
    Entry {
        name: "down",
        usage: "down [--purge]",
        about: "stop what `up` started; --purge forgets its data (target/dev) as well",
    },
    Entry {
        name: "test",
        usage: "test [--all] [--group NAME] [FILTER...]",
        about: "the fast tests of every workspace; --all the slow groups as well,\n\
                --group one of them; FILTER is a part of a test's name",
    },
    Entry {
        name: "ci",
        usage: "ci",
        about: "what .ci/run runs: format, lints, tidy, fast tests, and one slow group\n\
                chosen by the commit",
    },
    Entry {
        name: "bench",
        usage: "bench [plugin|assigned|memory|ctl|store|spec|audit|fleet|services|all] [--agents N]",
        about: "measure a release build; results go to deploy/bench/results.\n\
                HOSTLER_BENCH_MINUTES (10) is how long memory settles; --agents (2000)\n\
                is how many the fleet has",
    },
    Entry {
        name: "crash",
        usage: "crash [--kill|--power|--corrupt|--full|--points|--plant BUG] [--rounds N] [--seed S]",
        about: "break the state store on purpose, so many times, and look at what it kept",
    },
    Entry { name: "plugins", usage: "plugins", about: "build every plugin into target/plugins" },
    Entry { name: "tidy", usage: "tidy", about: "check the house rules: file length, dependencies, documents" },
    Entry {
        name: "codegen",
        usage: "codegen",
        about: "write what is generated anew: code from proto/, pages from the spec language",
    },
    Entry {
        name: "lab",
        usage: "lab VERB...",
        about: "a fleet of real Debian hosts on this machine; `cargo xtask lab help`",
    },
];

/// Verbs whose words are another program's affair.
const PASSED_ON: [&str; 2] = ["crash", "lab"];

/// Whether a document may name this verb.
pub fn is_verb(name: &str) -> bool {
    name == "help" || VERBS.iter().any(|entry| entry.name == name)
}

pub fn parse(arguments: &[String]) -> Result<Verb, String> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (name, rest) = match words.split_first() {
        None | Some((&("help" | "--help" | "-h"), _)) => return Ok(Verb::Help(help())),
        Some((name, rest)) => (*name, rest),
    };
    // These have a help of their own.
    if !PASSED_ON.contains(&name) && rest.iter().any(|word| matches!(*word, "--help" | "-h")) {
        return VERBS
            .iter()
            .find(|entry| entry.name == name)
            .map(|entry| Verb::Help(about(entry)))
            .ok_or(unknown(name));
    }
    match name {
        "up" => Ok(Verb::Up { detach: switch(name, rest, "--detach")? }),
        "down" => Ok(Verb::Down { purge: switch(name, rest, "--purge")? }),
        "test" => parse_test(rest).map(Verb::Test),
        "bench" => parse_bench(rest),
        "crash" => Ok(Verb::Crash(rest.iter().map(ToString::to_string).collect())),
        "lab" => Ok(Verb::Lab(rest.iter().map(ToString::to_string).collect())),
        "ci" => bare(name, rest, Verb::Ci),
        "plugins" => bare(name, rest, Verb::Plugins),
        "tidy" => bare(name, rest, Verb::Tidy),
        "codegen" => bare(name, rest, Verb::Codegen),
        _ => Err(unknown(name)),
    }
}

fn parse_bench(words: &[&str]) -> Result<Verb, String> {
    let (mut which, mut agents) = (None, fleet::AGENTS);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--agents" => {
                let count = words.next().ok_or("bench: --agents needs a number")?;
                let wrong = || format!("bench: --agents {count}: write a number from 1 to {}", fleet::AGENTS_MAX);
                let read = count.parse().ok().filter(|count| (1..=fleet::AGENTS_MAX).contains(count));
                agents = read.ok_or_else(wrong)?;
            }
            word if which.is_none() && !word.starts_with('-') => which = Some(Bench::parse(word)?),
            word => return Err(unexpected("bench", word)),
        }
    }
    Ok(Verb::Bench { which: which.unwrap_or(Bench::All), agents })
}

fn parse_test(words: &[&str]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--all" => options.all = true,
            "--group" => {
                let group = words.next().ok_or("test: --group needs a name")?;
                options.group = Some((*group).to_owned());
            }
            flag if flag.starts_with('-') => return Err(unexpected("test", flag)),
            filter => options.filters.push(filter.to_owned()),
        }
    }
    Ok(options)
}

/// A verb with one switch and nothing else.
fn switch(verb: &str, words: &[&str], switch: &str) -> Result<bool, String> {
    match words {
        [] => Ok(false),
        [word] if *word == switch => Ok(true),
        [first, ..] => Err(unexpected(verb, words.iter().find(|word| **word != switch).copied().unwrap_or(first))),
    }
}

fn bare(name: &str, words: &[&str], verb: Verb) -> Result<Verb, String> {
    words.first().map_or(Ok(verb), |word| Err(unexpected(name, word)))
}

fn unexpected(verb: &str, word: &str) -> String {
    let usage = VERBS.iter().find(|entry| entry.name == verb).map_or("", |entry| entry.usage);
    format!("{verb}: '{word}' was not expected\nusage: cargo xtask {usage}")
}

fn unknown(name: &str) -> String {
    let names: Vec<&str> = VERBS.iter().map(|entry| entry.name).collect();
    format!("no such task: '{name}'; there are {}", names.join(", "))
}

fn about(entry: &Entry) -> String {
    format!("usage: cargo xtask {}\n\n{}\n", entry.usage, entry.about)
}

fn help() -> String {
    let mut text = String::from("The project's tasks.\n\nusage: cargo xtask TASK\n\n");
    for entry in &VERBS {
        let mut lines = entry.about.lines();
        text.push_str(&format!("  {:<8}  {}\n", entry.name, lines.next().unwrap_or_default()));
        for line in lines {
            text.push_str(&format!("            {line}\n"));
        }
    }
    text.push_str("\ncargo xtask TASK --help shows one.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Verb, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn verbs_and_their_switches_are_read() {
        assert_eq!(read("up"), Ok(Verb::Up { detach: false }));
        assert_eq!(read("up --detach"), Ok(Verb::Up { detach: true }));
        assert_eq!(read("down --purge"), Ok(Verb::Down { purge: true }));
        assert_eq!(read("bench ctl"), Ok(Verb::Bench { which: Bench::Ctl, agents: 2_000 }));
        assert_eq!(read("bench --agents 50 fleet"), Ok(Verb::Bench { which: Bench::Fleet, agents: 50 }));
        assert_eq!(read("lab up 3 --help"), Ok(Verb::Lab(vec!["up".into(), "3".into(), "--help".into()])));
        let options = Options { all: true, group: Some("lab".into()), filters: vec!["join".into()] };
        assert_eq!(read("test --all join --group lab"), Ok(Verb::Test(options)));
    }

    #[test]
    fn what_is_wrong_is_named_with_the_way_to_say_it() {
        assert!(read("upp").unwrap_err().contains("no such task: 'upp'; there are up, down"));
        assert!(read("up --detached").unwrap_err().contains("'--detached' was not expected"));
        assert!(read("up --detach --purge").unwrap_err().contains("'--purge' was not expected"));
        assert!(read("tidy now").unwrap_err().contains("usage: cargo xtask tidy"));
        assert!(read("test --group").unwrap_err().contains("--group needs a name"));
        assert!(read("bench speed").unwrap_err().contains("store, spec, audit, fleet, services or all"));
        assert!(read("bench fleet --agents 0").unwrap_err().contains("from 1 to 9000"));
        assert!(read("bench fleet ctl").unwrap_err().contains("'ctl' was not expected"));
    }

    #[test]
    fn every_verb_has_help() {
        assert!(matches!(read(""), Ok(Verb::Help(text)) if text.contains("cargo xtask TASK")));
        for entry in VERBS.iter().filter(|entry| !PASSED_ON.contains(&entry.name)) {
            assert!(
                matches!(read(&format!("{} --help", entry.name)), Ok(Verb::Help(text)) if text.contains(entry.usage))
            );
        }
    }
}
