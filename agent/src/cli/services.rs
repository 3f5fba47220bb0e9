//! `hostler-agent service`, `logs`, `why`, `pause`: the host's services, with or
//! without a control plane.

use crate::clock;
use crate::config::Config;
use crate::local::{self, Question};
use crate::status::{Output, Service, Snapshot, tell_brakes};
use anyhow::{Context, Result};
use clap::Subcommand;
use hostler_types::service::Act;
use hostler_types::terminal::sanitize;
use hostler_types::time::whole_millis;
use hostler_types::units::{format_age, parse_duration};
use hostler_types::{Name, ServiceVerb, Timestamp};
use std::io::Write;
use std::time::Duration;

#[derive(Subcommand)]
pub enum What {
    /// How they stand
    Ls {
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Start one, and wait until it is well
    Start { service: Name },
    /// Stop one; it stays so, also through a restart of the host
    Stop { service: Name },
    /// Stop one and start it again
    Restart { service: Name },
    /// Tell one to read its configuration again
    Reload { service: Name },
}

pub fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

pub fn run(config: &Config, what: What) -> Result<()> {
    let (verb, service) = match what {
        What::Ls { output } => return ls(config, output),
        What::Start { service } => (ServiceVerb::Start, service),
        What::Stop { service } => (ServiceVerb::Stop, service),
        What::Restart { service } => (ServiceVerb::Restart, service),
        What::Reload { service } => (ServiceVerb::Reload, service),
    };
    let name = service.clone();
    let answer = local::question(config, &Question::Service { verb, service }, None)?;
    let words = answer.get("words").and_then(serde_json::Value::as_str).unwrap_or_default();
    writeln!(std::io::stdout(), "{name}: {}", sanitize(words))?;
    Ok(())
}

fn ls(config: &Config, output: Output) -> Result<()> {
    let Snapshot { services, brakes, .. } = local::ask(config)?;
    let mut out = std::io::stdout().lock();
    if output == Output::Json {
        writeln!(out, "{}", serde_json::to_string_pretty(&services)?)?;
        return Ok(());
    }
    if services.is_empty() {
        writeln!(out, "no services are assigned to this host")?;
        return Ok(());
    }
    let several = |one: &Service| services.iter().filter(|other| other.service == one.service).count() > 1;
    let name = |one: &Service| match several(one) {
        true => format!("{}/{}", one.service, one.replica),
        false => one.service.clone(),
    };
    let width = services.iter().map(|one| name(one).len()).max().unwrap_or(0).max(7);
    let now = clock::wall();
    writeln!(out, "{:<width$}  {:<8}  {:>5}  {:>7}  {:>8}  WORDS", "SERVICE", "STATE", "SINCE", "PID", "RESTARTS")?;
    for one in &services {
        let since = format_age(now.since(Timestamp::from_millis(one.since_ms)));
        let pid = one.pid.map_or("-".to_owned(), |pid| pid.to_string());
        let (state, restarts, words) = (one.state, one.restarts, sanitize(&one.words));
        let line = format!("{:<width$}  {state:<8}  {since:>5}  {pid:>7}  {restarts:>8}  {words}", name(one));
        writeln!(out, "{}", line.trim_end())?;
    }
    tell_brakes(&mut out, &brakes)?;
    Ok(())
}

pub fn logs(config: &Config, service: Name, lines: u32) -> Result<()> {
    let answer = local::question(config, &Question::Tail { service, lines }, None)?;
    let mut out = std::io::stdout().lock();
    for line in answer.get("lines").and_then(serde_json::Value::as_array).into_iter().flatten() {
        writeln!(out, "{}", sanitize(line.as_str().unwrap_or_default()))?;
    }
    Ok(())
}

pub fn why(config: &Config, service: Option<Name>, output: Output) -> Result<()> {
    let answer = local::question(config, &Question::Acts { service }, None)?;
    let acts = answer.get("acts").cloned().unwrap_or_default();
    let mut out = std::io::stdout().lock();
    if output == Output::Json {
        writeln!(out, "{}", serde_json::to_string_pretty(&acts)?)?;
        return Ok(());
    }
    let acts: Vec<Act> = serde_json::from_value(acts).context("read the agent's answer")?;
    if acts.is_empty() {
        writeln!(out, "nothing was done about it of late")?;
    }
    for act in acts.iter().rev() {
        writeln!(out, "{}", told(act))?;
    }
    Ok(())
}

/// As `hostlerctl why` tells it.
fn told(act: &Act) -> String {
    let by = match (act.deed.is_done(), act.by.as_str()) {
        (false, _) => String::new(),
        (true, "") => " by itself".to_owned(),
        (true, by) => format!(" by {}", sanitize(by)),
    };
    let mut text = format!("{}  {} {}{by}  act {}\n", act.at, act.service, act.deed, act.id);
    let mut line = |what: &str, words: &str| text.push_str(&format!("  {what:<7}  {}\n", sanitize(words)));
    let several = [("saw", &act.saw), ("allowed", &act.allowed), ("refused", &act.refused)];
    for (what, all) in several {
        for (index, words) in all.iter().enumerate() {
            line(if index == 0 { what } else { "" }, words);
        }
        if what == "saw" && !act.rule.is_empty() {
            line("rule", &format!("{}  {}", act.rule, act.origin));
        }
    }
    if let Some(result) = &act.result {
        line("result", result);
    }
    for (index, words) in act.tail.iter().enumerate() {
        line(if index == 0 { "printed" } else { "" }, words);
    }
    text
}

pub fn pause(config: &Config, for_: Option<Duration>, reason: String) -> Result<()> {
    let question = Question::Pause { for_ms: for_.map(whole_millis), reason };
    local::question(config, &question, None)?;
    let until =
        for_.map_or("until hostler-agent resume".to_owned(), |span| format!("until {}", clock::wall().plus(span)));
    writeln!(std::io::stdout(), "paused {until}: services that end or fail are left as they are; checks go on")?;
    Ok(())
}

pub fn resume(config: &Config) -> Result<()> {
    local::question(config, &Question::Resume, None)?;
    writeln!(std::io::stdout(), "services are looked after again")?;
    Ok(())
}
