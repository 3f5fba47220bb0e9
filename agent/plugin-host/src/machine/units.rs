//! Units of systemd, as it tells of them over the system's bus.

use super::names;
use super::network::io_words;
use crate::answer::Unit;
use crate::call::CallError;
use crate::limits;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::Mutex;
use zbus::{Connection, Error, OwnedObjectPath, OwnedVariant, fdo};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Name, description, load, active and sub state, whom it follows, its object,
/// and the job on it: number, kind and object.
type Listed = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// Connects when first asked; again after the bus was gone.
#[derive(Default)]
pub(super) struct Manager {
    connection: Mutex<Option<Connection>>,
}

impl Manager {
    pub(super) async fn find(&self, name: &str, max: u32) -> Result<Vec<Unit>, CallError> {
        let max = max.min(limits::UNITS_MAX) as usize;
        let found = match find(&self.connected().await?, name, max).await {
            Err(Error::InputOutput(_)) => {
                *self.connection.lock().await = None;
                find(&self.connected().await?, name, max).await
            }
            found => found,
        };
        found.map_err(|error| failed(&error))
    }

    async fn connected(&self) -> Result<Connection, CallError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = &*slot {
            return Ok(connection.clone());
        }
        let connection = Connection::system().await;
        let connection = connection.map_err(|error| CallError::other("units", format!("no systemd here: {error}")))?;
        Ok(slot.insert(connection).clone())
    }
}

fn failed(error: &Error) -> CallError {
    let says = match error {
        Error::InputOutput(error) => format!("the bus broke off: {}", io_words(error)),
        Error::FDO(error) if nobody(error) => "no systemd here: nobody on the bus goes by its name".to_owned(),
        Error::FDO(_) | Error::MethodError(..) => format!("systemd says: {error}"),
        error => error.to_string(),
    };
    CallError::other("units", says)
}

/// A bus without systemd may have been told to start it by a program that fails.
fn nobody(error: &fdo::Error) -> bool {
    use fdo::Error as Why;
    matches!(error, Why::ServiceUnknown(_) | Why::SpawnChildExited(_) | Why::SpawnFailed(_) | Why::NameHasNoOwner(_))
}

/// Whether the call was answered, by a refusal: what it asked for is gone, or
/// never was.
fn refused(error: &Error) -> bool {
    use fdo::Error as Why;
    match error {
        Error::MethodError(..) => true,
        Error::FDO(error) => !nobody(error) && !matches!(**error, Why::Disconnected(_) | Why::NoReply(_)),
        _ => false,
    }
}

async fn find(connection: &Connection, name: &str, max: usize) -> Result<Vec<Unit>, Error> {
    let patterns = [escaped(name)];
    let body = (Vec::<&str>::new(), patterns.as_slice());
    let listed: Vec<Listed> = manager(connection, "ListUnitsByPatterns", &body).await?.body().deserialize()?;
    let mut units: Vec<(Unit, OwnedObjectPath)> = listed
        .into_iter()
        .map(|(name, _, load, active, sub, _, path, ..)| (Unit { name, load, active, sub, ..Unit::default() }, path))
        .filter(|(unit, _)| names::matches(name, &unit.name))
        .collect();
    if units.is_empty() && !name.contains('*') {
        units.extend(unlisted(connection, name).await?);
    }
    units.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    units.truncate(max);
    let detailed = stream::iter(units).map(|(unit, path)| detailed(connection, unit, path)).buffered(DETAILED_AT_ONCE);
    detailed.try_collect().await
}

const DETAILED_AT_ONCE: usize = 8;

async fn manager<B>(connection: &Connection, method: &str, body: &B) -> Result<zbus::Message, Error>
where
    B: serde::Serialize + zbus::DynamicType,
{
    connection.call_method(Some(SYSTEMD), MANAGER_PATH, Some(MANAGER), method, body).await
}

/// systemd reads more into a pattern than a `*`.
fn escaped(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for letter in name.chars() {
        if matches!(letter, '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

/// One that rests is not listed, though it is known when it is asked for.
async fn unlisted(connection: &Connection, name: &str) -> Result<Option<(Unit, OwnedObjectPath)>, Error> {
    let path: OwnedObjectPath = match manager(connection, "LoadUnit", &name).await {
        Ok(reply) => reply.body().deserialize()?,
        // What can't be a unit's name is none.
        Err(error) if refused(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let word = async |key| text(property(connection, &path, UNIT, key).await?);
    let (load, active, sub) = (word("LoadState").await?, word("ActiveState").await?, word("SubState").await?);
    let unit = Unit { name: name.to_owned(), load, active, sub, ..Unit::default() };
    Ok((unit.load != "not-found").then_some((unit, path)))
}

async fn detailed(connection: &Connection, mut unit: Unit, path: OwnedObjectPath) -> Result<Unit, Error> {
    if unit.name.ends_with(".service") {
        let asked = async {
            let number = async |key| number(property(connection, &path, SERVICE, key).await?);
            let result = text(property(connection, &path, SERVICE, "Result").await?)?;
            Ok((number("MainPID").await?, number("NRestarts").await?, result))
        };
        match asked.await {
            Ok((main_pid, restarts, result)) => {
                (unit.main_pid, unit.restarts, unit.result) = (main_pid, restarts, result)
            }
            // Gone since it was listed.
            Err(error) if refused(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(unit)
}

async fn property(
    connection: &Connection,
    path: &OwnedObjectPath,
    interface: &str,
    key: &str,
) -> Result<OwnedVariant, Error> {
    let reply = connection.call_method(Some(SYSTEMD), path, Some(PROPERTIES), "Get", &(interface, key)).await?;
    reply.body().deserialize()
}

fn text(value: OwnedVariant) -> Result<String, Error> {
    value.try_into()
}

fn number(value: OwnedVariant) -> Result<u32, Error> {
    value.try_into()
}

#[cfg(test)]
mod tests;
