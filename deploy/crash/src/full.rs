//! A disk that fills up while writers run, and is given room again: writes may
//! wait or be refused meanwhile, reads may not, and nothing acknowledged is lost.

use crate::child::{Said, Worker, check};
use crate::disk::Disk;
use crate::history::History;
use crate::model::Random;
use crate::rounds::{Place, Plan, write};
use crate::tally::{Outcome, Tally};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

const DISK_MIB: std::ops::RangeInclusive<u64> = 32..=64;
const ACKS_BEFORE: u64 = 200;
const ACKS_AFTER: u64 = 200;
/// Space set aside earlier is used up within it.
const FULL_WITHIN: Duration = Duration::from_secs(60);
/// No acknowledgement for so long: the disk is full for the store as well.
const QUIET: Duration = Duration::from_millis(500);
const FULL_FOR: Duration = Duration::from_secs(1);
const BACK_WITHIN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);

pub fn run(plan: &Plan) -> Tally {
    let mut tally = Tally::default();
    for round in 0..plan.rounds {
        tally.rounds += 1;
        let mut random = Random::of(plan.seed, &[round]);
        let disk = Disk::new(u32::try_from(random.within(DISK_MIB)).unwrap_or(64));
        let filler = disk.path().join("filler");
        let place = Place::Disk(disk);
        let outcome = one(plan, &mut tally, &place, &filler, random.draw());
        plan.report(round, &outcome, place);
    }
    tally
}

fn one(plan: &Plan, tally: &mut Tally, place: &Place, filler: &Path, seed: u64) -> Outcome {
    let mut worker = Worker::start(&place.store(), seed, &plan.fails, true);
    let mut reads = Reads::default();
    let wrote = story(&mut worker, filler, &mut reads);
    worker.kill();
    let past = worker.end();
    tally.acked += past.acks.len();
    tally.refused += reads.refused;
    tally.notes.push(format!("{:<18}{:>10}", "reads while full", reads.good));
    // Gone already, unless something went wrong; what was acknowledged is there
    // in either case.
    let _ = std::fs::remove_file(filler);
    let found = tally.judge(check(&place.store()), |state| History::new(seed).check(&past.acks, state));
    match wrote {
        Ok(back) => tally.notes.push(format!("{:<18}{:>10}", "ms to write again", back.as_millis())),
        Err(text) => return tally.died(format!("{text}: {} {}; afterwards: {found:?}", past.status, past.text)),
    }
    found
}

#[derive(Default)]
struct Reads {
    good: usize,
    refused: usize,
}

/// Returns how long the store took to write again.
fn story(worker: &mut Worker, filler: &Path, reads: &mut Reads) -> Result<Duration, String> {
    write(worker, ACKS_BEFORE)?;
    let mut file = File::create(filler).map_err(|error| format!("make the filler: {error}"))?;
    let started = Instant::now();
    let mut acked = Instant::now();
    while acked.elapsed() < QUIET {
        fill(&mut file, filler);
        if listen(worker, reads)? {
            acked = Instant::now();
        }
        if started.elapsed() > FULL_WITHIN {
            return Err(format!("the store wrote on for {FULL_WITHIN:?} on a full disk"));
        }
    }
    let full = Instant::now();
    reads.good = 0;
    while full.elapsed() < FULL_FOR {
        listen(worker, reads)?;
    }
    if reads.good == 0 {
        return Err("nothing could be read while the disk was full".into());
    }
    let read = reads.good;
    drop(file);
    std::fs::remove_file(filler).map_err(|error| format!("remove the filler: {error}"))?;
    let freed = Instant::now();
    while !listen(worker, reads)? {
        if freed.elapsed() > BACK_WITHIN {
            return Err(format!("no write succeeded within {BACK_WITHIN:?} of there being room again"));
        }
    }
    let back = freed.elapsed();
    write(worker, ACKS_AFTER)?;
    reads.good = read;
    Ok(back)
}

/// Hears one thing at most; says whether it was an acknowledgement.
fn listen(worker: &mut Worker, reads: &mut Reads) -> Result<bool, String> {
    match worker.next(LOOK) {
        Err(_) => return Err("the worker ended on a full disk".into()),
        Ok(Some(Said::Stopped)) => return Err("the store stopped on a full disk".into()),
        Ok(Some(Said::ReadFailed(text))) => return Err(format!("a read failed on a full disk: {text}")),
        Ok(Some(Said::ReadOk)) => reads.good += 1,
        Ok(Some(Said::Refused(_))) => reads.refused += 1,
        Ok(Some(Said::Ack(_))) => return Ok(true),
        Ok(Some(Said::Open) | None) => {}
    }
    Ok(false)
}

/// Takes whatever room there is, to the last block.
fn fill(file: &mut File, path: &Path) {
    let Ok(stat) = statvfs(path) else { return };
    let mut size = stat.f_bfree * stat.f_frsize;
    while size >= stat.f_frsize {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        if fallocate(&*file, FallocateFlags::empty(), length, size).is_err() {
            size /= 2;
        }
        let free = statvfs(path).map_or(0, |stat| stat.f_bfree * stat.f_frsize);
        size = size.min(free);
    }
}
