//! `hostlerctl token`: letting hosts in.

use super::nodes::time;
use crate::cli::{Format, TokenCommand};
use crate::client::Client;
use crate::output::{Cell, Out, age};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::terminal::sanitize;
use hostler_types::time::whole_millis;
use hostler_types::units::format_duration;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

pub async fn token(mut client: Client, out: &Out, format: Format, command: TokenCommand) -> Result<(), Problem> {
    match command {
        TokenCommand::Create { ttl, uses, labels } => {
            if uses == 0 || ttl.is_zero() {
                return Err(Problem::Usage("a code that works for nobody: give --uses and --ttl above zero".into()));
            }
            let request =
                wire::CreateTokenRequest { ttl_ms: whole_millis(ttl), uses, labels: labels.into_iter().collect() };
            let made = client.create_token(request).await?.into_inner();
            created(out, format, &made, ttl, uses)
        }
        TokenCommand::Ls => {
            let answer = client.list_tokens(wire::ListTokensRequest {}).await?.into_inner();
            list_tokens(out, format, &answer)
        }
        TokenCommand::Rm { id } => {
            client.remove_token(wire::RemoveTokenRequest { id: id.clone() }).await?;
            out.line(format!("join code {id} works no more."))
        }
    }
}

fn in_words(ttl: Duration) -> String {
    match ttl.as_secs() {
        60 => "1 minute".to_owned(),
        seconds if seconds % 60 == 0 && seconds < 7_200 => format!("{} minutes", seconds / 60),
        _ => format_duration(ttl),
    }
}

fn created(
    out: &Out,
    format: Format,
    made: &wire::CreateTokenResponse,
    ttl: Duration,
    uses: u32,
) -> Result<(), Problem> {
    if !made.warning.is_empty() {
        eprintln!("warning: {}", sanitize(&made.warning));
    }
    if format != Format::Table {
        return out.json(&json!({
            "code": made.code,
            "id": made.id,
            "expires_at": time(made.expires_at_ms),
            "install": (!made.install.is_empty()).then_some(&made.install),
        }));
    }
    let times = if uses == 1 { "once".to_owned() } else { format!("{uses} times") };
    if made.install.is_empty() {
        out.line(format!("As root on this machine, within {}, {times}:", in_words(ttl)))?;
        return out.line(format!("  hostler-agent join {}", made.code));
    }
    out.line(format!("As root on the new host, within {}, {times}:", in_words(ttl)))?;
    out.line(format!("  {}", made.install))?;
    out.line("No curl, a proxy, no network:  hostlerctl token create --help")
}

fn list_tokens(out: &Out, format: Format, answer: &wire::ListTokensResponse) -> Result<(), Problem> {
    if format != Format::Table {
        let tokens = answer.tokens.iter().map(|token| {
            json!({
                "id": token.id,
                "expires_at": time(token.expires_at_ms),
                "uses_left": token.uses_left,
                "labels": token.labels.iter().collect::<BTreeMap<_, _>>(),
                "created_by": token.created_by,
            })
        });
        return out.json(&tokens.collect::<Vec<_>>());
    }
    if answer.tokens.is_empty() {
        return out.line("no join codes that still work.  Make one: hostlerctl token create");
    }
    let row = |token: &wire::Token| {
        let labels: BTreeMap<_, _> = token.labels.iter().collect();
        let labels: Vec<String> = labels.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        vec![
            Cell::new(&token.id),
            Cell::new(age(answer.wall_ms, token.expires_at_ms)),
            Cell::new(token.uses_left.to_string()),
            Cell::new(if labels.is_empty() { "-".to_owned() } else { labels.join(",") }),
            Cell::new(&token.created_by),
        ]
    };
    let rows: Vec<_> = answer.tokens.iter().map(row).collect();
    out.print(&out.table(&["ID", "ENDS IN", "USES", "LABELS", "BY"], &rows))
}
