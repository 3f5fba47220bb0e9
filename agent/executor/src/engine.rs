//! Containers, through the engine of this host: Docker, or Podman in the same words,
//! on its socket. A container lives on whatever becomes of agent and executor, and is
//! found again by its name.

use crate::account;
use crate::protocol::{Container, Done, Found};
use form::Inspected;
use frames::Frames;
use http::{Fault, Request, encoded, exchange};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod form;
mod frames;
mod http;

const SOCKETS: [&str; 2] = ["/run/docker.sock", "/run/podman/podman.sock"];
const UNIX: &str = "unix://";
/// A disk that is busy is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// As long as packages may take: an image of some gigabytes on a slow line.
const PULL_MAX: Duration = Duration::from_secs(15 * 60);
/// After the kill: what can't be killed waits for a disk.
const KILLED_MAX: Duration = Duration::from_secs(10);
/// An engine learns of an end within milliseconds, unless it is busy.
const HEARD_MAX: Duration = Duration::from_secs(10);
/// What an engine says of one container or image is some tens of KiB.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A line of what it says while it pulls.
const LINE_BYTES_MAX: usize = 64 * 1024;

pub struct Engine {
    /// Where it is said to be.
    said: Option<PathBuf>,
    /// Of what was stopped here: its image, and the one that it ran before.
    stopped: RefCell<BTreeMap<String, Images>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Images {
    last: String,
    before: Option<String>,
}

#[derive(Deserialize)]
struct Complaint {
    message: String,
}

#[derive(Deserialize)]
struct Progress {
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    #[serde(default)]
    id: String,
    #[serde(default)]
    config: Option<form::Config>,
}

struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Answer {
    fn is_well(&self) -> bool {
        (200..400).contains(&self.status)
    }

    fn complaint(&self) -> String {
        let read = serde_json::from_slice::<Complaint>(&self.body).map(|one| one.message);
        read.unwrap_or_else(|_| format!("the container engine answered {}", self.status))
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.body)
            .map_err(|error| format!("the container engine's answer can't be read: {error}"))
    }
}

impl Engine {
    /// As `DOCKER_HOST` says, or where engines are.
    pub fn of_host() -> Self {
        let said = std::env::var("DOCKER_HOST").ok();
        let said = said.and_then(|text| text.strip_prefix(UNIX).map(PathBuf::from));
        Self { said, stopped: RefCell::default() }
    }

    fn socket(&self) -> PathBuf {
        let places = || SOCKETS.map(PathBuf::from).into_iter();
        let found = || places().find(|path| path.exists()).or_else(|| places().next());
        self.said.clone().or_else(found).unwrap_or_default()
    }

    async fn say(&self, request: Request<'_>, sink: &mut impl FnMut(u16, &[u8]) -> bool) -> Result<u16, String> {
        let socket = self.socket();
        let longest = request.longest.as_secs();
        exchange(&socket, request, sink).await.map_err(|fault| match fault {
            Fault::Nobody => format!(
                "no container engine answers at {}: install one (apt-get install docker.io), or start the one that is \
                 there (systemctl start docker)",
                socket.display()
            ),
            Fault::Late => format!("the container engine at {} does not answer within {longest} s", socket.display()),
            Fault::Broken(words) => format!("the container engine at {}: {words}", socket.display()),
        })
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Vec<u8>>, longest: Duration) -> Result<Answer, String> {
        let mut all = Vec::new();
        let mut keep = |_: u16, part: &[u8]| {
            all.extend_from_slice(part);
            all.len() <= ANSWER_BYTES_MAX
        };
        let status = self.say(Request { method, path, body, longest }, &mut keep).await?;
        if all.len() > ANSWER_BYTES_MAX {
            return Err(format!("the container engine answered more than {ANSWER_BYTES_MAX} bytes"));
        }
        Ok(Answer { status, body: all })
    }

    /// The engine's answer, and its complaint if it is one.
    async fn well(&self, method: &str, path: &str, body: Option<Vec<u8>>) -> Result<Answer, String> {
        let answer = self.ask(method, path, body, ANSWER_MAX).await?;
        if answer.is_well() { Ok(answer) } else { Err(answer.complaint()) }
    }

