//! `hostlerctl node policy`: what a host lets anybody do, as it says itself.

use crate::cli::Format;
use crate::output::Out;
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_proto::agent::HostPolicy;
use hostler_types::terminal::{sanitize, sanitize_lines};
use serde_json::json;

pub fn show(out: &Out, format: Format, answer: &wire::GetNodePolicyResponse) -> Result<(), Problem> {
    let policy = answer.policy.clone().unwrap_or_default();
    if format == Format::Table {
        return out.print(&told(&answer.node, &policy));
    }
    let list = |name: &str| {
        let found = policy.lists.iter().find(|list| list.name == name && list.is_there);
        found.map(|list| json!({"values": list.values, "line": list.line}))
    };
    out.json(&json!({
        "node": answer.node,
        "profile": policy.profile,
        "said_by": policy.said_by,
        "only_watches": policy.only_watches,
        "problem": (!policy.problem.is_empty()).then_some(&policy.problem),
        "units": list("units"),
        "paths": list("paths"),
        "users": list("users"),
        "packages": list("packages"),
        "commands": list("commands"),
    }))
}

fn told(node: &str, policy: &HostPolicy) -> String {
    let mut text = String::new();
    let mut field = |name: &str, value: &str| text.push_str(&format!("{:<10}{}\n", sanitize(name), sanitize(value)));
    field("node", node);
    field("profile", &format!("{}  ({})", policy.profile, policy.said_by));
    for list in &policy.lists {
        let value = match (list.is_there, list.values.is_empty()) {
            (false, _) => "as the profile says".to_owned(),
            (true, true) => format!("none  (line {})", list.line),
            (true, false) => format!("{}  (line {})", list.values.join(", "), list.line),
        };
        field(&list.name, &value);
    }
    if !policy.problem.is_empty() {
        // A mistake in a file is told with the line that it is on.
        let lines = sanitize_lines(&policy.problem).lines().collect::<Vec<_>>().join("\n          ");
        text.push_str(&format!("problem   {lines}\n"));
    }
    if policy.only_watches {
        text.push_str("Nothing is done there: the agent was started without hostler-executor, and only watches.\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_proto::agent::PolicyList;

    fn list(name: &str, is_there: bool, values: &[&str]) -> PolicyList {
        let values = values.iter().map(|value| value.to_string()).collect();
        PolicyList { name: name.into(), is_there, values, line: if is_there { 4 } else { 0 } }
    }

    #[test]
    fn what_a_host_allows_as_people_read_it() {
        let policy = HostPolicy {
            profile: "operate".into(),
            said_by: "line 1 of /etc/hostler/policy.toml".into(),
            lists: vec![
                list("units", true, &["nginx.service", "hostler-*"]),
                list("paths", false, &[]),
                list("users", true, &[]),
                list("packages", false, &[]),
                list("commands", true, &["/opt/shop/\u{1b}[2J*"]),
            ],
            ..Default::default()
        };
        let broken = HostPolicy {
            profile: "watch".into(),
            said_by: "/etc/hostler/policy.toml can't be used".into(),
            problem: "/etc/hostler/policy.toml: line 2: unit is no setting: did you mean units?; until then the profile watch is in force".into(),
            ..Default::default()
        };
        let alone = HostPolicy {
            profile: "watch".into(),
            said_by: "this agent was started without an executor".into(),
            only_watches: true,
            ..Default::default()
        };
        insta::assert_snapshot!(format!(
            "{}\n{}\n{}",
            told("web2", &policy),
            told("web3", &broken),
            told("dev1", &alone)
        ));
    }
}
