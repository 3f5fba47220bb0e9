//! What an operator shows: a certificate, which TLS has proven, or a token, which
//! is proven here with one hash and one look into a map.

use super::{Caller, grant_of, token_limit};
use crate::app::App;
use crate::clock;
use crate::listener::Connection;
use crate::pki::{PkiError, Subject, random};
use crate::records::{self, operator_token_use_key};
use crate::tls::Peer;
use crate::world::World;
use hostler_core::access::Identity;
use hostler_core::lockout::{Lockout, Outcome};
use hostler_proto::store as rest;
use hostler_store::Txn;
use hostler_types::Timestamp;
use hostler_types::units::format_duration;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tonic::Status;

const BEGIN: &str = "hop_";
/// 40 bits tell tokens apart; they are no secret.
const ID_BYTES: usize = 5;
const ID_CHARACTERS: usize = 8;
const SECRET_BYTES: usize = 32;
/// A token's last use is for people who wonder whether it is still needed.
const USE_KEPT_EVERY: Duration = Duration::from_secs(60);
/// How long an answer takes that is given without looking: whoever guesses waits,
/// and costs nothing meanwhile.
const LOCKED_ANSWER_DELAY: Duration = Duration::from_millis(250);

/// A token just made: `hop_ID_SECRET`.
pub struct NewSecret {
    pub id: String,
    pub text: String,
    pub hash: Vec<u8>,
}

fn base32(bytes: &[u8]) -> String {
    data_encoding::BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().to_vec()
}

impl NewSecret {
    pub fn make() -> Result<Self, PkiError> {
        let id = base32(&random::<ID_BYTES>()?);
        let secret = base32(&random::<SECRET_BYTES>()?);
        let hash = sha256(secret.as_bytes());
        Ok(Self { text: format!("{BEGIN}{id}_{secret}"), id, hash })
    }
}

/// The token in `authorization: Bearer ...`; something else there is a mistake.
pub fn bearer(headers: &http::HeaderMap) -> Result<Option<&str>, Status> {
    let Some(value) = headers.get(http::header::AUTHORIZATION) else { return Ok(None) };
    let text = value.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
    let wrong = || Status::unauthenticated("the authorization header is not of the form `Bearer TOKEN`");
    text.map(|text| Some(text.trim())).ok_or_else(wrong)
}

/// What was proven. Whether it still counts is asked of the newest world, again
/// and again while a call goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    Certificate { operator: String, until: Timestamp },
    Token { id: String },
}

impl Credential {
    /// By the certificate of the connection.
    pub fn certificate(connection: &Connection) -> Result<Self, Status> {
        match &connection.peer {
            Peer::Known { subject: Subject::Operator(name), expired: false } => {
                Ok(Self::Certificate { operator: name.clone(), until: connection.until })
            }
            Peer::Known { subject: Subject::Operator(_), expired: true } => Err(expired_certificate()),
            Peer::Known { subject: Subject::Node(id), .. } => Err(Status::permission_denied(format!(
                "this certificate is node {id}'s, and only operators may call this"
            ))),
            Peer::Anonymous => {
                Err(Status::unauthenticated("an operator's certificate or token is needed here, and none was shown"))
            }
            Peer::Nameless => Err(Status::unauthenticated("the certificate names no operator")),
        }
    }

    /// Who that is now, unless it counts no more.
    pub fn stands(&self, world: &World, now: Timestamp) -> Result<Caller, Status> {
        match self {
            Credential::Certificate { operator, until } => {
                if *until <= now {
                    return Err(expired_certificate());
                }
                let grant = grant_of(known(world, operator)?);
                let identity = Identity { operator: operator.clone(), grant, token: None };
                Ok(Caller { identity, until: *until })
            }
            Credential::Token { id } => {
                let token = world.operator_tokens.get(id).ok_or_else(unknown_token)?;
                let until = Timestamp::from_millis(token.expires_at_ms);
                if until <= now {
                    return Err(Status::unauthenticated(format!(
                        "token {id} of operator {} has expired: make a new one with `hostlerctl operator token create {}`",
                        token.operator, token.operator
                    )));
                }
                let grant = grant_of(known(world, &token.operator)?);
                let limit = token_limit(&grant, id, token);
                let identity = Identity { operator: token.operator.clone(), grant, token: Some(limit) };
                Ok(Caller { identity, until })
            }
        }
    }
}