    async fn look(&self, name: &str) -> Result<Option<Inspected>, String> {
        let once = async || {
            let answer = self.ask("GET", &format!("/containers/{name}/json"), None, ANSWER_MAX).await?;
            match answer.status {
                404 => Ok(None),
                _ if answer.is_well() => answer.read::<Inspected>().map(Some),
                _ => Err(answer.complaint()),
            }
        };
        let found = once().await?;
        match &found {
            // The kernel knows before the engine does.
            Some(one) if one.state.running && is_over(one.state.pid) => {
                let _ = self.over(name, HEARD_MAX).await;
                once().await
            }
            _ => Ok(found),
        }
    }

    /// Whether it ended within the time.
    async fn over(&self, name: &str, longest: Duration) -> Result<bool, String> {
        let path = format!("/containers/{name}/wait");
        let request = Request { method: "POST", path: &path, body: None, longest };
        match exchange(&self.socket(), request, &mut |_, _| true).await {
            Ok(_) => Ok(true),
            Err(Fault::Late) => Ok(false),
            Err(fault) => Err(format!("wait for the end of {name}: {fault:?}")),
        }
    }

    pub async fn inspect(&self, name: &str) -> Result<Done, String> {
        let found = self.look(name).await?.filter(Inspected::is_ours).map(|one| one.found());
        Ok(told(found))
    }

    pub async fn start(&self, name: &str, container: &Container) -> Result<Done, String> {
        if let Some(there) = self.look(name).await? {
            let found = there.found();
            if found.running && found.made_from == container.made_from {
                return Ok(Done { already: true, ..told(Some(found)) });
            }
            // Whatever it is, its place is taken.
            self.stop(name, &container.stop_signal, Duration::from_millis(container.grace_ms)).await?;
        }
        let image = self.image(&container.image).await?.ok_or_else(|| absent(&container.image))?;
        for folder in &container.mounts {
            crate::files::is_folder(folder)?;
        }
        let user = container.user.as_deref().map(numbers).transpose()?;
        let volumes: Vec<String> =
            image.config.and_then(|config| config.volumes).unwrap_or_default().into_keys().collect();
        let stopped = self.stopped.borrow_mut().remove(name).unwrap_or_default();
        let (before, old) = succession(&stopped, &image.id);
        let body = form::created(name, container, user.as_deref(), &volumes, before.as_deref());
        let body = serde_json::to_vec(&body).map_err(|error| format!("write down the container: {error}"))?;
        let made = self.well("POST", &format!("/containers/create?name={name}"), Some(body)).await;
        made.map_err(|words| format!("make the container: {words}"))?;
        if let Err(words) = self.well("POST", &format!("/containers/{name}/start"), None).await {
            let _ = self.remove(name).await;
            self.stopped.borrow_mut().insert(name.to_owned(), stopped);
            return Err(format!("start the container: {words}"));
        }
        if let Some(old) = old {
            // Only if nothing else is of it: never by force.
            let _ = self.well("DELETE", &format!("/images/{}", encoded(&old)), None).await;
        }
        let found = self.look(name).await?.map(|one| one.found());
        Ok(Done { changed: true, ..told(found) })
    }

    pub async fn stop(&self, name: &str, signal: &str, grace: Duration) -> Result<Done, String> {
        let Some(there) = self.look(name).await? else { return Ok(Done { already: true, ..Done::default() }) };
        if !there.is_ours() {
            return Err(format!(
                "the container {name} was not made by Hostler, and is left alone: remove or rename it"
            ));
        }
        if there.state.running {
            // It may end by itself meanwhile: then there is nothing to signal.
            let asked = self.ask("POST", &format!("/containers/{name}/kill?signal={signal}"), None, ANSWER_MAX).await?;
            if !(asked.is_well() && self.over(name, grace).await?) {
                let _ = self.ask("POST", &format!("/containers/{name}/kill?signal=SIGKILL"), None, ANSWER_MAX).await?;
                if !self.over(name, KILLED_MAX).await? {
                    return Err(format!("{name} was killed, and does not end: it may wait for a disk"));
                }
            }
        }
        let ended = self.look(name).await?.and_then(|one| one.found().ended);
        self.remove(name).await?;
        let before = there.config.label(form::IMAGE_BEFORE).map(str::to_owned);
        self.stopped.borrow_mut().insert(name.to_owned(), Images { last: there.image, before });
        Ok(Done { changed: true, ended, ..Done::default() })
    }

    async fn remove(&self, name: &str) -> Result<(), String> {
        // With the volumes that nobody has named, which nothing finds again.
        let answer = self.ask("DELETE", &format!("/containers/{name}?force=1&v=1"), None, ANSWER_MAX).await?;
        // Gone, or going.
        if answer.is_well() || matches!(answer.status, 404 | 409) { Ok(()) } else { Err(answer.complaint()) }
    }

