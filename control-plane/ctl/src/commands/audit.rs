//! `hostlerctl audit`

use crate::cli::{AuditArgs, AuditCommand, AuditListArgs, Format, Global};
use crate::client::{self, Client};
use crate::output::{Cell, Out, Tone, json_line, plural};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::Timestamp;
use hostler_types::terminal::sanitize;
use hostler_types::time::whole_millis;
use serde_json::json;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};
use tonic::Code;

/// As many as fit on a screen.
const LIMIT_DEFAULT: u64 = 50;

pub async fn run(global: &Global, out: &Out, args: AuditArgs) -> Result<ExitCode, Problem> {
    match args.command {
        None => list(client::connect(global).await?, out, global.output, args.list).await.map(|()| ExitCode::SUCCESS),
        Some(AuditCommand::Verify { data_dir: Some(folder) }) => verify_folder(&folder),
        Some(AuditCommand::Verify { data_dir: None }) => {
            verify(client::connect(global).await?, out, global.output).await
        }
    }
}

fn request(args: &AuditListArgs, format: Format, now_ms: u64) -> wire::ListAuditRequest {
    let on = args.on.as_deref().unwrap_or_default();
    let (noun, name) = on.split_once('/').unwrap_or((on, ""));
    // All of it is for other programs, and in the order in which it happened.
    let limit = args.limit.unwrap_or(if format == Format::Table { LIMIT_DEFAULT } else { 0 });
    wire::ListAuditRequest {
        by: args.by.clone().unwrap_or_default(),
        on_noun: noun.to_owned(),
        on_name: name.to_owned(),
        since_ms: args.since.map_or(0, |since| now_ms.saturating_sub(whole_millis(since))),
        until_ms: args.until.map_or(0, |until| now_ms.saturating_sub(whole_millis(until))),
        refused: args.refused,
        limit,
        oldest_first: limit == 0,
    }
}

async fn list(mut client: Client, out: &Out, format: Format, args: AuditListArgs) -> Result<(), Problem> {
    let now_ms = whole_millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    let request = request(&args, format, now_ms);
    let oldest_first = request.oldest_first;
    let mut pages = client.list_audit(request).await?.into_inner();
    let mut kept = Vec::new();
    while let Some(page) = pages.message().await? {
        if oldest_first && format != Format::Table {
            out.print(&page.records.iter().map(line).collect::<String>())?;
        } else {
            kept.extend(page.records);
        }
    }
    if !oldest_first {
        kept.reverse();
    }
    match format {
        Format::Table if kept.is_empty() => out.line("no such call"),
        Format::Table => out.print(&table(out, &kept)),
        Format::Json | Format::Yaml => out.print(&kept.iter().map(line).collect::<String>()),
    }
}

/// `not-found`
fn outcome(record: &wire::AuditRecord) -> String {
    let code = Code::from(i32::try_from(record.code).unwrap_or_default());
    if record.refused {
        return "refused".to_owned();
    }
    let mut word = String::new();
    for c in format!("{code:?}").chars() {
        if c.is_uppercase() && !word.is_empty() {
            word.push('-');
        }
        word.push(c.to_ascii_lowercase());
    }
    word
}

fn on(record: &wire::AuditRecord) -> Vec<String> {
    record.on.iter().map(|object| format!("{}/{}", object.noun, object.name)).collect()
}

fn line(record: &wire::AuditRecord) -> String {
    json_line(&json!({
        "number": record.number,
        "at": Timestamp::from_millis(record.at_ms).to_string(),
        "by": record.by,
        "by_kind": record.by_kind,
        "by_id": record.by_id,
        "from": record.from,
        "call": record.call,
        "on": on(record),
        "outcome": outcome(record),
        "words": record.words,
        "request_id": record.request_id,
    }))
}

fn table(out: &Out, records: &[wire::AuditRecord]) -> String {
    let rows: Vec<Vec<Cell>> = records.iter().map(row).collect();
    out.table(&["WHEN", "BY", "FROM", "CALL", "ON", "OUTCOME"], &rows)
}

fn row(record: &wire::AuditRecord) -> Vec<Cell> {
    let at = Timestamp::from_millis(record.at_ms).to_string();
    let by = match (record.by.as_str(), record.by_kind.as_str()) {
        ("", "server") => "the control plane".to_owned(),
        ("", _) if !record.by_id.is_empty() => record.by_id.clone(),
        ("", _) => "nobody known".to_owned(),
        (name, "operator") => name.to_owned(),
        (name, kind) => format!("{kind} {name}"),
    };
    let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let outcome = outcome(record);
    let tone = match outcome.as_str() {
        "ok" => Tone::Plain,
        "refused" => Tone::Bad,
        _ => Tone::Uneasy,
    };
    let told = if record.words.is_empty() { outcome } else { format!("{outcome}: {}", record.words) };
    vec![
        // The date and the time of day are enough for people, in UTC.
        Cell::new(at.get(..19).unwrap_or(&at).replace('T', " ")).tone(Tone::Faint),
        Cell::new(by),
        Cell::new(dash(record.from.clone())),
        Cell::new(&record.call),
        Cell::new(dash(on(record).join(", "))),
        Cell::new(told).tone(tone),
    ]
}

