//! `hostlerctl events`

use crate::cli::{EventsArgs, Format};
use crate::client::Client;
use crate::output::{Out, Tone, json_line};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::Timestamp;
use hostler_types::terminal::sanitize;
use hostler_types::time::whole_millis;
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

pub async fn run(mut client: Client, out: &Out, format: Format, args: EventsArgs) -> Result<(), Problem> {
    let now_ms = whole_millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    let request = wire::ListEventsRequest {
        node: args.node.clone().unwrap_or_default(),
        kind: args.kind.clone().unwrap_or_default(),
        subject: args.subject.clone().unwrap_or_default(),
        since_ms: args.since.map_or(0, |since| now_ms.saturating_sub(whole_millis(since))),
        limit: args.limit,
        after_seq: args.after.clone().unwrap_or_default(),
    };
    let past = client.list_events(request).await?.into_inner().events;
    let newest = past.last().map(|event| event.seq.clone()).or(args.after);
    print(out, format, &past)?;
    if !args.watch {
        return Ok(());
    }
    let request = wire::WatchEventsRequest {
        node: args.node.unwrap_or_default(),
        kind: args.kind.unwrap_or_default(),
        subject: args.subject.unwrap_or_default(),
        after_seq: newest.unwrap_or_default(),
    };
    let mut stream = client.watch_events(request).await?.into_inner();
    while let Some(event) = stream.message().await? {
        print(out, format, &[event])?;
    }
    Err(Problem::Failed("the control plane ended the stream".into()))
}

fn print(out: &Out, format: Format, events: &[wire::Event]) -> Result<(), Problem> {
    for event in events {
        let at = Timestamp::from_millis(event.at_ms).to_string();
        if format != Format::Table {
            let value = json!({
                "seq": event.seq,
                "at": at,
                "kind": event.kind,
                "node": event.node,
                "subject": event.subject,
                "message": event.message,
            });
            out.print(&json_line(&value))?;
            continue;
        }
        // The date and the time of day are enough for people, in UTC.
        let when = at.get(..19).unwrap_or(&at).replace('T', " ");
        let node = if event.node.is_empty() { "-" } else { &event.node };
        let message = sanitize(&event.message);
        let tone = match event.message.split_once(" -> ").map(|(_, to)| to) {
            Some(to) if to.starts_with("critical") || to.starts_with("lost") => Tone::Bad,
            Some(to) if to.starts_with("passing") || to.starts_with("ready") => Tone::Good,
            Some(to) if to.starts_with("warning") || to.starts_with("unknown") => Tone::Uneasy,
            _ => Tone::Plain,
        };
        let mut line = format!("{}  {:<6} ", out.paint(&when, Tone::Faint), sanitize(&event.kind));
        line.push_str(&format!("{:<12} {:<12} ", sanitize(node), sanitize(&event.subject)));
        line.push_str(&out.paint(&message, tone));
        out.line(line)?;
    }
    Ok(())
}
