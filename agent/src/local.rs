//! The local socket: what this host knows, for whoever may open it, with or
//! without a control plane. One line of JSON asks, one answers.

use crate::config::Config;
use crate::services::Ask;
use crate::status::Snapshot;
use crate::view::View;
use crate::{clock, files, identity::Identity};
use anyhow::{Context, Result, bail};
use hostler_agent_core::supervision::Outcome;
use hostler_executor::account;
use hostler_types::{Brake, BrakeKind, Name, ServiceVerb};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const REQUEST_BYTES_MAX: u64 = 4 * 1024;
/// A thousand checks with their details.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(2);
/// People at a terminal, and a script or two; the next one waits.
const CLIENTS_MAX: usize = 8;

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "want", rename_all = "lowercase", deny_unknown_fields)]
pub enum Question {
    /// All there is: listings are made of it by who asks.
    Status,
    /// Answered once it is so, or is known not to become so.
    Service {
        verb: ServiceVerb,
        service: Name,
    },
    /// What was done of late, about one service or all.
    Acts {
        service: Option<Name>,
    },
    Tail {
        service: Name,
        lines: u32,
    },
    /// Services that end or fail are left as they are, for so long.
    Pause {
        for_ms: Option<u64>,
        reason: String,
    },
    Resume,
}

/// Who the agent is: what the view does not change.
pub struct Who {
    pub name: String,
    pub node: String,
    pub policy: String,
}

impl Who {
    pub fn of(identity: &Identity, config: &Config) -> Self {
        Self {
            name: identity.name.to_string(),
            node: identity.node.to_string(),
            policy: config.policy.word().to_owned(),
        }
    }
}

/// Takes the place of a socket that a killed agent left.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another agent answers there"));
    }
    files::remove_if_there(path)?;
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Most are answered from memory within microseconds; some wait for a service.
pub async fn serve(
    listener: UnixListener,
    who: Who,
    view: Arc<View>,
    services: mpsc::Sender<Ask>,
    stop: CancellationToken,
) {
    let who = Arc::new(who);
    let mut answering: JoinSet<()> = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = answering.join_next() => {}
            accepted = listener.accept(), if answering.len() < CLIENTS_MAX => match accepted {
                Ok((stream, _)) => {
                    let (who, view, services) = (Arc::clone(&who), Arc::clone(&view), services.clone());
                    answering.spawn(async move {
                        if let Err(error) = answer(stream, &who, &view, &services).await {
                            tracing::debug!(error = %error, "answering on the local socket failed");
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!(error = %error, "nobody can be heard on the local socket");
                    tokio::time::sleep(TIMEOUT).await;
                }
            },
        }
    }
}

async fn answer(stream: UnixStream, who: &Who, view: &View, services: &mpsc::Sender<Ask>) -> io::Result<()> {
    let by = stream.peer_cred().map(|peer| user_name(peer.uid())).unwrap_or_default();
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(REQUEST_BYTES_MAX));
    tokio::time::timeout(TIMEOUT, read.read_line(&mut line)).await.map_err(io::Error::other)??;
    let answer = match serde_json::from_str(&line) {
        Ok(Question::Status) => serde_json::to_value(Snapshot::take(who, &view.lock())).map_err(io::Error::other)?,
        Ok(question) => {
            tokio::select! {
                answer = of_services(question, by, services) => answer,
                // Whoever does not wait any more needs no answer.
                _ = read.read_line(&mut line) => return Ok(()),
            }
        }
        Err(error) => json!({ "error": error.to_string() }),
    };
    write.write_all(format!("{answer}\n").as_bytes()).await
}

async fn of_services(question: Question, by: String, services: &mpsc::Sender<Ask>) -> serde_json::Value {
    let gone = || json!({ "error": "the agent stops" });
    match question {
        Question::Status => gone(),
        Question::Service { verb, service } => {
            let (answer, answered) = oneshot::channel();
            let _ = services.send(Ask::Act { verb, service, by, reason: String::new(), answer }).await;
            answered.await.map_or_else(
                |_| gone(),
                |(outcome, words)| match outcome {
                    Outcome::Done => json!({ "words": words }),
                    Outcome::Failed | Outcome::Refused => json!({ "error": words }),
                },
            )
        }
        Question::Acts { service } => {
            let (answer, answered) = oneshot::channel();
            let service = service.map(|name| name.to_string()).unwrap_or_default();
            let _ = services.send(Ask::Acts { service, answer }).await;
            answered.await.map_or_else(|_| gone(), |acts| json!({ "acts": acts }))
        }
        Question::Tail { service, lines } => {
            let (answer, answered) = oneshot::channel();
            let _ = services.send(Ask::Tail { service, lines, answer }).await;
            match answered.await {
                Ok(Ok(lines)) => json!({ "lines": lines }),
                Ok(Err(words)) => json!({ "error": words }),
                Err(_) => gone(),
            }
        }
        Question::Pause { for_ms, reason } => {
            let until = for_ms.map(|millis| clock::wall().plus(Duration::from_millis(millis)));
            let words = if reason.is_empty() { format!("by {by}") } else { format!("by {by} ({reason:?})") };
            let brake = Brake { kind: BrakeKind::Paused, check: None, until, words: words.clone() };
            match services.send(Ask::Pause(Some(brake))).await {
                Ok(()) => json!({ "words": words }),
                Err(_) => gone(),
            }
        }
        Question::Resume => match services.send(Ask::Pause(None)).await {
            Ok(()) => json!({ "words": "resumed" }),
            Err(_) => gone(),
        },
    }
}

fn user_name(uid: u32) -> String {
    format!("{} on the host", account::name_of(uid).unwrap_or_else(|| format!("user {uid}")))
}

/// Asks the agent that runs here how it does.
pub fn ask(config: &Config) -> Result<Snapshot> {
    let answer = question(config, &Question::Status, Some(TIMEOUT * 2))?;
    serde_json::from_value(answer).context("read the agent's answer (is it of another version?)")
}

/// Waits for the answer as long as it takes, or as long as is said.
pub fn question(config: &Config, question: &Question, timeout: Option<Duration>) -> Result<serde_json::Value> {
    let path = config.socket();
    let line = serde_json::to_string(question).context("write the question")?;
    let asked = talk(&path, &line, timeout).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => anyhow::anyhow!(
            "no agent runs here (nothing answers at {}): see `systemctl status hostler-agent`",
            path.display()
        ),
        io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!("{} is not open to this user: ask as root", path.display())
        }
        _ => anyhow::Error::new(error).context(format!("ask the agent at {}", path.display())),
    })?;
    let answer: serde_json::Value =
        serde_json::from_slice(&asked).context("read the agent's answer (is it of another version?)")?;
    match answer.get("error").and_then(serde_json::Value::as_str) {
        Some(error) if error.starts_with("unknown variant") => {
            bail!("the agent does not understand this program ({error}): are they of one version?")
        }
        Some(error) => bail!("{error}"),
        None => Ok(answer),
    }
}

fn talk(path: &Path, line: &str, timeout: Option<Duration>) -> io::Result<Vec<u8>> {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(path)?;
    stream.set_read_timeout(timeout)?;
    stream.write_all(line.as_bytes())?;
    stream.write_all(b"\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}
