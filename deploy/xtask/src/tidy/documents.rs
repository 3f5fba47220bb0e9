//! What documents say exists, does: commands in fenced blocks, links, and paths.

use super::Source;
use crate::cli;
use std::collections::BTreeSet;

/// What a program says to `WORDS --help`.
pub enum Help {
    Text(String),
    Unknown,
    NotBuilt,
}

/// Documents whose backticked paths are promises.
const GUIDES: [&str; 2] = ["README.md", "ARCHITECTURE.md"];
const PROGRAMS: [&str; 3] = ["hostlerctl", "hostler-agent", "hostler-control-plane"];

/// Commands in `sh` blocks, and after `$ ` in `console` ones, that do not exist;
/// and the programs which could not be asked.
pub fn unknown_commands(sources: &[Source], help: impl Fn(&str, &[&str]) -> Help) -> (Vec<String>, BTreeSet<String>) {
    let (mut found, mut skipped) = (Vec::new(), BTreeSet::new());
    for source in documents(sources) {
        for (line_number, line) in command_lines(&source.text) {
            let mut wrong = |what: String| found.push(format!("{}:{line_number}: {what}", source.path));
            for command in line.split(['|', ';']).flat_map(|part| part.split("&&")) {
                let words: Vec<&str> = command.split_whitespace().skip_while(|word| *word == "sudo").collect();
                match words.as_slice() {
                    ["cargo", "xtask", verb, ..] if !cli::is_verb(verb) => {
                        wrong(format!("no task `cargo xtask {verb}`"))
                    }
                    [program, rest @ ..] if PROGRAMS.contains(program) => match check(program, rest, &help) {
                        Checked::Fine => {}
                        Checked::Wrong(what) => wrong(what),
                        Checked::NotBuilt => drop(skipped.insert((*program).to_owned())),
                    },
                    _ => {}
                }
            }
        }
    }
    (found, skipped)
}

enum Checked {
    Fine,
    Wrong(String),
    NotBuilt,
}

/// Walks down the subcommands, then looks each flag up in the last one's help.
fn check(program: &str, words: &[&str], help: &impl Fn(&str, &[&str]) -> Help) -> Checked {
    let mut path: Vec<&str> = Vec::new();
    let mut text = match help(program, &path) {
        Help::Text(text) => text,
        Help::Unknown => return Checked::Wrong(format!("`{program} --help` fails")),
        Help::NotBuilt => return Checked::NotBuilt,
    };
    let mut flags = Vec::new();
    for word in words {
        let subcommands = subcommands(&text);
        if word.starts_with('#') {
            break;
        } else if word.starts_with('-') {
            flags.push(word.split('=').next().unwrap_or(word));
        } else if subcommands.contains(*word) {
            path.push(word);
            match help(program, &path) {
                Help::Text(deeper) => text = deeper,
                Help::NotBuilt => return Checked::NotBuilt,
                Help::Unknown => {
                    return Checked::Wrong(format!("`{program} {} --help` fails", path.join(" ")));
                }
            }
        } else if !subcommands.is_empty() && flags.is_empty() {
            let command = [path.as_slice(), &[word]].concat().join(" ");
            return Checked::Wrong(format!("no command `{program} {command}`"));
        }
    }
    let missing = flags.into_iter().find(|flag| *flag != "--help" && !has_flag(&text, flag));
    missing.map_or(Checked::Fine, |flag| {
        let command = std::iter::once(program).chain(path).collect::<Vec<_>>().join(" ");
        Checked::Wrong(format!("`{command}` has no {flag}"))
    })
}

/// The first words of the indented lines under "Commands:".
fn subcommands(help: &str) -> BTreeSet<&str> {
    help.lines()
        .skip_while(|line| line.trim() != "Commands:")
        .skip(1)
        .take_while(|line| line.is_empty() || line.starts_with(' '))
        .filter(|line| line.starts_with("  ") && !line.starts_with("    "))
        .filter_map(|line| line.split_whitespace().next())
        .collect()
}

fn has_flag(help: &str, flag: &str) -> bool {
    help.split(|c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '=' | '<' | '`')).any(|word| word == flag)
}

