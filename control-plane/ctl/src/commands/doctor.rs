//! `hostlerctl doctor`: what is not as it should be. The control plane judges; from
//! here comes what only this machine can see.

use crate::cli::{Format, Global};
use crate::client;
use crate::output::{Out, Tone, plural};
use crate::plan_view::hanging;
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::terminal::sanitize;
use hostler_types::time::whole_millis;
use serde_json::json;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;

/// As long as a person waits for a port that a firewall swallows.
const REACH_TIMEOUT: Duration = Duration::from_secs(3);

pub async fn run(global: &Global, out: &Out) -> Result<ExitCode, Problem> {
    let mut client = client::connect(global).await?;
    // The first call pays for the connection; the second measures.
    client.get_server(wire::GetServerRequest {}).await?;
    let (asked, asked_at) = (Instant::now(), wall_ms());
    let server = client.get_server(wire::GetServerRequest {}).await?.into_inner();
    let clock_ahead_ms = ahead(asked_at, asked.elapsed(), server.wall_ms);
    let mut unreachable = Vec::new();
    for address in server.addresses {
        unreachable.extend(reach(address).await);
    }
    let request = wire::DiagnoseRequest {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        clock_ahead_ms: Some(clock_ahead_ms),
        unreachable,
    };
    let findings = client.diagnose(request).await?.into_inner().findings;
    if global.output == Format::Table {
        out.print(&render(&findings, out))?;
    } else {
        let finding = |one: &wire::Finding| json!({"name": one.name, "severity": one.severity, "text": one.text, "help": one.help});
        out.json(&findings.iter().map(finding).collect::<Vec<_>>())?;
    }
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn wall_ms() -> u64 {
    whole_millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// The control plane said its time about half-way through.
fn ahead(asked_at_ms: u64, took: Duration, server_ms: u64) -> i64 {
    let here = i64::try_from(asked_at_ms + whole_millis(took / 2)).unwrap_or(i64::MAX);
    here.saturating_sub(i64::try_from(server_ms).unwrap_or(i64::MAX))
}

async fn reach(address: String) -> Option<wire::Unreachable> {
    let why = match tokio::time::timeout(REACH_TIMEOUT, TcpStream::connect(&address)).await {
        Ok(Ok(_)) => return None,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", REACH_TIMEOUT.as_secs()),
    };
    Some(wire::Unreachable { address, why })
}

fn render(findings: &[wire::Finding], out: &Out) -> String {
    if findings.is_empty() {
        return "all is well.\n".to_owned();
    }
    let mut text = String::new();
    for one in findings {
        let tone = match one.severity.as_str() {
            "bad" => Tone::Bad,
            "warn" => Tone::Uneasy,
            _ => Tone::Faint,
        };
        let severity = format!("{:<6}", sanitize(&one.severity));
        let line = hanging("      ", &sanitize(&format!("{} ({})", one.text, one.name)));
        text.push_str(&out.paint(&severity, tone));
        text.push_str(line.trim_start());
        // To be copied, so never broken.
        text.push_str(&format!("      -> {}\n", sanitize(&one.help)));
    }
    let count = |severity: &str| findings.iter().filter(|one| one.severity == severity).count();
    let parts = [(count("bad"), "bad"), (count("warn"), "to see to"), (count("hint"), "to improve")];
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    text.push_str(&format!("\n{}: {}\n", plural(findings.len(), "finding"), parts.join(", ")));
    text
}

#[cfg(test)]
mod tests;
