//! `hostler-plugin record`: one run on this machine, written down as a test case.

mod compose;
mod recorder;
mod redact;

use crate::called_as::called_as;
use crate::case::{self, Case};
use crate::output::{print, write_whole};
use crate::real_host::RealHost;
use crate::subject::{Subject, SubjectArguments};
use crate::test::Stage;
use anyhow::{Context, Result, anyhow, bail, ensure};
use compose::Draft;
use hostler_plugin_host::{Fault, Machine, MachineConfig, Run, RunContext, RunRequest, Work};
use hostler_types::Name;
use hostler_types::plugin::Grants;
use hostler_types::spec::yaml;
use hostler_types::terminal::sanitize;
use recorder::{Exchange, Recorder};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    subject: SubjectArguments,
    /// The plugin's configuration, as YAML or JSON: '{warn: 80}'
    #[arg(long, value_name = "YAML")]
    with: Option<String>,
    /// What the case is called
    #[arg(long, value_name = "CASE", default_value = "recorded")]
    name: String,
    /// What a notifier is to tell: '{id: "1", title: db is down}'
    #[arg(long, value_name = "YAML")]
    notice: Option<String>,
    /// What an action is to plan for: '{service: web}'
    #[arg(long, value_name = "YAML")]
    plan: Option<String>,
    /// Where the secrets are, a file each
    #[arg(long, value_name = "DIR", default_value = "/etc/hostler/secrets")]
    secrets: PathBuf,
}

pub fn record(arguments: &Arguments) -> Result<()> {
    let name = Name::new(arguments.name.as_str()).context("the case's name")?;
    let subject = arguments.subject.find()?;
    let file = subject.cases().join(format!("{name}.yaml"));
    ensure!(!file.exists(), "{} is already there: choose another name by --name, or remove it", file.display());
    let config = match &arguments.with {
        None => Map::new(),
        Some(text) => match parse("--with", text)? {
            Value::Object(config) => config,
            Value::Null => Map::new(),
            _ => bail!("--with is no map: write it like '{{warn: 80}}'"),
        },
    };
    let work = arguments.work(&subject.manifest.world, &file)?;

    let (run, exchanges) = run(&subject, &config, work.clone(), &arguments.secrets)?;
    if let Err(fault @ Fault::ConfigInvalid(_)) = &run.outcome {
        bail!("{}", sanitize(&format!("{fault}: {}", advice(&subject))));
    }
    let mut draft = Draft::new(config, &work, &exchanges, &run).context("write down what was answered")?;
    let doubts = settle(&mut draft, &subject, &file)?;
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    write_whole(&file, draft.text().as_bytes())?;
    for doubt in doubts {
        eprintln!("warning: {}", sanitize(&doubt));
    }
    if let Err(fault) = &run.outcome {
        eprintln!(
            "warning: the plugin gave no result, and the case expects just that: {}",
            sanitize(&fault.to_string())
        );
    }
    let count = exchanges.len();
    let calls = if count == 1 { "1 call".to_owned() } else { format!("{count} calls") };
    print(&format!("{}  {calls}\n\n{}", file.display(), least(&subject, &exchanges)))
}

fn parse(what: &str, text: &str) -> Result<Value> {
    let mut faults = Vec::new();
    let node = yaml::parse(text, 0, &mut faults);
    match faults.first() {
        Some(fault) => bail!("{what}, line {}, column {}: {}", fault.at.line, fault.at.column, fault.message),
        None => Ok(node.map_or(Value::Null, |node| node.to_json())),
    }
}

impl Arguments {
    /// What the run is to do, read as a case's own is.
    fn work(&self, world: &str, file: &Path) -> Result<Work> {
        let given = match (world, &self.notice, &self.plan) {
            ("check" | "collector", None, None) => Value::Object(Map::new()),
            ("notifier", Some(text), None) => serde_json::json!({ "notice": parse("--notice", text)? }),
            ("action", None, Some(text)) => serde_json::json!({ "plan": parse("--plan", text)? }),
            ("notifier", ..) => {
                bail!("a notifier is recorded with --notice '{{id: \"1\", title: a test}}', and no --plan")
            }
            ("action", ..) => bail!("an action is recorded with --plan '{{service: web}}', and no --notice"),
            _ => bail!("a {world} takes neither --notice nor --plan"),
        };
        let mut whole = given;
        if let Value::Object(whole) = &mut whole {
            whole.insert("expect".to_owned(), serde_json::json!({ "fault": "" }));
        }
        Ok(case::read("given", &file.display().to_string(), &whole.to_string(), world)?.work)
    }
}

