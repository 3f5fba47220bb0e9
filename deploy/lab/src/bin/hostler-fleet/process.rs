//! What processes have cost so far, and what the disk can do.

use crate::say;
use hostler_lab::played::Failure;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// `USER_HZ`: the same on every Linux that we run on.
const TICKS_PER_SECOND: f64 = 100.0;
const SYNCS: usize = 200;
const BARE_BYTES: usize = 200;

/// User and system time of a process, `self` for this one.
pub fn cpu_seconds(pid: &str) -> Result<f64, Failure> {
    const USER: usize = 11;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The program's name may hold blanks: fields are counted from its closing bracket.
    let (_, fields) = stat.rsplit_once(')').ok_or("a stat without a name")?;
    let ticks: Vec<f64> = fields
        .split_whitespace()
        .skip(USER)
        .take(2)
        .map(str::parse)
        .collect::<Result<_, std::num::ParseFloatError>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
}

/// The middle, and that of which one in a hundred takes longer, in milliseconds.
pub fn spread(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort();
    let at = |share: usize| times.get(times.len() * share / 100).or(times.last()).copied().unwrap_or_default();
    (at(50).as_secs_f64() * 1e3, at(99).as_secs_f64() * 1e3)
}

/// One append and one sync, on the store's disk.
pub fn syncs(folder: &Path) -> Result<(), Failure> {
    let path = folder.join("syncs");
    let mut file = File::create(&path)?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let began = Instant::now();
        file.write_all(&[0; BARE_BYTES])?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    std::fs::remove_file(&path)?;
    let (middle, most) = spread(times);
    say("sync-p50-ms", middle);
    say("sync-p99-ms", most);
    Ok(())
}
