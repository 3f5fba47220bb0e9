//! Services that run in containers: what the executor asks of this host's engine.
//!
//! A container is on the host's network, so its port is the host's. Of the host's
//! folders it has those in `dirs`, at the same places, and nothing else. It is made
//! anew at each start, and outlives agent and executor.

use super::process;
use super::runtime::{DIR_MODE, HOME_MODE, Runtime, TAIL_LINES, Texts, how, limits, signal};
use hostler_agent_core::supervision::{End, How, Key, Seen, Trouble, fingerprint};
use hostler_executor::account;
use hostler_executor::protocol::{Act, Container, Environment, Found};
use hostler_types::ServiceAssignment;
use hostler_types::service::{GRACE_DEFAULT, LogPolicy, Program, Runs};
use hostler_types::time::whole_millis;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the spec says nothing: enough to look back, and no disk is filled by it.
const LOG_BYTES_DEFAULT: u64 = 10 * 1024 * 1024;
/// An engine begins a file anew with each line otherwise.
const LOG_BYTES_MIN: u64 = 4 * 1024;

/// What the service runs in a container, if it does.
pub fn of(service: Option<&ServiceAssignment>) -> Option<&Program> {
    match service.map(|one| &one.runs) {
        Some(Runs::Container { program, .. }) => Some(program),
        _ => None,
    }
}

/// Replicas that were containers, and are not wanted as such any more.
pub fn unwanted<'a>(
    last: impl Iterator<Item = &'a Arc<ServiceAssignment>>,
    services: &[ServiceAssignment],
) -> Vec<Key> {
    let kept = |last: &ServiceAssignment| {
        let now = services.iter().find(|one| one.name == last.name);
        now.filter(|now| of(Some(now)).is_some()).map_or(0, |now| now.replicas)
    };
    let containers = last.filter(|last| of(Some(last)).is_some());
    let keys = |last: &'a Arc<ServiceAssignment>| {
        (kept(last)..last.replicas).map(|replica| Key { service: last.name.clone(), replica })
    };
    containers.flat_map(keys).collect()
}

fn name_of(key: &Key) -> String {
    format!("hostler-{}-{}", key.service, key.replica)
}

impl Runtime {
    async fn inspect_container(&self, key: &Key) -> Result<Option<Found>, Trouble> {
        Ok(self.done(Act::InspectContainer { name: name_of(key) }).await?.container.map(|found| *found))
    }

    pub(super) async fn look_container(&self, key: &Key, service: Option<&ServiceAssignment>) -> Seen {
        let Ok(Some(found)) = self.inspect_container(key).await else { return Seen::Nothing };
        match (found.pid, found.ended, of(service)) {
            (Some(pid), ..) => Seen::Running { pid: Some(pid), age: process::age(pid) },
            (None, Some(ended), Some(program)) => {
                let how = how(Some(ended), program.limits.memory_bytes);
                Seen::Ended(End { how, tail: self.redacted_tail(key).await })
            }
            (None, Some(_), None) if service.is_none() => {
                self.sweep_container(key).await;
                Seen::Nothing
            }
            _ => Seen::Nothing,
        }
    }

    /// What ended by itself is kept for its last lines, until nobody wants it any more.
    /// What runs is the supervisor's to stop.
    pub(super) async fn sweep_container(&self, key: &Key) {
        if let Ok(Some(found)) = self.inspect_container(key).await
            && !found.running
        {
            let _ = self.stop_container(key, None).await;
        }
    }

    pub(super) async fn container_ended(&self, key: &Key, program: &Program) -> (End, Option<u32>) {
        let end = |how, tail| End { how, tail };
        match self.inspect_container(key).await {
            // Somebody removed it by hand.
            Ok(None) => (end(How::Stopped, Vec::new()), None),
            Ok(Some(found)) => {
                let how = how(found.ended, program.limits.memory_bytes);
                (end(how, self.redacted_tail(key).await), found.pid)
            }
            Err(_) => (end(How::Unknown, Vec::new()), None),
        }
    }

    async fn redacted_tail(&self, key: &Key) -> Vec<String> {
        let lines = self.container_tail(key, TAIL_LINES).await.unwrap_or_default();
        lines.into_iter().map(|line| self.vault.redact(line)).collect()
    }

    /// As it printed them, secrets and all.
    pub(super) async fn container_tail(&self, key: &Key, lines: u32) -> Option<Vec<String>> {
        let asked = self.done(Act::ContainerTail { name: name_of(key), lines }).await;
        asked.ok().and_then(|done| done.text).map(|text| text.lines().map(str::to_owned).collect())
    }

