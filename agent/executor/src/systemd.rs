//! Where systemd is the host's first process: a service's process is a transient
//! unit, whose parent and memory of how it ended is systemd.
//!
//! The connection to the bus is made when it is first needed and dropped after a
//! while, since it is most of what the executor would hold in memory.

use crate::protocol::{Done, Ended, Process, Unit};
use bus::{Bus, MANAGER, Manager};
use std::fs::File;
use std::path::Path;
use std::time::Duration;
use zbus::{Fd, Variant};

mod bus;
pub mod environment;
mod memory;

/// Until a unit that ended is forgotten by systemd, which it does when it is idle.
const FORGET_TRIES: u32 = 200;
const FORGET_PAUSE: Duration = Duration::from_millis(5);
/// A start that says nothing for so long has failed.
const START_TIMEOUT_US: u64 = 90_000_000;

pub struct Systemd {
    manager: Manager,
    memory: memory::Watch,
}

impl Systemd {
    pub fn new() -> Self {
        Self { manager: Manager::default(), memory: memory::Watch::default() }
    }

    pub async fn start_process(
        &self,
        unit: &str,
        process: &Process,
        user: &str,
        output: &File,
    ) -> Result<Done, String> {
        let bus = self.manager.bus().await?;
        if let Some(found) = bus.loaded(unit).await? {
            if let Some(pid) = found.pid {
                return Ok(Done { pid: Some(pid), already: true, ..Done::default() });
            }
            self.clear(&bus, unit).await?;
        }
        let environment = environment::write(unit, &process.env)?;
        let properties = properties(process, user, output, environment.as_deref());
        let started = self.start_transient(&bus, unit, &properties).await;
        if let Some(file) = environment {
            // systemd has read it, and never starts this unit again.
            let _ = std::fs::remove_file(file);
        }
        let result = started?;
        let found = bus.loaded(unit).await?;
        let ended = found.as_ref().and_then(|found| found.ended.clone());
        // One that ran and ended before systemd looked was started all the same.
        let ran =
            !process.ready_notify && ended.as_ref().is_some_and(|ended| setup_words(ended).is_none() && ran(ended));
        if result != "done" && !ran {
            let how = ended.map_or(result, |ended| format!("{} ({})", ended.result, exit_words(&ended)));
            return Err(format!(
                "{unit} did not start: {how}; what it said is at the end of {}, or in: journalctl -u {unit}",
                process.output.display()
            ));
        }
        let found = found.ok_or_else(|| format!("{unit} is gone again"))?;
        if let Some(pid) = found.pid {
            self.memory.watch(unit, pid);
        }
        Ok(Done { pid: found.pid, changed: true, ended: found.ended, ..Done::default() })
    }

