//! The first operator: made at the first start, written where `hostlerctl`
//! finds it.

use crate::access;
use crate::app::{App, StartError};
use crate::files;
use crate::pki::{FIRST_OPERATOR_LIFETIME, Subject};
use crate::records::NewEvent;
use crate::upkeep::restore;
use crate::world::World;
use crate::{clock, records};
use hostler_core::access::ADMIN;
use hostler_proto::context::{Context, Contexts};
use hostler_proto::{pem, store as rest};
use hostler_store::Txn;
use hostler_types::{EventKind, Timestamp};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use std::path::Path;
use std::time::Duration;

const FIRST_OPERATOR: &str = "admin";

/// So long before the last operator's certificate ends, a start makes a new one.
const RENEWED_BEFORE_END: Duration = Duration::from_secs(30 * 86_400);

/// Whoever brought a control plane back on another machine needs a credential there,
/// and everybody should hear of it: the note that `restore` left is read once.
pub async fn welcome_back(app: &App) -> Result<(), StartError> {
    let note = app.config.data_dir.join(restore::NOTE);
    let Ok(text) = std::fs::read_to_string(&note) else { return Ok(()) };
    write_credential(app, &first_operator(&app.mirror.now()), "the control plane, restored").await?;
    let (at, kind) = (clock::wall(), EventKind::SERVER);
    app.tell(NewEvent { at, kind, node: String::new(), subject: "restore".to_owned(), message: text }).await;
    if let Err(error) = std::fs::remove_file(&note) {
        tracing::warn!(file = %note.display(), error = %error, "it stays, and is read again at the next start");
    }
    Ok(())
}

/// Does nothing while there is an operator who can let others in, and for long: so
/// nobody is ever locked out of a control plane that they can restart. Its own
/// credential lives long for the same reason; what people make ends with the day. The credential is written before
/// the operator is stored: a crash in between leaves a file that the next start
/// replaces, never an operator whose key nobody has.
pub async fn ensure_first_operator(app: &App) -> Result<(), StartError> {
    let soon = clock::wall().plus(RENEWED_BEFORE_END).as_millis();
    let world = app.mirror.now();
    let lasting = |one: &rest::Operator| one.revoked_at_ms == 0 && is_admin(one) && one.not_after_ms >= soon;
    if !world.operators.values().any(|one| lasting(one)) {
        write_credential(app, &first_operator(&world), "the control plane").await?;
    }
    Ok(())
}

fn is_admin(operator: &rest::Operator) -> bool {
    let grant = access::grant_of(operator);
    grant.systems.is_empty() && grant.roles.iter().any(|role| role == ADMIN)
}

/// Never somebody who was revoked, whose old certificate would count again, nor
/// somebody who was given less.
fn first_operator(world: &World) -> String {
    let numbered = (2..).map(|number| format!("{FIRST_OPERATOR}-{number}"));
    let free = |name: &String| world.operators.get(name).is_none_or(|one| one.revoked_at_ms == 0 && is_admin(one));
    std::iter::once(FIRST_OPERATOR.to_owned()).chain(numbered).find(free).unwrap_or_default()
}

/// Makes an operator's credential on this machine, and puts it into the context
/// file.
async fn write_credential(app: &App, name: &str, by: &str) -> Result<(), StartError> {
    let now = clock::wall();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(crate::pki::PkiError::from)?;
    let subject = Subject::Operator(name.to_owned());
    let issued = app.pki.issue_subject(&subject, &key, now, FIRST_OPERATOR_LIFETIME)?;
    let context = Context {
        addresses: app.operator_addresses(),
        operator: name.to_owned(),
        authorities: pem::encode_chain([app.pki.authority().as_ref()]),
        certificate: pem::encode_chain(issued.chain.iter().map(AsRef::as_ref)),
        key: pem::encode_key(key.serialized_der()),
        token: String::new(),
    };
    add_context(&app.config.context_file, &app.config.context_name, context)?;
    let operator = operator_record(name, by, now, issued.not_after);
    let txn = Txn::new().put(records::operator_key(name), records::encode(&operator));
    let revision = app.store.commit(txn).await.map_err(StartError::Operator)?;
    tracing::info!(operator = name, file = %app.config.context_file.display(), revision, "wrote an operator's credential");
    Ok(())
}

pub fn operator_record(name: &str, by: &str, now: Timestamp, not_after: Timestamp) -> rest::Operator {
    rest::Operator {
        name: name.to_owned(),
        created_at_ms: now.as_millis(),
        not_after_ms: not_after.as_millis(),
        created_by: by.to_owned(),
        roles: vec![ADMIN.to_owned()],
        ..rest::Operator::default()
    }
}

/// Other contexts in the file stay. The new one becomes the current one.
fn add_context(path: &Path, name: &str, context: Context) -> Result<(), StartError> {
    let failed = |source| StartError::Context { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        files::private_folder(folder).map_err(failed)?;
    }
    let mut contexts = match files::read_if_there(path).map_err(failed)? {
        None => Contexts::default(),
        Some(bytes) => Contexts::parse(&String::from_utf8_lossy(&bytes)).map_err(|error| StartError::ContextFile {
            path: path.to_owned(),
            message: format!("{error}; move it away, or name another with --context-file"),
        })?,
    };
    let name = free_name(&contexts, name, &context);
    contexts.contexts.insert(name.clone(), context);
    contexts.current = Some(name);
    files::write_private(path, contexts.print().as_bytes()).map_err(failed)
}

/// The name wanted, unless another control plane has it: its credential must not
/// be lost.
fn free_name(contexts: &Contexts, wanted: &str, context: &Context) -> String {
    let taken = |name: &str| contexts.contexts.get(name).is_some_and(|other| other.authorities != context.authorities);
    let numbered = (2..).map(|number| format!("{wanted}-{number}"));
    std::iter::once(wanted.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_else(|| wanted.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(authorities: &str) -> Context {
        let text = String::new;
        Context {
            addresses: vec![],
            operator: text(),
            authorities: authorities.into(),
            certificate: text(),
            key: text(),
            token: String::new(),
        }
    }

    #[test]
    fn another_control_plane_s_credential_is_kept() {
        let mut contexts = Contexts::default();
        contexts.contexts.insert("local".into(), context("a"));
        assert_eq!(free_name(&contexts, "local", &context("a")), "local");
        assert_eq!(free_name(&contexts, "local", &context("b")), "local-2");
        contexts.contexts.insert("local-2".into(), context("c"));
        assert_eq!(free_name(&contexts, "local", &context("b")), "local-3");
    }
}