    pub(super) async fn start_container(
        &self,
        key: &Key,
        service: &ServiceAssignment,
        image: &str,
        program: &Program,
    ) -> Result<Option<u32>, Trouble> {
        self.done(Act::PullImage { image: image.to_owned() }).await?;
        self.prepare_container(program).await?;
        let Texts { command, env } = self.texts(program)?;
        let LogPolicy { rotate_bytes, keep, compress, .. } = program.logs;
        let container = Container {
            image: image.to_owned(),
            command: if command.is_empty() { Vec::new() } else { process::command_elsewhere(&command) },
            user: program.user.clone(),
            folder: program.home.clone(),
            env: Environment(env),
            limits: limits(program),
            mounts: mounts(program),
            log_bytes_max: rotate_bytes.unwrap_or(LOG_BYTES_DEFAULT).max(LOG_BYTES_MIN),
            log_files_max: keep.saturating_add(1),
            log_compress: compress,
            stop_signal: signal(service),
            grace_ms: whole_millis(service.stop.grace),
            made_from: format!("{:016x}", fingerprint(service)),
        };
        // Without a pid it ended at once, which is no failure to start.
        Ok(self.done(Act::StartContainer { name: name_of(key), container }).await?.pid)
    }

    /// Its user and the folders that it is given; what is there is left as it is.
    async fn prepare_container(&self, program: &Program) -> Result<(), Trouble> {
        let user = program.user.clone().filter(|user| !user.starts_with(|c: char| c.is_ascii_digit()));
        let home = program.home.as_ref().map(PathBuf::from);
        if let Some(name) = user.as_ref().filter(|user| account::find(user).is_err()) {
            self.done(Act::MakeUser { name: name.clone(), home: home.clone(), groups: Vec::new() }).await?;
        }
        let mounts = mounts(program);
        let home = home.filter(|_| !mounts.is_empty()).map(|home| (home, HOME_MODE));
        for (path, mode) in home.into_iter().chain(mounts.into_iter().map(|path| (path, DIR_MODE))) {
            if !path.is_dir() {
                self.done(Act::MakeFolder { path, owner: user.clone(), mode: Some(mode) }).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn stop_container(&self, key: &Key, service: Option<&ServiceAssignment>) -> Result<(), Trouble> {
        let grace = service.map_or(GRACE_DEFAULT, |one| one.stop.grace);
        let signal = service.map_or_else(|| "SIGTERM".to_owned(), signal);
        let act = Act::StopContainer { name: name_of(key), signal, grace_ms: whole_millis(grace) };
        self.done(act).await.map(|_| ())
    }

    /// What it ran as before its spec changed, or went. Most hosts have no engine: then
    /// there is none.
    pub(super) async fn stop_stray_container(&self, key: &Key) -> Result<(), Trouble> {
        match self.stop_container(key, None).await {
            Err(trouble) if matches!(self.look_container(key, None).await, Seen::Running { .. }) => Err(trouble),
            _ => Ok(()),
        }
    }

    pub(super) async fn reload_container(&self, key: &Key) -> Result<(), Trouble> {
        self.done(Act::KillContainer { name: name_of(key), signal: "SIGHUP".to_owned() }).await.map(|_| ())
    }
}

fn mounts(program: &Program) -> Vec<PathBuf> {
    let home = Path::new(program.home.as_deref().unwrap_or("/"));
    program.dirs.iter().map(|dir| home.join(dir)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_below_home() {
        let program = |home: Option<&str>, dirs: &[&str]| Program {
            home: home.map(str::to_owned),
            dirs: dirs.iter().map(|&dir| dir.to_owned()).collect(),
            ..Program::default()
        };
        let paths =
            |program: &Program| mounts(program).into_iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(paths(&program(Some("/opt/shop"), &["data", "logs/old"])), ["/opt/shop/data", "/opt/shop/logs/old"]);
        assert_eq!(paths(&program(None, &["srv/data"])), ["/srv/data"]);
        assert!(mounts(&program(Some("/opt/shop"), &[])).is_empty());
    }

    #[test]
    fn its_name_says_whose_it_is() {
        let key = Key { service: hostler_types::Name::new("shop-web").expect("a name"), replica: 2 };
        assert_eq!(name_of(&key), "hostler-shop-web-2");
    }
}
