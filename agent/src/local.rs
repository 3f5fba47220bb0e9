//! The local socket: what this host knows, for whoever may open it, with or
//! without a control plane. One line of JSON asks, one answers.

use crate::config::Config;
use crate::status::Snapshot;
use crate::view::View;
use crate::{files, identity::Identity};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

const REQUEST_BYTES_MAX: u64 = 4 * 1024;
/// A thousand checks with their details.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "want", rename_all = "lowercase", deny_unknown_fields)]
pub enum Question {
    /// All there is: listings are made of it by who asks.
    Status,
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

/// One question at a time: each is answered from memory within microseconds.
pub async fn serve(listener: UnixListener, who: Who, view: Arc<View>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let answered = match accepted {
            Ok((stream, _)) => tokio::time::timeout(TIMEOUT, answer(stream, &who, &view)).await,
            Err(error) => {
                tokio::time::sleep(TIMEOUT).await;
                Ok(Err(error))
            }
        };
        match answered {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(error = %error, "answering on the local socket failed"),
            Err(_) => tracing::debug!("a client of the local socket did not speak in time"),
        }
    }
}

async fn answer(stream: UnixStream, who: &Who, view: &View) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    BufReader::new(read.take(REQUEST_BYTES_MAX)).read_line(&mut line).await?;
    let text = match serde_json::from_str(&line) {
        Ok(Question::Status) => serde_json::to_string(&Snapshot::take(who, &view.lock())),
        Err(error) => serde_json::to_string(&serde_json::json!({ "error": error.to_string() })),
    };
    let mut text = text.map_err(io::Error::other)?;
    text.push('\n');
    write.write_all(text.as_bytes()).await
}

/// Asks the agent that runs here.
pub fn ask(config: &Config) -> Result<Snapshot> {
    let path = config.socket();
    let asked = talk(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => anyhow::anyhow!(
            "no agent runs here (nothing answers at {}): see `systemctl status hostler-agent`",
            path.display()
        ),
        io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!("{} is not open to this user: ask as root", path.display())
        }
        _ => anyhow::Error::new(error).context(format!("ask the agent at {}", path.display())),
    })?;
    if let Ok(refusal) = serde_json::from_slice::<serde_json::Value>(&asked)
        && let Some(error) = refusal.get("error").and_then(serde_json::Value::as_str)
    {
        bail!("the agent does not understand this program ({error}): are they of one version?");
    }
    serde_json::from_slice(&asked).context("read the agent's answer (is it of another version?)")
}

fn talk(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(path)?;
    stream.set_read_timeout(Some(TIMEOUT * 2))?;
    stream.write_all(b"{\"want\":\"status\"}\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}