fn expired_certificate() -> Status {
    Status::unauthenticated(
        "the operator's certificate has expired: ask another operator for `hostlerctl operator renew NAME`; where there is none, restart the control plane, which then writes a new one to its context file",
    )
}

fn unknown_token() -> Status {
    Status::unauthenticated(
        "this token is not known here, or was removed: make a new one with `hostlerctl operator token create`",
    )
}

fn known<'a>(world: &'a World, name: &str) -> Result<&'a Arc<rest::Operator>, Status> {
    let operator = world
        .operators
        .get(name)
        .ok_or_else(|| Status::permission_denied(format!("operator {name} is not known here")))?;
    if operator.revoked_at_ms != 0 {
        let at = Timestamp::from_millis(operator.revoked_at_ms);
        let reason = &operator.revoked_reason;
        let reason = if reason.is_empty() { String::new() } else { format!(", {reason:?}") };
        return Err(Status::permission_denied(format!(
            "operator {name} was revoked by {} on {at}{reason}: ask them for another name if that is wanted",
            operator.revoked_by
        )));
    }
    Ok(operator)
}

/// Which token it is, if its secret is right.
pub(super) fn token_of(world: &World, text: &str) -> Option<String> {
    let (id, secret) = text.strip_prefix(BEGIN)?.split_once('_')?;
    let token = world.operator_tokens.get(id).filter(|_| id.len() == ID_CHARACTERS)?;
    same(&token.secret_hash, &sha256(secret.as_bytes())).then(|| id.to_owned())
}

/// In a time that says nothing about where they differ.
pub(super) fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |sum, (left, right)| sum | (left ^ right)) == 0
}

/// What is remembered of attempts and uses; gone with the process.
#[derive(Default)]
pub struct Proving {
    lockout: Mutex<Lockout>,
    used: Mutex<HashMap<String, Timestamp>>,
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

fn locked_out(address: IpAddr, left: Duration) -> Status {
    let left = format_duration(Duration::from_secs(left.as_secs().max(1)));
    Status::resource_exhausted(format!(
        "too many wrong tokens came from {address}: nothing but certificates is looked at from there for {left}"
    ))
}

impl Proving {
    /// Certificates are TLS's to prove and can't be guessed at here, so only tokens
    /// are locked out.
    pub async fn token(&self, app: &Arc<App>, connection: &Connection, text: &str) -> Result<Credential, Status> {
        let address = connection.address.ip();
        let now = clock::now();
        let locked = held(&self.lockout).locked(address, now.monotonic);
        if let Some(left) = locked {
            tokio::time::sleep(LOCKED_ANSWER_DELAY).await;
            return Err(locked_out(address, left));
        }
        let Some(id) = token_of(&app.mirror.now(), text) else {
            let outcome = held(&self.lockout).failed(address, now.monotonic);
            if let Outcome::Locked(span) = outcome {
                tracing::warn!(peer = %address, locked_s = span.as_secs(), "too many wrong tokens");
                return Err(locked_out(address, span));
            }
            return Err(unknown_token());
        };
        connection.known.cancel();
        self.note_use(app, &id, address, now.wall);
        Ok(Credential::Token { id })
    }

    /// Once a minute at most: a write for each call would be most of its cost.
    fn note_use(&self, app: &Arc<App>, id: &str, address: IpAddr, now: Timestamp) {
        let recent = |at: Timestamp| now < at.plus(USE_KEPT_EVERY);
        {
            let mut used = held(&self.used);
            if used.get(id).is_some_and(|at| recent(*at)) {
                return;
            }
            used.insert(id.to_owned(), now);
            let world = app.mirror.now();
            // Those that are gone are forgotten where a new one comes in.
            used.retain(|id, _| world.operator_tokens.contains_key(id));
        }
        let record = rest::OperatorTokenUse { at_ms: now.as_millis(), address: address.to_string() };
        let (app, key) = (Arc::clone(app), operator_token_use_key(id));
        let tracker = app.tracker.clone();
        tracker.spawn(async move {
            if let Err(error) = app.store.commit(Txn::new().put(key, records::encode(&record))).await {
                tracing::warn!(error = %error, "keeping a token's last use failed");
            }
        });
    }
}
