//! How many processors are busy with processes, between two runs.

use hostler_plugin_sdk::{Error, Host, Process};
use std::collections::BTreeMap;

const KEY: &str = "cpu";

/// At most 20 bytes each, in a value of at most 16 KiB.
const KEPT_MAX: usize = 800;

struct Reading {
    at_ms: u64,
    /// Hundredths of a second, by process.
    used: BTreeMap<u32, u64>,
}

fn hundredths(process: &Process) -> u64 {
    (process.cpu_seconds * 100.0) as u64
}

fn read(bytes: &[u8]) -> Option<Reading> {
    let (at_ms, rest) = std::str::from_utf8(bytes).ok()?.split_once(';')?;
    let one = |text: &str| text.split_once(':').and_then(|(pid, used)| Some((pid.parse().ok()?, used.parse().ok()?)));
    Some(Reading { at_ms: at_ms.parse().ok()?, used: rest.split(',').filter_map(one).collect() })
}

fn write(at_ms: u64, found: &[Process]) -> String {
    let used = found.iter().take(KEPT_MAX).map(|one| format!("{}:{}", one.pid, hundredths(one)));
    format!("{at_ms};{}", used.collect::<Vec<_>>().join(","))
}

/// Absent at the first run. What ended in between is not known.
pub fn cores_busy(host: &impl Host, found: &[Process]) -> Result<Option<f64>, Error> {
    let at_ms = u64::try_from(host.wall().as_millis()).unwrap_or(u64::MAX);
    let last = host.kv_get(KEY)?.and_then(|bytes| read(&bytes));
    host.kv_set(KEY, write(at_ms, found).as_bytes(), None)?;
    let Some(last) = last.filter(|last| last.at_ms < at_ms) else { return Ok(None) };
    let used = |process: &Process| {
        let now = hundredths(process);
        match last.used.get(&process.pid) {
            // Less than before: another one by the same number.
            Some(before) => now.checked_sub(*before).unwrap_or(now),
            None if process.started.saturating_mul(1000) >= last.at_ms => now,
            None => 0,
        }
    };
    let sum: u64 = found.iter().map(used).sum();
    Ok(Some(sum as f64 * 10.0 / (at_ms - last.at_ms) as f64))
}