fn run(subject: &Subject, config: &Map<String, Value>, work: Work, secrets: &Path) -> Result<(Run, Vec<Exchange>)> {
    let machine = MachineConfig { secrets_folder: secrets.to_owned(), ..MachineConfig::default() };
    let recorder = Arc::new(Recorder::new(Machine::new(machine)));
    let host = RealHost::new(recorder.clone())?;
    let plugin = host.load(&subject.wasm, &subject.bytes)?;
    let world = plugin.world();
    ensure!(
        world == work.world(),
        "{} is a {world}, and its plugin.toml says that it is a {}",
        subject.wasm.display(),
        subject.manifest.world
    );
    let request = RunRequest {
        context: RunContext { instance: "record".into(), grants: Arc::new(subject.manifest.grants.clone()) },
        ..RunRequest::new(Value::Object(config.clone()).to_string())
    };
    let run = host.wait(plugin.run(work, request));
    Ok((run, recorder.take()))
}

/// How a configuration is given, from what the manifest says of it.
fn advice(subject: &Subject) -> String {
    let with = subject.manifest.with.iter().flatten();
    let required: Vec<String> =
        with.filter(|(_, field)| field.required).map(|(name, field)| format!("{name}: {}", field.example)).collect();
    let example = if required.is_empty() { "{warn: 80}".to_owned() } else { format!("{{{}}}", required.join(", ")) };
    format!("give another one by --with '{example}'")
}

/// Plays the case at once, and takes out of it what two runs with the same
/// answers do not have in common.
fn settle(draft: &mut Draft, subject: &Subject, file: &Path) -> Result<Vec<String>> {
    let read = |draft: &Draft| -> Result<Case> {
        let shown = file.display().to_string();
        case::read(&case::name_of(file), &shown, &draft.text(), &subject.manifest.world).map_err(|problems| {
            anyhow!("what was recorded can't be read again, which is a fault of this program: {problems}")
        })
    };
    let stage = Stage::new()?;
    let first = stage.play(subject, &read(draft)?)?;
    if first.differences.is_empty() {
        return Ok(Vec::new());
    }
    let mut unsteady: Vec<String> =
        first.differences.iter().filter_map(|one| Some(one.split_once(':')?.0.to_owned())).collect();
    unsteady.dedup();
    draft.leave_out(&unsteady);
    if !draft.expect.is_empty() && stage.play(subject, &read(draft)?)?.differences.is_empty() {
        let (left_out, verb) = (unsteady.join(", "), if unsteady.len() == 1 { "differs" } else { "differ" });
        return Ok(vec![format!("{left_out} {verb} from run to run with the same answers: left out of expect")]);
    }
    Ok(vec![format!("the case does not pass as it was recorded: {}", first.differences.join("; "))])
}

/// The least plugin.toml that would do, and what its own asks for beyond it.
fn least(subject: &Subject, exchanges: &[Exchange]) -> String {
    let asked = &subject.manifest.grants;
    let needed = needed(asked, exchanges);
    let mut text = if needed.is_empty() {
        "this run needed no grants\n".to_owned()
    } else {
        let table = toml::to_string(&needed).unwrap_or_default();
        format!("this run needed:\n[grants]\n{table}")
    };
    let beyond = asked.beyond(&needed);
    if !beyond.is_empty() {
        text.push_str(&format!("and plugin.toml asks for more: {beyond}\n"));
    }
    if !needed.is_empty() && beyond.is_empty() {
        text.push_str("and plugin.toml asks for no more\n");
    }
    text.push_str(&format!("\nplay it: {} test {}\n", called_as(), subject.folder.display()));
    text
}

fn needed(asked: &Grants, exchanges: &[Exchange]) -> Grants {
    let needs = exchanges.iter().filter_map(|(call, _)| call.need().ok());
    needs.fold(Grants::default(), |sum, need| sum.union(&need.grants(&asked.commands)))
}
