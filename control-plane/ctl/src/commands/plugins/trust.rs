//! `hostlerctl plugin trust`

use crate::cli::{Format, TrustCommand};
use crate::client::Client;
use crate::commands::{confirm, nodes::time};
use crate::output::{Cell, Out, age};
use crate::problem::Problem;
use data_encoding::{BASE64, HEXLOWER};
use hostler_proto::admin as wire;
use hostler_types::plugin::key_id;
use hostler_types::terminal::sanitize;
use serde_json::json;
use std::path::Path;

/// The word before a public key in its file.
const KEY_WORD: &str = "hostler-plugin-key";

pub async fn run(client: &mut Client, out: &Out, format: Format, command: TrustCommand) -> Result<(), Problem> {
    match command {
        TrustCommand::Add { name, file } => {
            let public_key = read_key(&file)?;
            let key = client.trust_key(wire::TrustKeyRequest { name, public_key }).await?.into_inner();
            if format != Format::Table {
                return out.json(&to_json(&key));
            }
            out.line(sanitize(&format!("{}  trusted: from now on a plugin must be signed", key.name)))
        }
        TrustCommand::Ls => {
            let answer = client.list_trusted_keys(wire::ListTrustedKeysRequest {}).await?.into_inner();
            list(out, format, &answer)
        }
        TrustCommand::Rm { name, yes } => {
            confirm(&sanitize(&format!("What is signed by {name} is refused from now on.")), yes)?;
            client.untrust_key(wire::UntrustKeyRequest { name: name.clone() }).await?;
            out.line(sanitize(&format!("{name}  trusted no more; what it signed and is here stays")))
        }
    }
}

fn read_key(file: &Path) -> Result<Vec<u8>, Problem> {
    let text = std::fs::read_to_string(file).map_err(|source| Problem::File {
        operation: "read",
        path: file.to_owned(),
        source,
    })?;
    let mut words = text.split_whitespace();
    let key = match (words.next(), words.next()) {
        (Some(KEY_WORD), Some(key)) => BASE64.decode(key.as_bytes()).ok(),
        _ => None,
    };
    key.ok_or_else(|| {
        Problem::Failed(format!(
            "{} is no public key: it should read `{KEY_WORD} BASE64`, as hostlerctl plugin keygen writes it into FILE.pub",
            file.display()
        ))
    })
}

fn to_json(key: &wire::TrustedKey) -> serde_json::Value {
    json!({
        "name": key.name,
        "id": key_id(&key.public_key),
        "public_key": HEXLOWER.encode(&key.public_key),
        "added_at": time(key.added_at_ms),
        "added_by": key.added_by,
    })
}

fn list(out: &Out, format: Format, answer: &wire::ListTrustedKeysResponse) -> Result<(), Problem> {
    if format != Format::Table {
        return out.json(&answer.keys.iter().map(to_json).collect::<Vec<_>>());
    }
    if answer.keys.is_empty() {
        return out.line(
            "no key is trusted, so plugins need no signature.  Trust one: hostlerctl plugin trust add NAME FILE.pub",
        );
    }
    let row = |key: &wire::TrustedKey| {
        vec![
            Cell::new(&key.name),
            Cell::new(key_id(&key.public_key)),
            Cell::new(age(key.added_at_ms, answer.wall_ms)),
            Cell::new(&key.added_by),
        ]
    };
    let head = ["KEY", "ID", "ADDED", "BY"];
    out.print(&out.table(&head, &answer.keys.iter().map(row).collect::<Vec<_>>()))
}
