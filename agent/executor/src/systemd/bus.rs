//! systemd over the system's bus, a call at a time.

use crate::protocol::{Ended, Unit};
use futures_util::StreamExt;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};
use zbus::{Connection, Error, MatchRule, MessageStream};
use zbus::{DynamicType, OwnedObjectPath, OwnedVariant};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
pub(super) const UNIT: &str = "org.freedesktop.systemd1.Unit";
pub(super) const SERVICE: &str = "org.freedesktop.systemd1.Service";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Without a request for so long, the connection and its buffers go.
const IDLE: Duration = Duration::from_secs(30);
/// No job takes longer; a stop's grace is at most an hour.
const JOB_MAX: Duration = Duration::from_secs(2 * 60 * 60);

/// `waitid`'s words for how a process ended.
const EXITED: i32 = 1;
const KILLED: i32 = 2;
const DUMPED: i32 = 3;

pub(super) enum CallError {
    /// A unit of that name is still known.
    Exists,
    Other(String),
}

impl From<CallError> for String {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Exists => "a unit of that name is there already".into(),
            CallError::Other(words) => words,
        }
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        if let Error::MethodError(name, ..) = &error
            && name.as_str() == "org.freedesktop.systemd1.UnitExists"
        {
            return Self::Exists;
        }
        Self::Other(words(&error))
    }
}

fn words(error: &Error) -> String {
    match error {
        Error::MethodError(name, Some(words), _) => format!("systemd says: {words} ({name})"),
        error => format!("systemd: {error}"),
    }
}

#[derive(Default)]
pub(super) struct Manager {
    kept: Rc<Kept>,
}

#[derive(Default)]
struct Kept {
    connection: RefCell<Option<Connection>>,
    used: Cell<Option<Instant>>,
    busy: Cell<u32>,
}

/// A connection that is not dropped while this is held.
pub(super) struct Bus {
    connection: Connection,
    kept: Rc<Kept>,
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.kept.busy.set(self.kept.busy.get().saturating_sub(1));
        self.kept.used.set(Some(Instant::now()));
    }
}

impl Manager {
    pub async fn bus(&self) -> Result<Bus, String> {
        let known = self.kept.connection.borrow().clone().filter(|connection| !connection.is_closed());
        let connection = match known {
            Some(connection) => connection,
            None => {
                let made = Connection::system().await.map_err(|error| format!("no systemd to be reached: {error}"))?;
                made.call_method(Some(SYSTEMD), PATH, Some(MANAGER), "Subscribe", &())
                    .await
                    .map_err(|error| words(&error))?;
                if self.kept.connection.replace(Some(made.clone())).is_none() {
                    tokio::task::spawn_local(Self::drop_idle(Rc::clone(&self.kept)));
                }
                made
            }
        };
        self.kept.busy.set(self.kept.busy.get() + 1);
        Ok(Bus { connection, kept: Rc::clone(&self.kept) })
    }

    async fn drop_idle(kept: Rc<Kept>) {
        loop {
            tokio::time::sleep(IDLE).await;
            let idle = kept.used.get().is_none_or(|used| used.elapsed() >= IDLE);
            if kept.busy.get() == 0 && idle {
                kept.connection.take();
                crate::memory::give_back();
                return;
            }
        }
    }
}

impl Bus {
    pub async fn call<B>(&self, interface: &str, method: &str, body: &B) -> Result<zbus::Message, CallError>
    where
        B: serde::Serialize + DynamicType,
    {
        Ok(self.connection.call_method(Some(SYSTEMD), PATH, Some(interface), method, body).await?)
    }

