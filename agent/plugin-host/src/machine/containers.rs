//! Containers, as this host's engine tells of them over its socket: Docker, or
//! Podman in the same words.

use super::http::exchange;
use super::names;
use super::network::io_words;
use crate::answer::{Container, Instant};
use crate::call::CallError;
use crate::limits;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use http_body_util::Full;
use hyper::{Request, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use std::path::Path;
use tokio::net::UnixStream;

/// The engine's own words; what is not read is not named.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    #[serde(default)]
    names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    restart_count: u32,
    config: Config,
    state: State,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    image: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    #[serde(default)]
    status: String,
    #[serde(default)]
    exit_code: i32,
    #[serde(default)]
    started_at: String,
    /// Podman's is there without a check, and empty.
    health: Option<Health>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    #[serde(default)]
    status: String,
}

#[derive(Deserialize)]
struct Complaint {
    message: String,
}

pub(super) async fn find(socket: &Path, name: &str, max: u32) -> Result<Vec<Container>, CallError> {
    let all: Option<Vec<Listed>> = get(socket, "/containers/json?all=1").await?;
    let all = all.ok_or_else(|| other(format!("what listens at {} is no container engine", socket.display())))?;
    let mut wanted: Vec<(String, String)> =
        all.into_iter().filter_map(|one| Some((own_name(&one.names)?, one.id))).collect();
    wanted.retain(|(own, _)| names::matches(name, own));
    wanted.sort();
    wanted.truncate(max.min(limits::CONTAINERS_MAX) as usize);
    let inspected = stream::iter(wanted).map(|(_, id)| inspect(socket, id)).buffered(INSPECTED_AT_ONCE);
    Ok(inspected.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
}

/// The engine takes milliseconds for each.
const INSPECTED_AT_ONCE: usize = 8;

/// Other names are links' and have the linking container's before them.
fn own_name(names: &[String]) -> Option<String> {
    let names = names.iter().map(|name| name.strip_prefix('/').unwrap_or(name));
    names.min_by_key(|name| name.matches('/').count()).map(str::to_owned)
}

/// Absent where it was removed meanwhile.
async fn inspect(socket: &Path, id: String) -> Result<Option<Container>, CallError> {
    if !id.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(other(format!("the engine names a container {id:?}")));
    }
    let found: Option<Inspected> = get(socket, &format!("/containers/{id}/json")).await?;
    Ok(found.map(|one| Container {
        id: one.id,
        name: one.name.strip_prefix('/').unwrap_or(&one.name).to_owned(),
        image: one.config.image,
        state: one.state.status,
        health: one.state.health.map(|health| health.status).filter(|status| !matches!(status.as_str(), "" | "none")),
        exit_code: one.state.exit_code,
        restarts: one.restart_count,
        started: instant(&one.state.started_at),
    }))
}

/// One that never ran started in the year 1, and is told as 0.
fn instant(text: &str) -> Instant {
    let parsed: Option<jiff::Timestamp> = text.parse().ok();
    let seconds = parsed.and_then(|time| u64::try_from(time.as_second()).ok());
    match (parsed, seconds) {
        (Some(time), Some(seconds)) => {
            Instant { seconds, nanoseconds: u32::try_from(time.subsec_nanosecond()).unwrap_or_default() }
        }
        _ => Instant::default(),
    }
}

fn other(says: impl ToString) -> CallError {
    CallError::other("containers", says)
}

/// A connection a request, as the engine may be restarted at any time. Absent:
/// there is no such thing.
async fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<Option<T>, CallError> {
    let stream = UnixStream::connect(socket).await.map_err(|error| not_connected(socket, &error))?;
    let request = Request::get(path).header(header::HOST, "localhost").body(Full::default());
    let request = request.map_err(|error| other(format!("ask for {path}: {error}")))?;
    let answer = exchange(stream, request, limits::CONTAINERS_BYTES_MAX).await.map_err(|error| match error {
        CallError::Unreachable(why) => other(format!("the engine at {}: {why}", socket.display())),
        error => error,
    })?;
    if answer.truncated {
        return Err(CallError::Limit(format!("the engine answered more than {} bytes", limits::CONTAINERS_BYTES_MAX)));
    }
    match answer.status {
        StatusCode::OK => {
            let read = serde_json::from_slice(&answer.body);
            read.map(Some).map_err(|error| other(format!("the engine's answer to {path} can't be read: {error}")))
        }
        StatusCode::NOT_FOUND => Ok(None),
        status => {
            let complaint = serde_json::from_slice::<Complaint>(&answer.body).map(|one| one.message);
            Err(other(format!("the engine answered {} {}", status.as_u16(), complaint.unwrap_or_default()).trim_end()))
        }
    }
}

