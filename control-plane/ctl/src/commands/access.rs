//! `hostlerctl token` and `hostlerctl operator`: letting hosts and people in.

use super::nodes::time;
use crate::cli::{Format, OperatorCommand, TokenCommand};
use crate::client::{Client, write_contexts};
use crate::output::{Cell, Out, age};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_proto::context::{Context, Contexts};
use hostler_proto::pem;
use hostler_types::time::whole_millis;
use hostler_types::units::format_duration;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
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
        eprintln!("warning: {}", made.warning);
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

pub async fn operator(mut client: Client, out: &Out, format: Format, command: OperatorCommand) -> Result<(), Problem> {
    match command {
        OperatorCommand::Create { name, out: file, ttl } => {
            let file = file.unwrap_or_else(|| PathBuf::from(format!("{name}.contexts.toml")));
            if ttl.is_zero() {
                return Err(Problem::Usage("a certificate that is never valid: give --ttl above zero".into()));
            }
            if file.exists() {
                return Err(Problem::Usage(format!("{} exists already: name another with --out", file.display())));
            }
            create_operator(&mut client, &name, &file, ttl).await?;
            out.line(format!(
                "{name} can now use the control plane with {}: hand it over, and delete it here.\nThey put it at ~/.config/hostler/contexts.toml, readable by themselves alone.",
                file.display()
            ))
        }
        OperatorCommand::Ls => {
            let answer = client.list_operators(wire::ListOperatorsRequest {}).await?.into_inner();
            list_operators(out, format, &answer)
        }
    }
}

async fn create_operator(
    client: &mut Client,
    name: &str,
    file: &std::path::Path,
    ttl: Duration,
) -> Result<(), Problem> {
    let failed = |error: rcgen::Error| Problem::Failed(format!("make a key: {error}"));
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let request = CertificateParams::default().serialize_request(&key).map_err(failed)?;
    let request = wire::CreateOperatorRequest {
        name: name.to_owned(),
        csr_der: request.der().to_vec(),
        ttl_ms: whole_millis(ttl),
    };
    // Before the name is taken: a file that can't be written must not cost it.
    write_contexts(file, &Contexts::default())?;
    let made = match client.create_operator(request).await {
        Ok(made) => made.into_inner(),
        Err(status) => {
            let _ = std::fs::remove_file(file);
            return Err(status.into());
        }
    };
    let context = Context {
        addresses: made.addresses,
        operator: name.to_owned(),
        authorities: pem::encode_chain(made.authorities_der.iter().map(Vec::as_slice)),
        certificate: pem::encode_chain(made.chain_der.iter().map(Vec::as_slice)),
        key: pem::encode_key(key.serialized_der()),
    };
    let contexts = Contexts {
        current: Some("control-plane".to_owned()),
        contexts: BTreeMap::from([("control-plane".to_owned(), context)]),
    };
    write_contexts(file, &contexts)
}

fn list_operators(out: &Out, format: Format, answer: &wire::ListOperatorsResponse) -> Result<(), Problem> {
    if format != Format::Table {
        let operators = answer.operators.iter().map(|one| {
            json!({
                "name": one.name,
                "created_at": time(one.created_at_ms),
                "not_after": time(one.not_after_ms),
                "created_by": one.created_by,
            })
        });
        return out.json(&operators.collect::<Vec<_>>());
    }
    let row = |one: &wire::Operator| {
        vec![Cell::new(&one.name), Cell::new(age(answer.wall_ms, one.not_after_ms)), Cell::new(&one.created_by)]
    };
    let rows: Vec<_> = answer.operators.iter().map(row).collect();
    out.print(&out.table(&["OPERATOR", "ENDS IN", "BY"], &rows))
}