    /// systemd's word for how the job ended: `done`, `failed`, `timeout`, `canceled`.
    pub async fn job<B>(&self, method: &str, body: &B) -> Result<String, CallError>
    where
        B: serde::Serialize + DynamicType,
    {
        // Before the call, so that the answer is not missed.
        let rule = MatchRule::builder().msg_type(zbus::message::Type::Signal).sender(SYSTEMD);
        let rule = rule.interface(MANAGER).member("JobRemoved").build()?;
        let mut removed = MessageStream::for_match_rule(rule, &self.connection, None).await?;
        let job: OwnedObjectPath = self.call(MANAGER, method, body).await?.body().deserialize()?;
        let ended = async {
            while let Some(message) = removed.next().await {
                let body = message?.body();
                let (_, path, _, result): (u32, OwnedObjectPath, String, String) = body.deserialize()?;
                if path == job {
                    return Ok(result);
                }
            }
            Err(CallError::Other("the bus broke off while systemd was at it".into()))
        };
        let late = || CallError::Other(format!("{method} took longer than {} s", JOB_MAX.as_secs()));
        tokio::time::timeout(JOB_MAX, ended).await.map_err(|_| late())?
    }

    pub async fn reset_failed(&self, unit: &str) -> Result<(), String> {
        match self.call(MANAGER, "ResetFailedUnit", &unit).await {
            // Gone meanwhile, which is what was wanted.
            Err(CallError::Other(words)) if words.contains("NoSuchUnit") => Ok(()),
            called => called.map(|_| ()).map_err(String::from),
        }
    }

    pub async fn names(&self, pattern: &str) -> Result<Vec<String>, String> {
        type Listed = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);
        let patterns = [pattern];
        let body = (Vec::<&str>::new(), patterns.as_slice());
        let reply = self.call(MANAGER, "ListUnitsByPatterns", &body).await.map_err(String::from)?;
        let listed: Vec<Listed> = reply.body().deserialize().map_err(|error| words(&error))?;
        Ok(listed.into_iter().map(|unit| unit.0).collect())
    }

    /// `None` if systemd knows nothing of it.
    pub async fn loaded(&self, name: &str) -> Result<Option<Unit>, String> {
        let path: OwnedObjectPath = match self.call(MANAGER, "LoadUnit", &name).await {
            Ok(reply) => reply.body().deserialize().map_err(|error| words(&error))?,
            Err(error) => return Err(error.into()),
        };
        let all = self.all(&path, UNIT).await?;
        let text = |key: &str| all.get(key).and_then(|value| value.downcast_ref::<String>().ok()).unwrap_or_default();
        if text("LoadState") == "not-found" {
            return Ok(None);
        }
        let mut unit = Unit {
            name: name.to_owned(),
            load: text("LoadState"),
            active: text("ActiveState"),
            sub: text("SubState"),
            ..Unit::default()
        };
        if name.ends_with(".service") {
            (unit.pid, unit.ended) = main_process(&self.all(&path, SERVICE).await?);
        }
        Ok(Some(unit))
    }

    async fn all(&self, path: &OwnedObjectPath, interface: &str) -> Result<Properties, String> {
        let called = self.connection.call_method(Some(SYSTEMD), path, Some(PROPERTIES), "GetAll", &interface).await;
        let reply = called.map_err(|error| words(&error))?;
        reply.body().deserialize().map_err(|error| words(&error))
    }
}

type Properties = std::collections::HashMap<String, OwnedVariant>;

fn main_process(all: &Properties) -> (Option<u32>, Option<Ended>) {
    let number = |key: &str| all.get(key).and_then(|value| value.downcast_ref::<i32>().ok()).unwrap_or(0);
    let wide = |key: &str| all.get(key).and_then(|value| value.downcast_ref::<u64>().ok());
    let pid = all.get("MainPID").and_then(|value| value.downcast_ref::<u32>().ok()).filter(|pid| *pid != 0);
    let result = all.get("Result").and_then(|value| value.downcast_ref::<String>().ok()).unwrap_or_default();
    let status = number("ExecMainStatus");
    let (code, signal) = match number("ExecMainCode") {
        EXITED => (Some(status), None),
        KILLED | DUMPED => (None, Some(status)),
        _ => (None, None),
    };
    let ran = code.is_some() || signal.is_some() || result != "success";
    let ended = (pid.is_none() && ran).then(|| Ended {
        code,
        signal,
        result,
        known: true,
        // Newer ones keep it.
        memory_peak_bytes: wide("MemoryPeak").filter(|bytes| *bytes != u64::MAX && *bytes != 0),
    });
    (pid, ended)
}