fn not_connected(socket: &Path, error: &std::io::Error) -> CallError {
    let path = socket.display();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            other(format!("no container engine here: nobody listens at {path}"))
        }
        ErrorKind::PermissionDenied => {
            other(format!("the agent may not use {path}: its user must be in the socket's group"))
        }
        _ => other(format!("connect to {path}: {}", io_words(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    const LIST: &str = r#"[
        {"Id": "b2", "Names": ["/web-2"], "Image": "x"},
        {"Id": "a1", "Names": ["/proxy/db", "/web-1"]},
        {"Id": "c3", "Names": ["/db"]},
        {"Id": "d4", "Names": ["/web-gone"]},
        {"Id": "e5"}
    ]"#;

    const RUNNING: &str = r#"{"Id": "a1", "Name": "/web-1", "RestartCount": 3, "Config": {"Image": "nginx:1"},
        "State": {"Status": "running", "ExitCode": 0, "StartedAt": "2024-01-02T03:04:05.5Z",
                  "Health": {"Status": "healthy", "FailingStreak": 0}}, "HostConfig": {}}"#;

    const EXITED: &str = r#"{"Id": "b2", "Name": "/web-2", "RestartCount": 0, "Config": {"Image": "x"},
        "State": {"Status": "exited", "ExitCode": 137, "StartedAt": "0001-01-01T00:00:00Z", "Health": {"Status": ""}}}"#;

    /// An engine that knows these paths; the folder holds its socket.
    async fn engine(answers: &[(&str, u16, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("tempdir");
        let listener = UnixListener::bind(folder.path().join("sock")).expect("bind");
        let answers: HashMap<String, (u16, String)> =
            answers.iter().map(|(path, status, body)| ((*path).to_owned(), (*status, (*body).to_owned()))).collect();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let read = stream.read(&mut request).await.unwrap_or_default();
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default();
                let gone = (404, r#"{"message": "No such container"}"#.to_owned());
                let (status, body) = answers.get(path).unwrap_or(&gone);
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ = stream.write_all((head + body).as_bytes()).await;
            }
        });
        folder
    }

    async fn found(folder: &tempfile::TempDir, name: &str, max: u32) -> Result<Vec<Container>, CallError> {
        find(&folder.path().join("sock"), name, max).await
    }

    #[tokio::test]
    async fn finds_by_name_and_sorted() {
        let engine = engine(&[
            ("/containers/json?all=1", 200, LIST),
            ("/containers/a1/json", 200, RUNNING),
            ("/containers/b2/json", 200, EXITED),
        ])
        .await;
        let list = found(&engine, "web-*", 10).await.expect("containers");
        let running = Container {
            id: "a1".into(),
            name: "web-1".into(),
            image: "nginx:1".into(),
            state: "running".into(),
            health: Some("healthy".into()),
            exit_code: 0,
            restarts: 3,
            started: Instant { seconds: 1_704_164_645, nanoseconds: 500_000_000 },
        };
        let exited = Container {
            id: "b2".into(),
            name: "web-2".into(),
            image: "x".into(),
            state: "exited".into(),
            exit_code: 137,
            ..Container::default()
        };
        assert_eq!(list, [running.clone(), exited]);
        assert_eq!(found(&engine, "*", 2).await.map(|list| list.len()), Ok(1), "the first two by name, one gone");
        assert_eq!(found(&engine, "web-1", 10).await, Ok(vec![running]));
        assert_eq!(found(&engine, "none", 10).await, Ok(Vec::new()));
    }

    #[tokio::test]
    async fn says_what_is_wrong_with_the_engine() {
        let says = |error: CallError| match error {
            CallError::Other { key, value } if key == "containers" => value,
            error => panic!("{error:?}"),
        };
        let missing = find(Path::new("/no/such.sock"), "*", 1).await.expect_err("nobody");
        assert_eq!(says(missing), "no container engine here: nobody listens at /no/such.sock");
        for (status, body, expect) in [
            (500, r#"{"message": "on fire"}"#, "the engine answered 500 on fire"),
            (503, "", "the engine answered 503"),
        ] {
            let engine = engine(&[("/containers/json?all=1", status, body)]).await;
            assert_eq!(says(found(&engine, "*", 1).await.expect_err("broken")), expect);
        }
        let strange = engine(&[("/containers/json?all=1", 200, "{}")]).await;
        assert!(says(found(&strange, "*", 1).await.expect_err("strange")).contains("can't be read"));
        let path = r#"[{"Id": "../x", "Names": ["/a"]}]"#;
        let hostile = engine(&[("/containers/json?all=1", 200, path)]).await;
        assert!(says(found(&hostile, "*", 1).await.expect_err("hostile")).contains("names a container"));
    }
}