    /// systemd forgets a unit that ended a little after it was told to.
    async fn start_transient(
        &self,
        bus: &Bus,
        unit: &str,
        properties: &[(&str, Variant<'_>)],
    ) -> Result<String, String> {
        for _ in 0..FORGET_TRIES {
            let auxiliary: [(&str, Vec<(&str, Variant<'_>)>); 0] = [];
            let body = (unit, "replace", properties, auxiliary.as_slice());
            match bus.job("StartTransientUnit", &body).await {
                Err(bus::CallError::Exists) => tokio::time::sleep(FORGET_PAUSE).await,
                Err(bus::CallError::Other(words)) => return Err(words),
                Ok(result) => return Ok(result),
            }
        }
        Err(format!("{unit} ended, and systemd does not forget it; see: systemctl status {unit}"))
    }

    /// Whatever is left of a process that ended, and the unit that says how.
    async fn clear(&self, bus: &Bus, unit: &str) -> Result<(), String> {
        bus.job("StopUnit", &(unit, "replace")).await.map_err(String::from)?;
        self.memory.forget(unit);
        bus.reset_failed(unit).await
    }

    pub async fn job(&self, verb: &str, unit: &str) -> Result<Done, String> {
        let bus = self.manager.bus().await?;
        let before = bus.loaded(unit).await?;
        let result = match bus.job(verb, &(unit, "replace")).await {
            // One that is not there is stopped.
            Err(_) if verb == "StopUnit" && before.is_none() => {
                return Ok(Done { already: true, ..Done::default() });
            }
            result => result.map_err(String::from)?,
        };
        let after = bus.loaded(unit).await?;
        if result != "done" && result != "skipped" {
            let how = after.and_then(|found| found.ended).map_or(String::new(), |ended| format!(", {}", ended.result));
            return Err(format!("{verb} {unit}: {result}{how}; see: journalctl -u {unit}"));
        }
        let pid = |unit: &Option<Unit>| unit.as_ref().and_then(|unit| unit.pid);
        let already = verb == "StartUnit" && pid(&before).is_some() && pid(&before) == pid(&after);
        let ended = after.as_ref().and_then(|unit| unit.ended.clone());
        Ok(Done { pid: pid(&after), already, changed: !already, ended, ..Done::default() })
    }

    pub async fn reset_failed(&self, unit: &str) -> Result<Done, String> {
        self.manager.bus().await?.reset_failed(unit).await?;
        Ok(Done { changed: true, ..Done::default() })
    }

    pub async fn kill(&self, unit: &str, signal: i32) -> Result<Done, String> {
        let bus = self.manager.bus().await?;
        bus.call(MANAGER, "KillUnit", &(unit, "main", signal)).await.map_err(String::from)?;
        Ok(Done { changed: true, ..Done::default() })
    }

    /// In order: whatever runs is stopped before.
    pub async fn reboot(&self) -> Result<Done, String> {
        let bus = self.manager.bus().await?;
        let called = bus.call(MANAGER, "StartUnit", &("reboot.target", "replace-irreversibly")).await;
        called.map_err(String::from)?;
        Ok(Done { changed: true, ..Done::default() })
    }

    pub async fn reload(&self) -> Result<(), String> {
        let bus = self.manager.bus().await?;
        bus.call(MANAGER, "Reload", &()).await.map(|_| ()).map_err(String::from)
    }

    pub async fn enable(&self, unit: &str, enable: bool) -> Result<(), String> {
        let bus = self.manager.bus().await?;
        let units = [unit];
        let called = if enable {
            bus.call(MANAGER, "EnableUnitFiles", &(units.as_slice(), false, true)).await
        } else {
            bus.call(MANAGER, "DisableUnitFiles", &(units.as_slice(), false)).await
        };
        called.map(|_| ()).map_err(String::from)
    }

    pub async fn inspect(&self, unit: &str) -> Result<Option<Unit>, String> {
        let found = self.manager.bus().await?.loaded(unit).await?;
        Ok(found.map(|found| self.explained(found)))
    }

    pub async fn list(&self) -> Result<Vec<Unit>, String> {
        let bus = self.manager.bus().await?;
        let mut units = Vec::new();
        let names = bus.names("hostler-*.service").await?;
        for name in names.into_iter().filter(|name| !crate::judge::own_unit(name)) {
            units.extend(bus.loaded(&name).await?);
        }
        Ok(units.into_iter().map(|unit| self.explained(unit)).collect())
    }

    /// With what systemd can't see where memory is counted the old way.
    fn explained(&self, mut unit: Unit) -> Unit {
        if let Some(pid) = unit.pid {
            self.memory.watch(&unit.name, pid);
        }
        let killed = unit.ended.as_ref().is_some_and(|ended| ended.result == "signal" && ended.signal == Some(9));
        if let Some(ended) = &mut unit.ended {
            if killed && self.memory.ran_out(&unit.name) {
                ended.result = "oom-kill".into();
            }
            ended.memory_peak_bytes = ended.memory_peak_bytes.or_else(|| self.memory.peak(&unit.name));
        }
        unit
    }
}

fn ran(ended: &Ended) -> bool {
    ended.code.is_some() || ended.signal.is_some()
}

/// What systemd says by an exit code when it could not make a process.
fn setup_words(ended: &Ended) -> Option<&'static str> {
    match ended.code {
        Some(200) => Some("its folder can't be entered"),
        Some(203) => Some("its program is not there, or can't be run by its user"),
        Some(209 | 222) => Some("its output can't be written"),
        Some(216) => Some("its group can't be taken"),
        Some(217) => Some("its user can't be taken"),
        Some(201..=243) => Some("systemd could not set it up"),
        _ => None,
    }
}

fn exit_words(ended: &Ended) -> String {
    if let Some(words) = setup_words(ended) {
        return words.into();
    }
    match (ended.code, ended.signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "it never ran".into(),
    }
}

fn properties<'a>(
    process: &'a Process,
    user: &'a str,
    output: &'a File,
    environment: Option<&'a Path>,
) -> Vec<(&'a str, Variant<'a>)> {
    let program = process.command.first().map_or("", String::as_str);
    let argv: Vec<&str> = process.command.iter().map(String::as_str).collect();
    let signal = crate::signals::find(&process.stop_signal).map_or(libc::SIGTERM, |signal| signal.as_raw());
    let grace_us = process.grace_ms.saturating_mul(1000);
    let mut all: Vec<(&str, Variant<'_>)> = vec![
        ("Description", format!("{program}, started by Hostler").into()),
        ("ExecStart", Variant::from(vec![(program, argv, false)])),
        ("Type", if process.ready_notify { "notify" } else { "exec" }.into()),
        ("Restart", "no".into()),
        ("KillMode", "mixed".into()),
        ("KillSignal", signal.into()),
        ("SendSIGKILL", true.into()),
        ("TimeoutStopUSec", grace_us.into()),
        ("TimeoutStartUSec", START_TIMEOUT_US.into()),
        ("User", user.into()),
        ("StandardInput", "null".into()),
        // Opened here, where no symlink is followed.
        ("StandardOutputFileDescriptor", Fd::from(output).into()),
        ("StandardErrorFileDescriptor", Fd::from(output).into()),
        // How it ended stays readable, also when it ended well.
        ("RemainAfterExit", true.into()),
        ("OOMPolicy", "kill".into()),
        ("MemoryAccounting", true.into()),
        ("Slice", "hostler.slice".into()),
    ];
    if process.ready_notify {
        all.push(("NotifyAccess", "all".into()));
    }
    if let Some(folder) = &process.folder {
        all.push(("WorkingDirectory", folder.as_str().into()));
    }
    if let Some(file) = environment {
        // What is in a unit's Environment= anybody may read; a file's is its owner's.
        all.push(("EnvironmentFiles", Variant::from(vec![(file.to_string_lossy().into_owned(), false)])));
    }
    let limits = &process.limits;
    if let Some(files) = limits.files {
        all.push(("LimitNOFILE", files.into()));
        all.push(("LimitNOFILESoft", files.into()));
    }
    if let Some(bytes) = limits.memory_bytes {
        all.push(("MemoryMax", bytes.into()));
        // The limit is meant: what swaps is no longer what was asked for.
        all.push(("MemorySwapMax", 0u64.into()));
    }
    if let Some(cpu) = limits.cpu {
        all.push(("CPUQuotaPerSecUSec", ((cpu * 1e6) as u64).into()));
    }
    if let Some(processes) = limits.processes {
        all.push(("TasksMax", processes.into()));
    }
    all
}
