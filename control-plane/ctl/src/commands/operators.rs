//! `hostlerctl operator` and `whoami`: letting people and their programs in.

use super::confirm;
use super::nodes::time;
use crate::cli::{Format, Given, Global, OperatorCommand, OperatorTokenCommand};
use crate::client::{Client, open_contexts, write_contexts};
use crate::output::{Cell, Out, Tone, age, ago};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_proto::context::{Context, Contexts, TOKEN_VARIABLE};
use hostler_proto::pem;
use hostler_types::terminal::sanitize;
use hostler_types::time::whole_millis;
use hostler_types::units::format_duration;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub async fn run(mut client: Client, out: &Out, global: &Global, command: OperatorCommand) -> Result<(), Problem> {
    let format = global.output;
    match command {
        OperatorCommand::Create { name, given, out: file, ttl, without_certificate } => {
            if without_certificate {
                let request = wire::CreateOperatorRequest {
                    name: name.clone(),
                    roles: given.roles,
                    systems: given.systems,
                    ..wire::CreateOperatorRequest::default()
                };
                client.create_operator(request).await?;
                return out.line(format!(
                    "{name} is there, and gets in with a token: hostlerctl operator token create {name}"
                ));
            }
            let file = file.unwrap_or_else(|| PathBuf::from(format!("{name}.contexts.toml")));
            create(&mut client, &name, &file, ttl, Some(&given)).await?;
            let viewer = if given.roles.is_empty() {
                format!("\nThey may look, and change nothing; for more: hostlerctl operator set {name} --role operator")
            } else {
                String::new()
            };
            out.line(format!(
                "{name} can use the control plane for {} with {}: hand it over, and delete it here.\nThey put it at ~/.config/hostler/contexts.toml, readable by themselves alone.{viewer}",
                format_duration(ttl),
                file.display()
            ))
        }
        OperatorCommand::Renew { name, out: file, ttl } => renew(client, out, global, name, file, ttl).await,
        OperatorCommand::Ls => {
            let answer = client.list_operators(wire::ListOperatorsRequest {}).await?.into_inner();
            list(out, format, &answer)
        }
        OperatorCommand::Show { name } => {
            let answer = client.list_operators(wire::ListOperatorsRequest {}).await?.into_inner();
            let found = answer.operators.iter().find(|one| one.name == name);
            let found = found.ok_or_else(|| {
                Problem::Failed(format!("there is no operator {name:?}; hostlerctl operator ls shows them"))
            })?;
            let request = wire::ListOperatorTokensRequest { operator: name };
            let tokens = client.list_operator_tokens(request).await?.into_inner().tokens;
            show(out, format, found, &tokens, answer.wall_ms)
        }
        OperatorCommand::Set { name, given } => {
            if given.roles.is_empty() && given.systems.is_empty() {
                return Err(Problem::Usage("nothing to set: give --role or --system".into()));
            }
            let request = wire::SetOperatorRequest { name, roles: given.roles, systems: given.systems };
            let one = client.set_operator(request).await?.into_inner();
            out.line(format!("{} has {} from now on.", sanitize(&one.name), held(&one)))
        }
        OperatorCommand::Revoke { name, reason, yes } => {
            confirm(&format!("{name} is shut out for good, with every token they have."), yes)?;
            let one = client.revoke_operator(wire::RevokeOperatorRequest { name, reason }).await?.into_inner();
            out.line(format!("{} is revoked.", sanitize(&one.name)))
        }
        OperatorCommand::Token(command) => token(client, out, format, command).await,
    }
}

fn held(one: &wire::Operator) -> String {
    let noun = if one.roles.len() == 1 { "role" } else { "roles" };
    let systems = if one.systems.is_empty() { "all systems".into() } else { limit(&one.systems) };
    sanitize(&format!("the {noun} {} in {systems}", one.roles.join(", "))).into_owned()
}

fn limit(systems: &[String]) -> String {
    let noun = if systems.len() == 1 { "system" } else { "systems" };
    format!("{noun} {}", systems.join(", "))
}