    pub async fn kill(&self, name: &str, signal: &str) -> Result<Done, String> {
        if !self.look(name).await?.is_some_and(|one| one.is_ours() && one.state.running) {
            return Err(format!("{name} does not run"));
        }
        let sent = self.well("POST", &format!("/containers/{name}/kill?signal={signal}"), None).await;
        sent.map_err(|words| format!("signal {name}: {words}"))?;
        Ok(Done { changed: true, ..Done::default() })
    }

    pub async fn tail(&self, name: &str, lines: u32) -> Result<Done, String> {
        let path = format!("/containers/{name}/logs?stdout=1&stderr=1&tail={lines}");
        let (mut frames, mut complaint) = (Frames::default(), Vec::new());
        let mut sink = |status: u16, part: &[u8]| {
            if status == 200 {
                frames.feed(part);
            } else {
                complaint.extend_from_slice(part);
            }
            complaint.len() <= LINE_BYTES_MAX
        };
        let request = Request { method: "GET", path: &path, body: None, longest: ANSWER_MAX };
        let status = self.say(request, &mut sink).await?;
        match status {
            200 => Ok(Done { text: Some(frames.text()), ..Done::default() }),
            404 => Ok(Done { text: Some(String::new()), ..Done::default() }),
            status => Err(Answer { status, body: complaint }.complaint()),
        }
    }

    async fn image(&self, name: &str) -> Result<Option<Image>, String> {
        let answer = self.ask("GET", &format!("/images/{}/json", encoded(name)), None, ANSWER_MAX).await?;
        match answer.status {
            404 => Ok(None),
            _ if answer.is_well() => answer.read().map(Some),
            _ => Err(answer.complaint()),
        }
    }

    pub async fn pull(&self, image: &str) -> Result<Done, String> {
        if self.image(image).await?.is_some() {
            return Ok(Done { already: true, ..Done::default() });
        }
        let path = format!("/images/create?fromImage={}", encoded(&with_tag(image)));
        let mut lines = Lines::default();
        let request = Request { method: "POST", path: &path, body: None, longest: PULL_MAX };
        let status = self.say(request, &mut |_, part| lines.feed(part)).await?;
        if let Some(words) = lines.ended(status) {
            return Err(format!("{}, and can't be pulled: {words}", absent(image)));
        }
        Ok(Done { changed: true, ..Done::default() })
    }
}

fn told(found: Option<Found>) -> Done {
    let (pid, ended) = found.as_ref().map_or((None, None), |found| (found.pid, found.ended.clone()));
    Done { pid, ended, container: found.map(Box::new), ..Done::default() }
}

fn absent(image: &str) -> String {
    format!("image {image} is not on this host (docker load -i FILE brings one from a file)")
}

/// Without a tag, an engine would pull every one there is.
fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// What the next is to remember as the one before it, and what nothing goes back to any
/// more.
fn succession(stopped: &Images, image: &str) -> (Option<String>, Option<String>) {
    if stopped.last == image || stopped.last.is_empty() {
        return (stopped.before.clone(), None);
    }
    let old = stopped.before.clone().filter(|old| old != image && *old != stopped.last);
    (Some(stopped.last.clone()), old)
}

/// As numbers: an image knows other names than the host.
fn numbers(user: &str) -> Result<String, String> {
    if user.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(user.to_owned());
    }
    account::find(user).map(|account| format!("{}:{}", account.uid, account.gid))
}

/// Gone, or about to be.
fn is_over(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.map_or(true, |stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X'])))
}

/// What an engine says while it pulls: a JSON object a line, and the last may be an
/// error, though the answer had begun well.
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
    error: Option<String>,
    last: String,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            if *byte == b'\n' {
                self.take();
            } else if self.line.len() < LINE_BYTES_MAX {
                self.line.push(*byte);
            }
        }
        true
    }

    fn take(&mut self) {
        if let Ok(Progress { error: Some(error) }) = serde_json::from_slice(&self.line) {
            self.error = Some(error);
        }
        self.last = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
    }

    /// Why it came to nothing, if it did.
    fn ended(mut self, status: u16) -> Option<String> {
        if !self.line.is_empty() {
            self.take();
        }
        let complaint = || Answer { status, body: self.last.clone().into_bytes() }.complaint();
        self.error.or_else(|| (status != 200).then(complaint))
    }
}

#[cfg(test)]
mod tests;
