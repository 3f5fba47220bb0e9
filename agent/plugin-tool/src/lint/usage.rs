//! What the test cases need of what plugin.toml asks for.

use super::finding::{Findings, Level};
use super::manifest::grant_line;
use crate::called_as::called_as;
use crate::case;
use crate::subject::{Subject, within};
use crate::test::Stage;
use anyhow::Result;
use hostler_plugin_host::Call;
use hostler_types::plugin::{Grants, Need};
use hostler_types::spec::Problems;

pub fn check(subject: &Subject, stage: &Stage, findings: &mut Findings) -> Result<()> {
    let files = case::files(&subject.cases())?;
    let cases = match case::load(&files, &subject.manifest.world) {
        Ok(cases) => cases,
        Err(error) => {
            match error.downcast::<Problems>() {
                Ok(problems) => wrong(&problems, findings),
                Err(other) => {
                    findings.add(Level::Error, &subject.cases().display().to_string(), None, format!("{other:#}"))
                }
            }
            return Ok(());
        }
    };
    if cases.is_empty() {
        return Ok(());
    }
    let mut needs = Vec::new();
    for case in &cases {
        let played = stage.play(subject, case)?;
        if !played.differences.is_empty() {
            let message = format!("it fails: {} test {} says how", called_as(), subject.folder.display());
            findings.add(Level::Warning, &case.file, None, message);
        }
        needs.extend(played.calls.iter().filter_map(|call: &Call| call.need().ok()));
    }
    unneeded(subject, &needs, findings);
    Ok(())
}

fn wrong(problems: &Problems, findings: &mut Findings) {
    for problem in &problems.0 {
        let help = problem.help.as_ref().map_or_else(String::new, |help| format!(" ({help})"));
        findings.add(Level::Error, &problem.file, Some(problem.line), format!("{}{help}", problem.message));
    }
}

fn unneeded(subject: &Subject, needs: &[Need], findings: &mut Findings) {
    let file = match subject.manifest_text {
        Some(_) => within(&subject.folder).join("plugin.toml"),
        None => subject.wasm.clone(),
    };
    let text = subject.manifest_text.as_deref().unwrap_or_default();
    for (key, pattern) in subject.manifest.grants.lines() {
        // A narrowing, which nothing needs.
        if key == "public_only" {
            continue;
        }
        let alone = only(key, &pattern);
        if needs.iter().any(|need| *need != Need::Nothing && alone.allows(need)) {
            continue;
        }
        let shown = if pattern.is_empty() { key.to_owned() } else { format!("{key} {pattern}") };
        let message = format!("grant {shown}: no test case needs it");
        findings.add(Level::Warning, &file.display().to_string(), grant_line(text, key, &pattern), message);
    }
}

/// This grant and no other.
fn only(key: &str, pattern: &str) -> Grants {
    let value = match pattern {
        "" => toml::Value::Boolean(true),
        pattern => toml::Value::Array(vec![pattern.into()]),
    };
    let mut table = toml::Table::new();
    table.insert(key.to_owned(), value);
    // It was read from such a line before.
    table.try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_grant_can_stand_alone() {
        let lines = "http = [\"http://a\"]\ntcp = [\"a:1\", \"unix:/x\"]\ndns = [\"a\"]\nicmp = [\"a\"]\n\
                     files = [\"/a\"]\ncommands = [\"a: /a b *\"]\nunits = [\"a\"]\ncontainers = [\"a\"]\n\
                     secrets = [\"a\"]\nreveal = [\"a\"]\nsystem = true\nprocesses = true";
        let all: Grants = toml::from_str(lines).expect("grants");
        let sum = all.lines().fold(Grants::default(), |sum, (key, pattern)| {
            let one = only(key, &pattern);
            assert_eq!(one.lines().count(), 1, "{key} {pattern}");
            sum.union(&one)
        });
        assert!(all.is_subset(&sum) && sum.is_subset(&all));
    }
}