/// With `given`, a new operator; without, a new certificate.
async fn create(
    client: &mut Client,
    name: &str,
    file: &Path,
    ttl: Duration,
    given: Option<&Given>,
) -> Result<(), Problem> {
    if ttl.is_zero() {
        return Err(Problem::Usage("a certificate that is never valid: give --ttl above zero".into()));
    }
    if file.exists() {
        return Err(Problem::Usage(format!("{} exists already: name another with --out", file.display())));
    }
    // Before the name is taken: a file that can't be written must not cost it.
    write_contexts(file, &Contexts::default())?;
    let context = match certified(client, name, ttl, given).await {
        Ok(context) => context,
        Err(problem) => {
            let _ = std::fs::remove_file(file);
            return Err(problem);
        }
    };
    write_contexts(file, &alone(context))
}

fn alone(context: Context) -> Contexts {
    let name = "control-plane".to_owned();
    Contexts { current: Some(name.clone()), contexts: BTreeMap::from([(name, context)]) }
}

async fn certified(client: &mut Client, name: &str, ttl: Duration, given: Option<&Given>) -> Result<Context, Problem> {
    let failed = |error: rcgen::Error| Problem::Failed(format!("make a key: {error}"));
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let request = CertificateParams::default().serialize_request(&key).map_err(failed)?;
    let request = wire::CreateOperatorRequest {
        name: name.to_owned(),
        csr_der: request.der().to_vec(),
        ttl_ms: whole_millis(ttl),
        roles: given.map(|given| given.roles.clone()).unwrap_or_default(),
        systems: given.map(|given| given.systems.clone()).unwrap_or_default(),
        renew: given.is_none(),
    };
    let made = client.create_operator(request).await?.into_inner();
    Ok(Context {
        addresses: made.addresses,
        operator: name.to_owned(),
        authorities: pem::encode_chain(made.authorities_der.iter().map(Vec::as_slice)),
        certificate: pem::encode_chain(made.chain_der.iter().map(Vec::as_slice)),
        key: pem::encode_key(key.serialized_der()),
        token: String::new(),
    })
}

async fn renew(
    mut client: Client,
    out: &Out,
    global: &Global,
    name: Option<String>,
    file: Option<PathBuf>,
    ttl: Duration,
) -> Result<(), Problem> {
    let me = client.get_server(wire::GetServerRequest {}).await?.into_inner().operator;
    let name = name.unwrap_or_else(|| me.clone());
    let span = format_duration(ttl);
    if name != me || file.is_some() {
        let file = file.unwrap_or_else(|| PathBuf::from(format!("{name}.contexts.toml")));
        create(&mut client, &name, &file, ttl, None).await?;
        return out.line(format!("{name} can use the control plane for {span} with {}.", file.display()));
    }
    let opened = open_contexts(global)?;
    let mut contexts = opened.contexts;
    let failed = |error: hostler_proto::context::ContextError| Problem::Failed(error.to_string());
    let (chosen, before) = contexts.choose(global.context.as_deref()).map_err(failed)?;
    let (chosen, addresses) = (chosen.to_owned(), before.addresses.clone());
    // The way that leads there from here stays.
    let context = Context { addresses, ..certified(&mut client, &name, ttl, None).await? };
    contexts.contexts.insert(chosen, context);
    write_contexts(&opened.path, &contexts)?;
    out.line(format!("your certificate in {} is good for {span}.", opened.path.display()))
}

fn to_json(one: &wire::Operator) -> serde_json::Value {
    json!({
        "name": one.name,
        "roles": one.roles,
        "systems": one.systems,
        "created_at": time(one.created_at_ms),
        "created_by": one.created_by,
        "not_after": time(one.not_after_ms),
        "tokens": one.tokens,
        "revoked_at": time(one.revoked_at_ms),
        "revoked_by": (one.revoked_at_ms != 0).then_some(&one.revoked_by),
        "revoked_reason": (one.revoked_at_ms != 0).then_some(&one.revoked_reason),
    })
}

fn dash(words: &[String]) -> String {
    if words.is_empty() { "-".to_owned() } else { words.join(",") }
}

fn certificate(one: &wire::Operator, now: u64) -> Cell {
    match one.not_after_ms {
        _ if one.revoked_at_ms != 0 => Cell::new("revoked").tone(Tone::Bad),
        0 => Cell::new("-"),
        end if end <= now => Cell::new("expired").tone(Tone::Uneasy),
        end => Cell::new(format!("{} left", age(now, end))),
    }
}

