//! `hostlerctl role` and `can`: what people may do, and whether.

use super::confirm;
use super::nodes::time;
use crate::cli::{CanArgs, Format, RoleCommand, RoleSetArgs};
use crate::client::Client;
use crate::output::{Cell, Out, Tone};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::spec::yaml;
use hostler_types::terminal::{sanitize, sanitize_json};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

/// What `role set -f` reads and `role show -o yaml` prints.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RoleFile {
    rules: Vec<RuleFile>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    verbs: Vec<String>,
    kinds: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    systems: Vec<String>,
    #[serde(default, rename = "where", skip_serializing_if = "String::is_empty")]
    where_: String,
}

pub async fn run(mut client: Client, out: &Out, format: Format, command: RoleCommand) -> Result<(), Problem> {
    match command {
        RoleCommand::Ls => {
            let answer = client.list_roles(wire::ListRolesRequest {}).await?.into_inner();
            list(out, format, &answer)
        }
        RoleCommand::Show { name } => {
            let answer = client.list_roles(wire::ListRolesRequest {}).await?.into_inner();
            let found = answer.roles.iter().find(|role| role.name == name);
            let missing = || Problem::Failed(format!("there is no role {name:?}; hostlerctl role ls shows them"));
            show(out, format, found.ok_or_else(missing)?)
        }
        RoleCommand::Set(args) => {
            let request = request(args)?;
            let role = client.set_role(request).await?.into_inner();
            out.line(format!("the role {} allows:", sanitize(&role.name)))?;
            role.may.iter().try_for_each(|line| out.line(format!("  {}", sanitize(line))))
        }
        RoleCommand::Rm { name, yes } => {
            confirm(&format!("the role {name} is forgotten."), yes)?;
            client.remove_role(wire::RemoveRoleRequest { name: name.clone() }).await?;
            out.line(format!("the role {name} is gone."))
        }
    }
}

fn request(args: RoleSetArgs) -> Result<wire::SetRoleRequest, Problem> {
    let rules = match &args.file {
        Some(file) => read(file)?,
        None => vec![wire::RoleRule {
            verbs: args.verbs,
            kinds: args.kinds,
            systems: args.systems,
            r#where: args.selector.unwrap_or_default(),
        }],
    };
    Ok(wire::SetRoleRequest { name: args.name, rules, add: args.add })
}

fn read(file: &Path) -> Result<Vec<wire::RoleRule>, Problem> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|source| Problem::File { operation: "read", path: file.to_owned(), source })?;
    parse(&text).map_err(|wrong| Problem::Failed(format!("{}: {wrong}", file.display())))
}

fn parse(text: &str) -> Result<Vec<wire::RoleRule>, String> {
    let mut faults = Vec::new();
    let node = yaml::parse(text, 0, &mut faults);
    let value = node.filter(|_| faults.is_empty()).map(|node| node.to_json());
    let value = value.ok_or("it is not good YAML")?;
    let read: RoleFile = serde_json::from_value(value)
        .map_err(|error| format!("{error}; hostlerctl role set --help shows how it is written"))?;
    let rule = |rule: RuleFile| wire::RoleRule {
        verbs: rule.verbs,
        kinds: rule.kinds,
        systems: rule.systems,
        r#where: rule.where_,
    };
    Ok(read.rules.into_iter().map(rule).collect())
}

fn rules(role: &wire::Role) -> RoleFile {
    let rule = |rule: &wire::RoleRule| RuleFile {
        verbs: rule.verbs.clone(),
        kinds: rule.kinds.clone(),
        systems: rule.systems.clone(),
        where_: rule.r#where.clone(),
    };
    RoleFile { rules: role.rules.iter().map(rule).collect() }
}

fn to_json(role: &wire::Role) -> serde_json::Value {
    json!({
        "name": role.name,
        "builtin": role.builtin,
        "rules": rules(role).rules,
        "operators": role.operators,
        "set_at": time(role.set_at_ms),
        "set_by": (!role.set_by.is_empty()).then_some(&role.set_by),
    })
}

fn list(out: &Out, format: Format, answer: &wire::ListRolesResponse) -> Result<(), Problem> {
    if format != Format::Table {
        return out.json(&answer.roles.iter().map(to_json).collect::<Vec<_>>());
    }
    let row = |role: &wire::Role| {
        vec![
            Cell::new(&role.name),
            Cell::new(if role.builtin { "built in" } else { &role.set_by }).tone(Tone::Faint),
            Cell::new(if role.operators.is_empty() { "-".to_owned() } else { role.operators.join(",") }),
            Cell::new(role.may.join("; ")),
        ]
    };
    let rows: Vec<_> = answer.roles.iter().map(row).collect();
    out.print(&out.table(&["ROLE", "BY", "WHO HAS IT", "MAY"], &rows))
}

fn show(out: &Out, format: Format, role: &wire::Role) -> Result<(), Problem> {
    match format {
        Format::Json => return out.json(&to_json(role)),
        Format::Yaml => return out.print(&print(role)),
        Format::Table => {}
    }
    let mut text = format!("{:<13}{}\n", "role", sanitize(&role.name));
    for line in &role.may {
        text.push_str(&format!("{:<13}{}\n", "may", sanitize(line)));
    }
    let held = if role.operators.is_empty() { "nobody".to_owned() } else { role.operators.join(", ") };
    text.push_str(&format!("{:<13}{}\n", "who has it", sanitize(&held)));
    let by = if role.builtin { "built in".to_owned() } else { role.set_by.clone() };
    text.push_str(&format!("{:<13}{}\n", "by", sanitize(&by)));
    out.print(&text)
}

/// JSON in flow style is YAML, and each rule fits into its line.
fn print(role: &wire::Role) -> String {
    let mut text = "rules:\n".to_owned();
    for rule in rules(role).rules {
        let line = serde_json::to_string(&rule).unwrap_or_default();
        text.push_str(&format!("  - {}\n", sanitize_json(&line)));
    }
    text
}

pub async fn can(mut client: Client, out: &Out, format: Format, args: CanArgs) -> Result<ExitCode, Problem> {
    let request = wire::CanRequest {
        verb: args.verb,
        kind: args.kind,
        name: args.name.unwrap_or_default(),
        system: args.system.unwrap_or_default(),
        selector: args.selector.unwrap_or_default(),
        operator: args.operator.unwrap_or_default(),
    };
    let answer = client.can(request).await?.into_inner();
    if format != Format::Table {
        out.json(&json!({ "allowed": answer.allowed, "reason": answer.reason }))?;
    } else {
        let (word, tone) = if answer.allowed { ("yes", Tone::Good) } else { ("no", Tone::Bad) };
        out.line(format!("{}: {}", out.paint(word, tone), sanitize(&answer.reason)))?;
    }
    Ok(if answer.allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_rules_reads_back_as_it_is_printed() {
        let text = "rules:\n  - {verbs: [read, act], kinds: [node], where: role=web}\n  - {verbs: [read], kinds: [check], systems: [shop]}\n";
        let read = parse(text).expect("reads");
        assert_eq!(read.len(), 2);
        let role = wire::Role { rules: read.clone(), ..wire::Role::default() };
        assert_eq!(parse(&print(&role)).expect("reads again"), read);
        let error = parse("rules:\n  - {verb: [read], kinds: [node]}\n").expect_err("a slip");
        assert!(error.contains("unknown field `verb`"), "{error}");
        assert!(parse("rules: [").is_err());
    }
}
