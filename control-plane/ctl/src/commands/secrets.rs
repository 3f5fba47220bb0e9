//! `hostlerctl secret`

use crate::cli::{Format, SecretCommand, SecretValue};
use crate::client::Client;
use crate::commands::{confirm, nodes::time};
use crate::output::{Cell, Out, age, plural};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::terminal::sanitize;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::json;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::Path;
use zeroize::Zeroizing;

/// Of a rotated secret, unless something else is said.
const LENGTH: u32 = 32;

pub async fn run(mut client: Client, out: &Out, format: Format, command: SecretCommand) -> Result<(), Problem> {
    match command {
        SecretCommand::Set { name, value } => {
            let request = request(&name, &value, value.file.is_none() && value.generate.is_none())?;
            set(&mut client, out, format, request).await
        }
        SecretCommand::Rotate { name, value, stdin } => {
            let made = value.generate.or((value.file.is_none() && !stdin).then_some(LENGTH));
            let request = request(&name, &SecretValue { generate: made, ..value }, stdin)?;
            set(&mut client, out, format, wire::SetSecretRequest { must_exist: true, ..request }).await
        }
        SecretCommand::Ls => {
            let answer = client.list_secrets(wire::ListSecretsRequest {}).await?.into_inner();
            list(out, format, &answer)
        }
        SecretCommand::Rm { name, yes } => {
            confirm(&sanitize(&format!("The value of secret {name} is gone for good.")), yes)?;
            client.remove_secret(wire::RemoveSecretRequest { name: name.clone() }).await?;
            out.line(sanitize(&format!("{name}  removed")))
        }
        SecretCommand::Rekey => {
            let answer = client.rekey_secrets(wire::RekeySecretsRequest {}).await?.into_inner();
            if format != Format::Table {
                return out.json(&json!({"secrets": answer.secrets, "key_id": answer.key_id}));
            }
            let count = plural(answer.secrets as usize, "secret");
            out.line(format!(
                "{count} sealed anew under the key {}; older backups need the key of their time",
                answer.key_id
            ))
        }
    }
}

fn request(name: &str, value: &SecretValue, from_input: bool) -> Result<wire::SetSecretRequest, Problem> {
    let bytes = match &value.file {
        Some(file) => without_line_end(read_file(file)?),
        None if from_input => read_input(name)?,
        None => Zeroizing::default(),
    };
    if bytes.is_empty() && value.generate.is_none() {
        return Err(Problem::Usage(
            "the value is empty: pipe it in, name a file (--file FILE), or have one made (--generate)".to_owned(),
        ));
    }
    Ok(wire::SetSecretRequest {
        name: name.to_owned(),
        value: bytes.to_vec(),
        generate: value.generate.unwrap_or_default(),
        must_exist: false,
        must_be_new: false,
    })
}

fn read_file(file: &Path) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let bytes = std::fs::read(file);
    bytes.map(Zeroizing::new).map_err(|source| Problem::File { operation: "read", path: file.to_owned(), source })
}

/// Typed unseen where there is a terminal, else all there is.
fn read_input(name: &str) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let failed = |error: io::Error| Problem::Failed(format!("read the value from standard input: {error}"));
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let mut bytes = Zeroizing::new(Vec::new());
        stdin.lock().read_to_end(&mut bytes).map_err(failed)?;
        return Ok(without_line_end(bytes));
    }
    let _ = write!(io::stderr(), "value of {} (it is not shown): ", sanitize(name));
    let shown = tcgetattr(&stdin).map_err(|error| failed(error.into()))?;
    let mut unseen = shown.clone();
    unseen.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &unseen).map_err(|error| failed(error.into()))?;
    let mut line = Zeroizing::new(String::new());
    let read = stdin.lock().read_line(&mut line);
    let _ = tcsetattr(&stdin, OptionalActions::Flush, &shown);
    let _ = writeln!(io::stderr());
    read.map_err(failed)?;
    Ok(without_line_end(Zeroizing::new(line.as_bytes().to_vec())))
}

/// The one that an editor or `echo` leaves.
fn without_line_end(mut bytes: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    bytes
}

async fn set(client: &mut Client, out: &Out, format: Format, request: wire::SetSecretRequest) -> Result<(), Problem> {
    let secret = client.set_secret(request).await?.into_inner();
    if format != Format::Table {
        return out.json(&to_json(&secret));
    }
    let goes = match (secret.nodes.len(), secret.systems.as_slice()) {
        (0, []) => format!("no spec names it yet: secret: {{{}: {{}}}}", secret.name),
        (0, _) => "no check on any node uses it yet".to_owned(),
        (nodes, _) => format!("goes to {} now: {}", plural(nodes, "node"), secret.used_by.join(", ")),
    };
    out.line(sanitize(&format!("{}  version {}; {goes}", secret.name, secret.version)))
}

fn to_json(secret: &wire::Secret) -> serde_json::Value {
    json!({
        "name": secret.name,
        "version": secret.version,
        "set_at": (secret.set_at_ms > 0).then(|| time(secret.set_at_ms)),
        "set_by": secret.set_by,
        "systems": secret.systems,
        "used_by": secret.used_by,
        "nodes": secret.nodes,
    })
}

fn list(out: &Out, format: Format, answer: &wire::ListSecretsResponse) -> Result<(), Problem> {
    if format != Format::Table {
        return out.json(&answer.secrets.iter().map(to_json).collect::<Vec<_>>());
    }
    if answer.secrets.is_empty() {
        return out.line("there are no secrets.  Make one: hostlerctl secret set NAME");
    }
    let row = |secret: &wire::Secret| {
        let is_set = secret.version > 0;
        vec![
            Cell::new(&secret.name),
            Cell::new(if is_set { format!("v{}", secret.version) } else { "no value".to_owned() }),
            Cell::new(if is_set { age(secret.set_at_ms, answer.wall_ms) } else { "-".to_owned() }),
            Cell::new(if is_set { secret.set_by.clone() } else { "-".to_owned() }),
            Cell::new(secret.systems.first().cloned().unwrap_or_else(|| "-".to_owned())),
            Cell::new(if secret.used_by.is_empty() { "-".to_owned() } else { secret.used_by.join(", ") }),
            Cell::new(secret.nodes.len().to_string()),
        ]
    };
    let head = ["SECRET", "VALUE", "SET", "BY", "SYSTEM", "USED BY", "NODES"];
    out.print(&out.table(&head, &answer.secrets.iter().map(row).collect::<Vec<_>>()))?;
    if let Some(missing) = answer.secrets.iter().find(|secret| secret.version == 0) {
        out.line(sanitize(&format!("{0} has no value yet:  hostlerctl secret set {0}", missing.name)))?;
    }
    Ok(())
}