fn list(out: &Out, format: Format, answer: &wire::ListOperatorsResponse) -> Result<(), Problem> {
    if format != Format::Table {
        return out.json(&answer.operators.iter().map(to_json).collect::<Vec<_>>());
    }
    let row = |one: &wire::Operator| {
        vec![
            Cell::new(&one.name),
            Cell::new(dash(&one.roles)),
            Cell::new(if one.systems.is_empty() { "all".to_owned() } else { dash(&one.systems) }),
            certificate(one, answer.wall_ms),
            Cell::new(one.tokens.to_string()),
            Cell::new(&one.created_by),
        ]
    };
    let rows: Vec<_> = answer.operators.iter().map(row).collect();
    out.print(&out.table(&["OPERATOR", "ROLES", "SYSTEMS", "CERTIFICATE", "TOKENS", "BY"], &rows))
}

fn show(
    out: &Out,
    format: Format,
    one: &wire::Operator,
    tokens: &[wire::OperatorToken],
    now: u64,
) -> Result<(), Problem> {
    if format != Format::Table {
        let mut value = to_json(one);
        if let Some(map) = value.as_object_mut() {
            map.insert("tokens".into(), tokens.iter().map(token_json).collect());
            map.insert("may".into(), json!(one.may));
        }
        return out.json(&value);
    }
    let mut text = fields(one);
    let mut field = |name: &str, value: String| text.push_str(&format!("{name:<13}{}\n", sanitize(&value)));
    field("made", format!("{} by {}", ago(one.created_at_ms, now), one.created_by));
    field(
        "certificate",
        match one.not_after_ms {
            0 => "none".to_owned(),
            end => format!("until {}", time(end).unwrap_or_default()),
        },
    );
    if one.revoked_at_ms != 0 {
        let reason = if one.revoked_reason.is_empty() { String::new() } else { format!(": {}", one.revoked_reason) };
        field("revoked", format!("{} by {}{reason}", ago(one.revoked_at_ms, now), one.revoked_by));
    }
    for token in tokens {
        field("token", told(token, now));
    }
    out.print(&text)
}

fn fields(one: &wire::Operator) -> String {
    let mut text = format!("{:<13}{}\n", "operator", sanitize(&one.name));
    text.push_str(&format!("{:<13}{}\n", "roles", sanitize(&one.roles.join(", "))));
    let systems = if one.systems.is_empty() { "all".to_owned() } else { one.systems.join(", ") };
    text.push_str(&format!("{:<13}{}\n", "systems", sanitize(&systems)));
    for may in &one.may {
        text.push_str(&format!("{:<13}{}\n", "may", sanitize(may)));
    }
    text
}

fn told(token: &wire::OperatorToken, now: u64) -> String {
    let mut narrowed = String::new();
    if !token.roles.is_empty() {
        narrowed.push_str(&format!(", only {}", token.roles.join(", ")));
    }
    if !token.systems.is_empty() {
        narrowed.push_str(&format!(", only in {}", limit(&token.systems)));
    }
    format!("{}, {} left{narrowed}, used {}", token.id, age(now, token.expires_at_ms), ago(token.used_at_ms, now))
}

pub async fn who_am_i(mut client: Client, out: &Out, format: Format) -> Result<(), Problem> {
    let answer = client.who_am_i(wire::WhoAmIRequest {}).await?.into_inner();
    let one = answer.operator.unwrap_or_default();
    if format != Format::Table {
        return out.json(&json!({
            "operator": one.name,
            "roles": one.roles,
            "systems": one.systems,
            "token": answer.token.as_ref().map(token_json),
            "not_after": time(answer.not_after_ms),
            "may": answer.may,
        }));
    }
    let mut text = fields(&wire::Operator { may: answer.may, ..one });
    let left = age(answer.wall_ms, answer.not_after_ms);
    let by = match &answer.token {
        None => format!("a certificate, {left} left"),
        Some(token) => format!("token {}", told(token, answer.wall_ms)),
    };
    text.push_str(&format!("{:<13}{}\n", "by", sanitize(&by)));
    out.print(&text)
}

