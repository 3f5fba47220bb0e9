//! `hostlerctl diff`: a plan line by line, objects as they would be written and
//! files as they are.

use super::contents;
use super::specs::{self, Planned};
use crate::cli::{DiffArgs, Format, Global};
use crate::client::Client;
use crate::output::{Out, Tone};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::spec::{Detail, Object, write_yaml};
use hostler_types::terminal::sanitize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

type Key<'a> = (&'a str, &'a str);

/// One object or file, as a unified diff.
struct Difference {
    name: String,
    diff: String,
}

pub async fn run(global: &Global, out: &Out, args: DiffArgs) -> Result<ExitCode, Problem> {
    let (mut client, planned) = specs::planned(global, &args.spec).await?;
    let differences = differences(&mut client, &planned).await?;
    if global.output == Format::Table {
        for one in &differences {
            out.print(&coloured(out, &one.diff))?;
        }
    } else {
        let told = differences.iter().map(|one| json!({ "name": one.name, "diff": one.diff }));
        out.json(&told.collect::<Vec<_>>())?;
    }
    Ok(specs::exit(&planned.plan.changes, args.detailed_exitcode))
}

async fn differences(client: &mut Client, planned: &Planned) -> Result<Vec<Difference>, Problem> {
    let plan = &planned.plan;
    let changed = |change: &&wire::Change| change.act != "unchanged";
    let there = if plan.seen > 0 && plan.changes.iter().any(|change| changed(&change)) {
        let request = wire::GetSystemRequest { name: plan.system.clone(), number: plan.seen, compare: 0 };
        client.get_system(request).await?.into_inner().spec.unwrap_or_default().documents
    } else {
        Vec::new()
    };
    let there: BTreeMap<Key, &wire::Document> =
        there.iter().map(|one| ((one.kind.as_str(), one.name.as_str()), one)).collect();
    let here: BTreeMap<Key, &Object> =
        planned.objects().iter().map(|one| ((one.kind().word(), one.name.as_str()), one)).collect();
    let (mut all, mut before, mut after) = (Vec::new(), Vec::new(), Vec::new());
    for change in plan.changes.iter().filter(changed) {
        let key = (change.kind.as_str(), change.name.as_str());
        let old = there.get(&key).map(|one| specs::to_object(one)).transpose()?;
        let new = here.get(&key).copied().filter(|_| change.act != "delete");
        let (was, is) = (printed(old.as_ref()), printed(new));
        all.push(unified(&format!("{} {}", change.kind, change.name), &was, &is));
        before.extend(old);
        after.extend(new);
    }
    let (before, after) = (contents::files_of(&before), contents::files_of(after));
    let files: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for file in files {
        let (from, to) = (before.get(file), after.get(file));
        if from == to {
            continue;
        }
        let old = match from {
            Some(digest) => contents::text(client, None, file, digest).await?,
            None => Some(String::new()),
        };
        let new = match to {
            Some(digest) => contents::text(client, Some(&planned.input), file, digest).await?,
            None => Some(String::new()),
        };
        all.push(match (old, new) {
            (Some(old), Some(new)) => unified(file, &old, &new),
            _ => Difference {
                name: file.clone(),
                diff: format!("{file} differs, and is no text, too long, or no longer kept\n"),
            },
        });
    }
    Ok(all)
}

fn printed(object: Option<&Object>) -> String {
    object.map(|object| write_yaml(std::slice::from_ref(object), Detail::Short)).unwrap_or_default()
}

fn unified(name: &str, before: &str, after: &str) -> Difference {
    let diff = contents::compared(before, after);
    let diff =
        diff.unified_diff().context_radius(3).header(&format!("{name}, applied"), &format!("{name}, here")).to_string();
    Difference { name: name.to_owned(), diff }
}

/// Tabs stay, since they may be all that differs.
fn coloured(out: &Out, diff: &str) -> String {
    let mut text = String::new();
    for line in diff.lines() {
        let tone = match line.chars().next() {
            Some('+') => Tone::Good,
            Some('-') => Tone::Bad,
            Some('@') => Tone::Faint,
            _ => Tone::Plain,
        };
        let safe: Vec<_> = line.split('\t').map(sanitize).collect();
        text.push_str(&out.paint(&safe.join("\t"), tone));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_reads_like_any_other() {
        let one = unified("files/a.cfg", "listen 80\n\tend\n", "listen 81\n  end\u{1b}[2J\n");
        insta::assert_snapshot!(coloured(&Out::plain(None), &one.diff).replace('\t', "<tab>"), @r"
        --- files/a.cfg, applied
        +++ files/a.cfg, here
        @@ -1,2 +1,2 @@
        -listen 80
        -<tab>end
        +listen 81
        +  end\u{1b}[2J
        ");
        let painted = coloured(&Out::coloured(), &one.diff);
        assert!(painted.contains("\u{1b}[31m-listen 80\u{1b}[0m\n\u{1b}[31m-\tend"), "{painted:?}");
        assert!(!painted.contains("\u{1b}[2J"), "{painted:?}");
    }

    #[test]
    fn texts_with_nothing_in_common_end() {
        let lines = |word: &str| (0..60_000).map(|number| format!("{word}{number}\n")).collect::<String>();
        let begun = std::time::Instant::now();
        let one = unified("files/a", &lines("a"), &lines("b"));
        assert!(one.diff.lines().count() > 100_000);
        assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    }
}
