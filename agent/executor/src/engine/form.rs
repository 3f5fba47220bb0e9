//! A container in the engine's own words, either way.

use crate::protocol::{Container, Ended, Found};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const SERVICE: &str = "hostler.service";
pub const REPLICA: &str = "hostler.replica";
pub const MADE_FROM: &str = "hostler.made-from";
/// What the service ran before: one to go back to.
pub const IMAGE_BEFORE: &str = "hostler.image-before";
/// What a shell says of a program that a signal ended.
const SIGNAL_CODE: i32 = 128;
const SIGNALS: i32 = 64;
/// Of a whole processor, in which its share is counted: as the kernel does by itself.
const PERIOD_US: u64 = 100_000;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inspected {
    #[serde(default)]
    pub image: String,
    #[serde(default)]
    pub config: Config,
    #[serde(default)]
    pub state: State,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Config {
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub volumes: Option<BTreeMap<String, Value>>,
}

impl Config {
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.as_ref()?.get(name).map(String::as_str)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct State {
    pub status: String,
    pub running: bool,
    pub pid: u32,
    pub exit_code: i32,
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Why it did not begin.
    pub error: String,
}

impl Inspected {
    /// Not one that somebody called so by hand.
    pub fn is_ours(&self) -> bool {
        self.config.label(SERVICE).is_some()
    }

    pub fn found(&self) -> Found {
        let state = &self.state;
        Found {
            image: self.image.clone(),
            made_from: self.config.label(MADE_FROM).unwrap_or_default().to_owned(),
            running: state.running,
            pid: Some(state.pid).filter(|pid| state.running && *pid > 0),
            ended: matches!(state.status.as_str(), "exited" | "dead").then(|| ended(state)),
        }
    }
}

/// Engines say how by one number, as a shell does.
fn ended(state: &State) -> Ended {
    let code = state.exit_code;
    let signal = Some(code - SIGNAL_CODE).filter(|signal| (1..=SIGNALS).contains(signal));
    let result = match (code, signal) {
        (0, _) => "success",
        // Also where only a child of it was killed, and it ended of that.
        _ if state.oom_killed => "oom-kill",
        (_, Some(_)) => "signal",
        _ => "exit-code",
    };
    let code = Some(code).filter(|_| signal.is_none());
    Ended { code, signal, result: result.into(), known: true, memory_peak_bytes: None }
}

/// `volumes`: what the image keeps apart from itself.
pub fn created(
    name: &str,
    container: &Container,
    user: Option<&str>,
    volumes: &[String],
    image_before: Option<&str>,
) -> Value {
    let (service, replica) = name.strip_prefix("hostler-").and_then(|rest| rest.rsplit_once('-')).unwrap_or_default();
    let mut labels = json!({ SERVICE: service, REPLICA: replica, MADE_FROM: container.made_from });
    if let (Some(before), Some(labels)) = (image_before, labels.as_object_mut()) {
        labels.insert(IMAGE_BEFORE.into(), before.into());
    }
    let env: Vec<String> = container.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut created = json!({
        "Image": container.image,
        "Env": env,
        "Labels": labels,
        "StopSignal": container.stop_signal,
        "AttachStdin": false,
        "Tty": false,
        "HostConfig": host(name, container, volumes),
    });
    if let Some(fields) = created.as_object_mut() {
        if !container.command.is_empty() {
            // In the place of whatever the image begins with: it is the whole command.
            fields.insert("Entrypoint".into(), json!([]));
            fields.insert("Cmd".into(), json!(container.command));
        }
        fields.extend(user.map(|user| ("User".into(), user.into())));
        fields.extend(container.folder.as_ref().map(|folder| ("WorkingDir".into(), json!(folder))));
    }
    created
}

fn host(name: &str, container: &Container, volumes: &[String]) -> Value {
    let limits = &container.limits;
    let binds = container.mounts.iter().map(|path| json!({"Type": "bind", "Source": path, "Target": path}));
    // Under a name of its own, it is there again when the container is replaced.
    let volumes =
        volumes.iter().filter(|path| !container.mounts.iter().any(|mount| mount.as_os_str() == path.as_str()));
    let volumes = volumes.map(|path| json!({"Type": "volume", "Source": volume(name, path), "Target": path}));
    let mut logs = json!({
        "max-size": container.log_bytes_max.to_string(),
        "max-file": container.log_files_max.to_string(),
    });
    if let Some(logs) = logs.as_object_mut().filter(|_| container.log_compress && container.log_files_max > 1) {
        logs.insert("compress".into(), "true".into());
    }
    let mut host = json!({
        "NetworkMode": "host",
        "Privileged": false,
        "IpcMode": "private",
        "SecurityOpt": ["no-new-privileges"],
        // The agent is the one who starts it again.
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {"Type": "json-file", "Config": logs},
        "Mounts": binds.chain(volumes).collect::<Vec<_>>(),
    });
    if let Some(fields) = host.as_object_mut() {
        if let Some(bytes) = limits.memory_bytes {
            // The same with swap: there is none to it.
            fields.extend([("Memory".into(), bytes.into()), ("MemorySwap".into(), bytes.into())]);
        }
        if let Some(cpu) = limits.cpu {
            // Not as a number of processors, of which an engine takes no more than there are.
            let quota = (cpu * PERIOD_US as f64).round() as u64;
            fields.extend([("CpuPeriod".into(), PERIOD_US.into()), ("CpuQuota".into(), quota.into())]);
        }
        if let Some(files) = limits.files {
            fields.insert("Ulimits".into(), json!([{"Name": "nofile", "Soft": files, "Hard": files}]));
        }
        fields.extend(limits.processes.map(|count| ("PidsLimit".into(), count.into())));
    }
    host
}

fn volume(name: &str, path: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    let place: String = path.trim_start_matches('/').chars().map(plain).collect();
    format!("{name}-{place}")
}

#[cfg(test)]
mod tests;