async fn token(mut client: Client, out: &Out, format: Format, command: OperatorTokenCommand) -> Result<(), Problem> {
    match command {
        OperatorTokenCommand::Create { name, ttl, given, out: file } => {
            if ttl.is_zero() {
                return Err(Problem::Usage("a token that never works: give --ttl above zero".into()));
            }
            if let Some(file) = file.as_ref().filter(|file| file.exists()) {
                return Err(Problem::Usage(format!("{} exists already: name another with --out", file.display())));
            }
            let request = wire::CreateOperatorTokenRequest {
                operator: name.unwrap_or_default(),
                ttl_ms: whole_millis(ttl),
                roles: given.roles,
                systems: given.systems,
            };
            let made = client.create_operator_token(request).await?.into_inner();
            created(out, format, made, file)
        }
        OperatorTokenCommand::Ls { name } => {
            let asked = name.clone().unwrap_or_default();
            let mut answer = client.list_operator_tokens(wire::ListOperatorTokensRequest { operator: asked }).await;
            if name.is_none() && answer.as_ref().is_err_and(|status| status.code() == tonic::Code::PermissionDenied) {
                let me = client.get_server(wire::GetServerRequest {}).await?.into_inner().operator;
                answer = client.list_operator_tokens(wire::ListOperatorTokensRequest { operator: me }).await;
            }
            list_tokens(out, format, &answer?.into_inner())
        }
        OperatorTokenCommand::Rm { id } => {
            let gone = client.remove_operator_token(wire::RemoveOperatorTokenRequest { id }).await?.into_inner();
            out.line(format!("token {} of {} works no more.", sanitize(&gone.id), sanitize(&gone.operator)))
        }
    }
}

fn created(
    out: &Out,
    format: Format,
    made: wire::CreateOperatorTokenResponse,
    file: Option<PathBuf>,
) -> Result<(), Problem> {
    let token = made.token.unwrap_or_default();
    if let Some(file) = file {
        let context = Context {
            addresses: made.addresses,
            operator: token.operator.clone(),
            authorities: pem::encode_chain(made.authorities_der.iter().map(Vec::as_slice)),
            certificate: String::new(),
            key: String::new(),
            token: made.secret,
        };
        write_contexts(&file, &alone(context))?;
        return out.line(format!("token {} of {} is in {}.", token.id, token.operator, file.display()));
    }
    if format != Format::Table {
        let mut value = token_json(&token);
        if let Some(map) = value.as_object_mut() {
            map.insert("secret".into(), json!(made.secret));
        }
        return out.json(&value);
    }
    // Alone on standard output, so that a script can take it.
    eprintln!(
        "A token of {} until {}; it is not shown again.  Use it: {TOKEN_VARIABLE}=... hostlerctl ...",
        sanitize(&token.operator),
        time(token.expires_at_ms).unwrap_or_default()
    );
    out.line(made.secret)
}

fn token_json(token: &wire::OperatorToken) -> serde_json::Value {
    json!({
        "id": token.id,
        "operator": token.operator,
        "created_at": time(token.created_at_ms),
        "created_by": token.created_by,
        "expires_at": time(token.expires_at_ms),
        "roles": token.roles,
        "systems": token.systems,
        "used_at": time(token.used_at_ms),
        "used_from": (!token.used_from.is_empty()).then_some(&token.used_from),
    })
}

fn list_tokens(out: &Out, format: Format, answer: &wire::ListOperatorTokensResponse) -> Result<(), Problem> {
    if format != Format::Table {
        return out.json(&answer.tokens.iter().map(token_json).collect::<Vec<_>>());
    }
    if answer.tokens.is_empty() {
        return out.line("no tokens that work.  Make one: hostlerctl operator token create");
    }
    let row = |token: &wire::OperatorToken| {
        let from = if token.used_from.is_empty() { String::new() } else { format!(" from {}", token.used_from) };
        vec![
            Cell::new(&token.id),
            Cell::new(&token.operator),
            Cell::new(dash(&token.roles)),
            Cell::new(dash(&token.systems)),
            Cell::new(age(answer.wall_ms, token.expires_at_ms)),
            Cell::new(format!("{}{from}", ago(token.used_at_ms, answer.wall_ms))),
        ]
    };
    let rows: Vec<_> = answer.tokens.iter().map(row).collect();
    out.print(&out.table(&["TOKEN", "OPERATOR", "ONLY ROLES", "ONLY SYSTEMS", "ENDS IN", "USED"], &rows))
}