async fn verify(mut client: Client, out: &Out, format: Format) -> Result<ExitCode, Problem> {
    let told = client.verify_audit(wire::VerifyAuditRequest {}).await?.into_inner();
    let time = |ms| Timestamp::from_millis(ms).to_string();
    let is_good = told.bad_number == 0;
    if format != Format::Table {
        out.json(&match is_good {
            true => json!({
                "good": true,
                "first": told.first,
                "last": told.last,
                "first_at": time(told.first_at_ms),
                "last_at": time(told.last_at_ms),
                "calls": told.calls,
                "checkpoints": told.checkpoints,
            }),
            false => json!({
                "good": false,
                "number": told.bad_number,
                "at": time(told.bad_at_ms),
                "fault": told.fault,
                "words": told.words,
            }),
        })?;
    } else if is_good {
        let calls = plural(usize::try_from(told.calls).unwrap_or(usize::MAX), "call");
        out.line(format!(
            "the audit log is what was written: {calls} since {}, records {} to {}, {} checkpoints",
            time(told.first_at_ms),
            told.first,
            told.last,
            told.checkpoints
        ))?;
    } else {
        out.line(format!("BAD: {} ({})", sanitize(&told.words), time(told.bad_at_ms)))?;
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Without a control plane to ask: its own program reads its folder.
fn verify_folder(folder: &Path) -> Result<ExitCode, Problem> {
    const NAME: &str = "hostler-control-plane";
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(NAME)));
    let program = beside.filter(|path| path.is_file()).unwrap_or_else(|| NAME.into());
    match Command::new(&program).arg("--data-dir").arg(folder).args(["audit", "verify"]).status() {
        Ok(status) => Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Problem::Failed(format!(
            "there is no {NAME} beside hostlerctl or in PATH, and reading its folder is its work: run this where it is \
             installed"
        ))),
        Err(source) => Err(Problem::File { operation: "start", path: program, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> wire::AuditRecord {
        wire::AuditRecord {
            number: 7,
            at_ms: 1_790_000_000_000,
            by_kind: "operator".into(),
            by: "anna".into(),
            from: "10.0.0.7:50112".into(),
            call: "RevokeNode".into(),
            on: vec![wire::AuditObject { noun: "node".into(), name: "web1".into() }],
            request_id: "9f3c".into(),
            ..wire::AuditRecord::default()
        }
    }

    #[test]
    fn what_people_read() {
        let refused = wire::AuditRecord {
            by_kind: "nobody".into(),
            by: String::new(),
            call: "Join".into(),
            code: 7,
            refused: true,
            words: "this join code is not known\u{1b}[2J".into(),
            on: Vec::new(),
            ..record()
        };
        let failed = wire::AuditRecord { by_kind: "node".into(), by: "db1".into(), code: 5, ..record() };
        insta::assert_snapshot!(table(&Out::plain(None), &[record(), refused, failed]), @r"
        WHEN                 BY            FROM            CALL        ON         OUTCOME
        2026-09-21 14:13:20  anna          10.0.0.7:50112  RevokeNode  node/web1  ok
        2026-09-21 14:13:20  nobody known  10.0.0.7:50112  Join        -          refused: this join code is not known\u{1b}[2J
        2026-09-21 14:13:20  node db1      10.0.0.7:50112  RevokeNode  node/web1  not-found
        ");
        let for_scripts: serde_json::Value = serde_json::from_str(&line(&record())).expect("JSON");
        assert_eq!((&for_scripts["on"], &for_scripts["outcome"]), (&json!(["node/web1"]), &json!("ok")));
    }

    #[test]
    fn scripts_get_all_in_order_and_people_the_newest() {
        let args = AuditListArgs { on: Some("node/web1".into()), ..AuditListArgs::default() };
        let asked = request(&args, Format::Table, 10);
        assert_eq!((asked.on_noun.as_str(), asked.on_name.as_str()), ("node", "web1"));
        assert_eq!((asked.limit, asked.oldest_first), (LIMIT_DEFAULT, false));
        let asked = request(&args, Format::Json, 10);
        assert_eq!((asked.limit, asked.oldest_first), (0, true));
        let few = AuditListArgs { limit: Some(3), ..args };
        assert!(!request(&few, Format::Json, 10).oldest_first);
    }
}