fn command_lines(text: &str) -> Vec<(usize, &str)> {
    let mut fence = None;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(language.trim()) };
            continue;
        }
        let command = match fence {
            Some("sh") => Some(line.trim_start().strip_prefix("$ ").unwrap_or(line)),
            Some("console") => line.trim_start().strip_prefix("$ "),
            _ => None,
        };
        lines.extend(command.map(|command| (index + 1, command)));
    }
    lines
}

/// Relative links in every document, and backticked paths in the guides.
pub fn missing_paths(sources: &[Source], exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for source in documents(sources) {
        let folder = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (index, line) in source.text.lines().enumerate() {
            for link in links(line) {
                let path = if folder.is_empty() { link.to_owned() } else { format!("{folder}/{link}") };
                if !exists(&path) {
                    found.push(format!("{}:{}: the link to {link} leads nowhere", source.path, index + 1));
                }
            }
            let guide = GUIDES.contains(&source.path.as_str());
            for path in line.split('`').skip(1).step_by(2).filter(|_| guide) {
                if is_path(path, &exists) && !exists(path) {
                    found.push(format!("{}:{}: `{path}` does not exist", source.path, index + 1));
                }
            }
        }
    }
    found
}

fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let link = rest.split([')', '#', ' ']).next()?;
        (!link.is_empty() && !link.contains(':')).then_some(link)
    })
}

/// Only what begins with a folder of ours is a path: `N/A` is not.
fn is_path(text: &str, exists: &impl Fn(&str) -> bool) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    let first = text.split('/').next().unwrap_or_default();
    text.contains('/') && text.chars().all(plain) && !first.is_empty() && first != "target" && exists(first)
}

fn documents(sources: &[Source]) -> impl Iterator<Item = &Source> {
    sources.iter().filter(|source| source.path.ends_with(".md"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> [Source; 1] {
        [Source { path: "README.md".into(), text: text.into() }]
    }

    fn fake_help(program: &str, words: &[&str]) -> Help {
        match (program, words) {
            ("hostlerctl", []) => {
                Help::Text("Usage: x\n\nCommands:\n  node   Nodes\n  apply  Apply\n\nOptions:\n".into())
            }
            ("hostlerctl", ["node"]) => Help::Text("Commands:\n  ls    List\n  help  Help\n".into()),
            ("hostlerctl", ["node", "ls"]) => Help::Text("Options:\n  -o, --output <FORMAT>\n".into()),
            ("hostlerctl", ["apply"]) => Help::Text("Usage: apply [PATH]\n\nOptions:\n  -f <FILE>\n".into()),
            ("hostlerctl", _) => Help::Unknown,
            _ => Help::NotBuilt,
        }
    }

    fn unknown(block: &str) -> Vec<String> {
        unknown_commands(&document(&format!("text\n```sh\n{block}\n```\n")), fake_help).0
    }

    #[test]
    fn real_commands_pass_and_planted_ones_are_found() {
        assert_eq!(
            unknown("hostlerctl node ls -o json | grep ready\n$ hostlerctl apply -f a.yaml\ncargo xtask up"),
            [""; 0]
        );
        assert_eq!(unknown("hostlerctl node list"), ["README.md:3: no command `hostlerctl node list`"]);
        assert_eq!(unknown("echo; hostlerctl node ls --watch"), ["README.md:3: `hostlerctl node ls` has no --watch"]);
        assert_eq!(unknown("cargo xtask fly"), ["README.md:3: no task `cargo xtask fly`"]);
        let other = document("```text\nhostlerctl fly\n```\n```console\n$ hostlerctl fly\nhostlerctl out\n```\n");
        assert_eq!(unknown_commands(&other, fake_help).0, ["README.md:5: no command `hostlerctl fly`"]);
    }

    #[test]
    fn a_program_that_was_not_built_is_said() {
        let (found, skipped) = unknown_commands(&document("```sh\nsudo hostler-agent status\n```"), fake_help);
        assert!(found.is_empty() && skipped.contains("hostler-agent"));
    }

    #[test]
    fn links_and_paths_that_lead_nowhere_are_found() {
        let exists = |path: &str| ["agent", "agent/core", "LICENSE"].contains(&path);
        let text = "[a](LICENSE) [b](gone.md) [c](https://x.y) `agent/core` `agent/gone` `N/A` `target/dev`";
        assert_eq!(
            missing_paths(&document(text), exists),
            ["README.md:1: the link to gone.md leads nowhere", "README.md:1: `agent/gone` does not exist"]
        );
    }
}
