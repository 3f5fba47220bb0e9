//! `hostlerctl lint`: what is wrong with specs, without a control plane.

use crate::cli::{Format, LintArgs};
use crate::folder::{self, Input};
use crate::output::{Out, plural};
use crate::plan_view::title;
use crate::problem::Problem;
use hostler_types::spec::{self, Problems, compile};
use serde_json::json;
use std::collections::BTreeMap;
use std::process::ExitCode;

pub fn run(out: &Out, format: Format, args: &LintArgs) -> Result<ExitCode, Problem> {
    let mut input = folder::read(&args.spec.file)?;
    let envs: Vec<String> = match &args.spec.env {
        Some(env) => vec![env.clone()],
        // A folder means what it means in all of its environments.
        None => input.envs().map(str::to_owned).collect(),
    };
    let mut found = Found::default();
    if envs.is_empty() {
        found.look(&input, "");
    }
    for env in &envs {
        input.choose(env)?;
        found.look(&input, env);
    }
    if format != Format::Table {
        out.json(&found.to_json())?;
        return Ok(ExitCode::from(u8::from(!found.problems.is_empty())));
    }
    if found.problems.is_empty() {
        return out.print(&format!("{}\n", found.fine.join("\n"))).map(|()| ExitCode::SUCCESS);
    }
    Err(found.into_problems(envs.len()).into())
}

/// The file, the line, the column, and what is said.
type Place = (String, usize, usize, String);

#[derive(Default)]
struct Found {
    /// With the environments that have each.
    problems: BTreeMap<Place, (spec::Problem, Vec<String>)>,
    fine: Vec<String>,
}

impl Found {
    fn look(&mut self, input: &Input, env: &str) {
        match compile(&input.source) {
            Ok(compiled) => {
                let system = compiled.system().map(ToString::to_string).unwrap_or_default();
                let overlay = input.source.env.iter().map(|env| env.files.len()).sum::<usize>();
                let files = plural(input.source.files.len() + overlay, "file");
                let objects = plural(compiled.objects.len(), "object");
                self.fine.push(format!("{}: {objects} in {files}, no problem", title(&system, env)));
            }
            Err(Problems(problems)) => {
                for problem in problems {
                    let key = (problem.file.clone(), problem.line, problem.column, problem.message.clone());
                    let (_, envs) = self.problems.entry(key).or_insert_with(|| (problem, Vec::new()));
                    if !env.is_empty() {
                        envs.push(env.to_owned());
                    }
                }
            }
        }
    }

    fn to_json(&self) -> serde_json::Value {
        let told = self.problems.values().map(|(one, envs)| {
            json!({
                "file": one.file,
                "line": one.line,
                "column": one.column,
                "message": one.message,
                "help": one.help,
                "envs": envs,
            })
        });
        told.collect()
    }

    /// What is wrong in some environments only says in which.
    fn into_problems(self, envs_looked_at: usize) -> Problems {
        let told = self.problems.into_values().map(|(mut problem, envs)| {
            if !envs.is_empty() && envs.len() < envs_looked_at {
                problem.message = format!("{} (with --env {})", problem.message, envs.join(", "));
            }
            problem
        });
        Problems(told.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn every_environment_is_looked_at_and_each_mistake_told_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
        fs::create_dir(folder.path().join("env")).expect("made");
        write("a.yaml", "system: {name: shop}\ncheck:\n  a: {where: all, plugin: disk, evry: 5s}\n");
        write("env/prod.yaml", "node: {web1: {labels: {role: web}}}\n");
        write("env/staging.yaml", "check: {b: {where: all, plugin: disk, fails: 0}}\n");
        let mut input = folder::read(&[folder.path().to_owned()]).expect("reads");
        let mut found = Found::default();
        for env in ["prod", "staging"] {
            input.choose(env).expect("there");
            found.look(&input, env);
        }
        let json = found.to_json();
        let told: Vec<_> = json.as_array().expect("a list").iter().map(|one| one["envs"].clone()).collect();
        assert_eq!(told, [json!(["prod", "staging"]), json!(["staging"])]);
        let text = found.into_problems(2).to_string();
        assert_eq!(text.matches("evry").count(), 2, "once, and its line: {text}");
        assert_eq!(text.matches("(with --env staging)").count(), 1, "{text}");
        write("a.yaml", "system: {name: shop}\n");
        let input = folder::read(&[folder.path().join("a.yaml")]).expect("reads");
        let mut found = Found::default();
        found.look(&input, "");
        assert_eq!(found.fine, ["shop: 1 object in 1 file, no problem"]);
    }
}
