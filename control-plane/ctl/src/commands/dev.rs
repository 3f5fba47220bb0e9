//! `hostlerctl dev`: breaks the demo, and tells how it heals.

#[cfg(test)]
mod tests;
mod watch;

use super::brakes;
use crate::cli::{DevCommand, Format};
use crate::client::Client;
use crate::output::{Out, json_line};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::terminal::sanitize;
use hostler_types::time::whole_millis;
use serde_json::json;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use watch::{Line, Seen, Watch};

/// What a demo's command begins with.
const DEMO: &str = "hostler-agent demo --port ";
const ASK_MAX: Duration = Duration::from_secs(2);
/// As soon as a person would notice.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Acts, and events: those of the few steps of one healing.
const NEWEST: u32 = 20;

pub async fn run(mut client: Client, out: &Out, format: Format, command: DevCommand) -> Result<(), Problem> {
    let DevCommand::Break { service, node } = command;
    let request = wire::GetServiceRequest { service: service.clone(), node: node.unwrap_or_default() };
    let found = client.get_service(request).await?.into_inner();
    let (port, row) = (port(&service, &found)?, here(&service, &found)?);
    let check = found.live.first().cloned().ok_or_else(|| {
        Problem::Failed(format!("{service} has no live check, so nothing would heal it: add live: [CHECK] to it"))
    })?;
    let of = Of { service: service.clone(), check, node: row.node.clone() };
    let mut seq = of.events(&mut client, String::new(), 1).await?.pop().map(|event| event.seq).unwrap_or_default();
    let before = of.look(&mut client, &mut seq).await?;
    let began_ms = now_ms();
    break_it(port).map_err(|error| {
        Problem::Failed(format!(
            "{service} on {} does not answer on 127.0.0.1:{port}: {error}.  How it stands: hostlerctl service show {service}",
            plain(&row.node)
        ))
    })?;
    let mut watch = Watch::new(began_ms, &before);
    if format == Format::Table {
        let (service, node) = (plain(&service), plain(&row.node));
        out.line(format!(
            "{service} on {node} answers 503 until it is restarted. Watching; Ctrl-C only stops the watching."
        ))?;
        brakes::tell(&mut client).await;
    }
    loop {
        let seen = of.look(&mut client, &mut seq).await?;
        for line in watch.see(&seen) {
            print(out, format, &line)?;
        }
        if let Some(healed) = watch.healed() {
            return match format {
                Format::Table => out.line(format!(
                    "healed in {:.1} s after it was critical.  Reason: hostlerctl why service/{}",
                    healed.as_secs_f64(),
                    sanitize(&service)
                )),
                _ => out.print(&json_line(&json!({"healed_ms": whole_millis(healed)}))),
            };
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn print(out: &Out, format: Format, line: &Line) -> Result<(), Problem> {
    if format == Format::Table {
        return out.line(line.to_string());
    }
    out.print(&json_line(&json!({
        "after_ms": line.after_ms,
        "kind": line.kind,
        "name": line.name,
        "message": line.words,
    })))
}

fn now_ms() -> u64 {
    whole_millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// One line, whatever is in it.
fn plain(text: &str) -> String {
    sanitize(text).replace(['\n', '\r'], " ")
}

/// Nobody's own service is broken by this.
fn port(service: &str, found: &wire::GetServiceResponse) -> Result<u16, Problem> {
    found.runs.strip_prefix(DEMO).and_then(|port| port.trim().parse().ok()).ok_or_else(|| {
        Problem::Failed(format!(
            "{service} runs {}, which is no demo: only {DEMO}PORT can be broken on purpose; cargo xtask up starts one",
            plain(&found.runs)
        ))
    })
}

/// It is asked over loopback, so it has to be this machine's.
fn here(service: &str, found: &wire::GetServiceResponse) -> Result<wire::ServiceRow, Problem> {
    let is_ours = |row: &&wire::ServiceRow| {
        let told = std::fs::read(format!("/proc/{}/cmdline", row.pid)).unwrap_or_default();
        row.pid != 0 && told.split(|byte| *byte == 0).any(|word| word == b"demo")
    };
    found.rows.iter().find(is_ours).cloned().ok_or_else(|| {
        let there: Vec<String> =
            found.rows.iter().map(|row| plain(&format!("{} on {}", row.state, row.node))).collect();
        let there = if there.is_empty() { "it runs nowhere".to_owned() } else { there.join(", ") };
        Problem::Failed(format!(
            "{service} does not run on this machine ({there}): break it where it runs, beside the control plane of \
             cargo xtask up"
        ))
    })
}

/// What is looked at.
struct Of {
    service: String,
    check: String,
    node: String,
}

impl Of {
    async fn events(&self, client: &mut Client, after_seq: String, limit: u32) -> Result<Vec<wire::Event>, Problem> {
        let (node, kind, subject) = (self.node.clone(), "check".to_owned(), self.check.clone());
        let request = wire::ListEventsRequest { node, kind, subject, since_ms: 0, limit, after_seq };
        Ok(client.list_events(request).await?.into_inner().events)
    }

    async fn look(&self, client: &mut Client, seq: &mut String) -> Result<Seen, Problem> {
        let Self { service, check, node } = self;
        let request = wire::GetServiceRequest { service: service.clone(), node: node.clone() };
        let row = client.get_service(request).await?.into_inner().rows.into_iter().next();
        let request = wire::ListChecksRequest { node: node.clone(), check: check.clone() };
        let check = client.list_checks(request).await?.into_inner().checks.into_iter().next();
        let request = wire::ListActsRequest { service: service.clone(), node: node.clone(), limit: NEWEST };
        let acts = client.list_acts(request).await?.into_inner().acts;
        let events = self.events(client, seq.clone(), NEWEST).await?;
        if let Some(newest) = events.last() {
            newest.seq.clone_into(seq);
        }
        Ok(Seen {
            check: check.unwrap_or_default(),
            row: row.unwrap_or_default(),
            acts: acts.into_iter().rev().filter_map(|one| one.act).collect(),
            events,
        })
    }
}

fn break_it(port: u16) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), ASK_MAX)?;
    stream.set_read_timeout(Some(ASK_MAX))?;
    stream.write_all(b"POST /break HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(4 * 1024).read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200") && answer.contains("hostler-demo") {
        return Ok(());
    }
    Err(io::Error::other("something else than the demo answers there"))
}
