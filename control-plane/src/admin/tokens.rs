//! Join codes: how hosts are let in.

use crate::app::App;
use crate::enroll::store_status;
use crate::pki::{random, sha256_hex};
use crate::records::{self, TOKENS, token_key};
use crate::{clock, install};
use hostler_core::enrol::{TOKEN_TTL_DEFAULT, TOKEN_TTL_MAX, TOKEN_USES_MAX, Token};
use hostler_proto::admin as wire;
use hostler_store::Txn;
use hostler_types::Timestamp;
use hostler_types::join_code::JoinCode;
use hostler_types::selector::{LABELS_MAX, check_label};
use hostler_types::units::format_duration;
use std::time::Duration;
use tonic::Status;

/// Of the hash: enough to tell tokens apart, useless to whoever reads it.
pub const ID_CHARACTERS: usize = 8;

pub fn span(what: &str, ms: u64, default: Duration, most: Duration) -> Result<Duration, Status> {
    match ms {
        0 => Ok(default),
        ms if Duration::from_millis(ms) > most => {
            Err(Status::invalid_argument(format!("{what} may be at most {}", format_duration(most))))
        }
        ms => Ok(Duration::from_millis(ms)),
    }
}

pub async fn create(
    app: &App,
    operator: &str,
    request: wire::CreateTokenRequest,
) -> Result<wire::CreateTokenResponse, Status> {
    let now = clock::wall();
    let ttl = span("ttl", request.ttl_ms, TOKEN_TTL_DEFAULT, TOKEN_TTL_MAX)?;
    if request.uses > TOKEN_USES_MAX {
        return Err(Status::invalid_argument(format!("uses may be at most {TOKEN_USES_MAX}")));
    }
    if request.labels.len() > LABELS_MAX {
        return Err(Status::invalid_argument(format!("more than {LABELS_MAX} labels")));
    }
    for (key, value) in &request.labels {
        check_label(key, value).map_err(|error| Status::invalid_argument(error.to_string()))?;
    }
    let secret = random().map_err(|error| Status::internal(error.to_string()))?;
    let hash = sha256_hex(&secret);
    let token = Token {
        created_at: now,
        expires_at: now.plus(ttl),
        uses_left: request.uses.max(1),
        labels: request.labels.into_iter().collect(),
        created_by: operator.to_owned(),
    };
    forget_expired(app, now).await?;
    let txn = Txn::new().put(token_key(&hash), records::encode_token(&token));
    app.store.commit(txn).await.map_err(store_status)?;
    let code = JoinCode { addresses: app.agent_addresses(), authority_pin: app.pki.authority_pin(), secret }.encode();
    let (install, warning) = match install::install_line(app, &code) {
        Ok(line) => (line, String::new()),
        Err(warning) => (String::new(), warning),
    };
    let id = hash.chars().take(ID_CHARACTERS).collect();
    Ok(wire::CreateTokenResponse { code, id, expires_at_ms: token.expires_at.as_millis(), install, warning })
}

/// A token is kept after its end until the next is made, so that who comes late
/// is told that it expired.
async fn forget_expired(app: &App, now: Timestamp) -> Result<(), Status> {
    const KEPT_AFTER_END: Duration = Duration::from_secs(86_400);
    let snapshot = app.store.scan(TOKENS, None).await.map_err(store_status)?;
    let old = snapshot.entries.iter().filter(|(key, entry)| {
        records::decode_token(key, &entry.value).is_ok_and(|token| token.expires_at.plus(KEPT_AFTER_END) < now)
    });
    let txn = old.take(hostler_store::OPERATIONS_MAX).fold(Txn::new(), |txn, (key, _)| txn.delete(key.as_ref()));
    app.store.commit(txn).await.map(drop).map_err(store_status)
}

pub async fn list(app: &App) -> Result<wire::ListTokensResponse, Status> {
    let now = clock::wall();
    let snapshot = app.store.scan(TOKENS, None).await.map_err(store_status)?;
    let mut tokens = Vec::new();
    for (key, entry) in &snapshot.entries {
        let token = records::decode_token(key, &entry.value).map_err(|error| Status::internal(error.to_string()))?;
        if token.expires_at > now && token.uses_left > 0 {
            let id = key.strip_prefix(TOKENS).unwrap_or_default().chars().take(ID_CHARACTERS).collect();
            tokens.push(wire::Token {
                id,
                created_at_ms: token.created_at.as_millis(),
                expires_at_ms: token.expires_at.as_millis(),
                uses_left: token.uses_left,
                labels: token.labels.into_iter().collect(),
                created_by: token.created_by,
            });
        }
    }
    Ok(wire::ListTokensResponse { tokens, wall_ms: now.as_millis() })
}

pub async fn remove(app: &App, request: &wire::RemoveTokenRequest) -> Result<wire::RemoveTokenResponse, Status> {
    let id = &request.id;
    let whole = id.len() >= ID_CHARACTERS && id.bytes().all(|b| b.is_ascii_hexdigit());
    let snapshot = app.store.scan(&token_key(id), None).await.map_err(store_status)?;
    let [(key, _)] = snapshot.entries.as_slice() else {
        return Err(Status::not_found(format!("there is no join code {id:?}; hostlerctl token ls shows them")));
    };
    if !whole {
        return Err(Status::invalid_argument(format!(
            "{id:?} is too short: give the id as hostlerctl token ls shows it"
        )));
    }
    app.store.commit(Txn::new().delete(key.as_ref())).await.map_err(store_status)?;
    Ok(wire::RemoveTokenResponse {})
}
