//! Whatever a plugin is made of, the host refuses it or runs it to an end in
//! time, and the next plugin finds the host as it was.
//!
//! Inputs are odd guests by hand, guests made up, and components changed byte by
//! byte; the same for the same seed. `HOSTLER_FUZZ_SECONDS` says for how long,
//! `HOSTLER_FUZZ_SEED` which input is the first: with 0 seconds, the only one. An
//! input is in `fuzz-current` of the target's tmp folder while it is tried, and
//! stays there if the process does not survive it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

mod caller;
mod corpus;
mod interface;
mod mutate;
mod random;
mod smith;
mod subject;

use interface::{WORLDS, World};
use random::Rng;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use subject::{Subject, Tally};

const SECONDS: &str = "HOSTLER_FUZZ_SECONDS";
const SECONDS_DEFAULT: u64 = 10;
const SEED: &str = "HOSTLER_FUZZ_SEED";
const SEED_DEFAULT: u64 = 1;

/// Compiling is most of an input's time, and has no limit of its own here.
const INPUT_LONGEST: Duration = Duration::from_secs(60);
const WELL_EVERY: u64 = 50;
const GROWTH_KIB_MAX: u64 = 300 * 1024;
/// From so many inputs on, it is said whether they try enough.
const TELLING: u64 = 300;

/// Of our own plugins: small ones, and one for each kind of asking.
const PLUGINS: [&str; 10] =
    ["fixtures/idle", "fixtures/hostile", "load", "file", "memory", "disk", "tcp", "http", "log", "process"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

/// Built by `cargo xtask plugins`.
fn plugin(name: &str) -> Vec<u8> {
    let path = root().join(format!("target/plugins/{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|_| panic!("there is no {}: cargo xtask plugins", path.display()))
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

fn temporary(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).canonicalize().expect("the target's tmp folder");
    folder.join(name)
}

/// Panics in any thread: those of a blocking task end nothing by themselves.
fn count_panics() -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let (counting, before) = (count.clone(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |info| {
        counting.fetch_add(1, Ordering::SeqCst);
        before(info);
    }));
    count
}

/// Ends the process over an input that does not end.
fn watch() -> Arc<Mutex<(Instant, String)>> {
    let current = Arc::new(Mutex::new((Instant::now(), String::new())));
    let watched = current.clone();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let (since, what) = watched.lock().unwrap().clone();
            if since.elapsed() > INPUT_LONGEST {
                eprintln!("fuzz failed: given up on {what} after {:?}", since.elapsed());
                std::process::exit(3);
            }
        }
    });
    current
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

struct Makers {
    worlds: Vec<World>,
    texts: caller::Texts,
    materials: Vec<Vec<u8>>,
}

const KINDS: [&str; 3] = ["smith", "caller", "mutated"];

impl Makers {
    /// One of [`KINDS`], and the component, unless none comes of it.
    fn make(&self, seed: u64) -> (usize, Result<Vec<u8>, String>) {
        let mut rng = Rng(seed);
        let kind = rng.below(KINDS.len());
        let world = &self.worlds[if rng.chance(60) { 0 } else { rng.below(self.worlds.len()) }];
        let component = match kind {
            0 => smith::core(world, &mut rng).and_then(|core| world.component(core)),
            1 => {
                let text = caller::core(world, &self.texts, &mut rng);
                let core = wat::parse_str(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
                world.component(core)
            }
            _ => Ok(mutate::mutated(&self.materials, &mut rng)),
        };
        (kind, component)
    }
}

#[test]
fn odd_guests_end_as_they_say() {
    let subject = Subject::new(&temporary("fuzz-odd"), &plugin("fixtures/idle"));
    let mut wrong = Vec::new();
    for odd in corpus::read(&World::read("check")) {
        let (ends, why) = match subject.ending(&odd.component) {
            Ok(run) => (subject::ending(&run).to_owned(), format!("{:?}", run.outcome)),
            Err(refusal) => refusal,
        };
        println!("{} ends as {ends}: {why}", odd.name);
        if ends != odd.ends {
            wrong.push(format!("{} ends as {ends}: {why}", odd.name));
        }
        subject.assert_well(&odd.name);
    }
    assert!(wrong.is_empty(), "these should end otherwise: {wrong:#?}");
}

#[test]
fn fuzzing_breaks_no_host() {
    let budget = Duration::from_secs(number(SECONDS, SECONDS_DEFAULT));
    let mut seed = number(SEED, SEED_DEFAULT);
    let folder = temporary("fuzz-machine");
    let kept = temporary("fuzz-current");
    std::fs::create_dir_all(&kept).expect("folder");

    let panics = count_panics();
    let current = watch();
    let subject = Subject::new(&folder, &plugin("fixtures/idle"));
    let worlds: Vec<World> = WORLDS.into_iter().map(World::read).collect();
    let odd = corpus::read(&worlds[0]);
    // A small one has as much in it that can be wrong.
    let mut materials: Vec<Vec<u8>> = odd.into_iter().map(|odd| odd.component).collect();
    let files = subject::files(&folder).display().to_string();
    materials.extend(PLUGINS.map(plugin));
    let makers = Makers { worlds, texts: caller::Texts::new(&files), materials };

    let mut tallies: [Tally; KINDS.len()] = Default::default();
    let (began, mut resident) = (Instant::now(), 0);
    for count in 1.. {
        let path = kept.join(format!("{seed}.wasm"));
        let what = format!("seed {seed} ({})", path.display());
        *current.lock().unwrap() = (Instant::now(), what.clone());
        let (kind, made) = makers.make(seed);
        let tally = &mut tallies[kind];
        match made {
            Ok(component) => {
                std::fs::write(&path, &component).expect("keep the input");
                subject.input(&component, &what, tally);
                assert_eq!(panics.load(Ordering::SeqCst), 0, "{what}: a thread panicked");
                std::fs::remove_file(&path).expect("forget the input");
            }
            Err(_) => {
                tally.inputs += 1;
                tally.ended("refused by the build");
            }
        }
        if count % WELL_EVERY == 0 {
            subject.assert_well(&what);
        }
        // The first ones fill what is filled once.
        if count == WELL_EVERY {
            resident = resident_kib();
        }
        if began.elapsed() >= budget {
            break;
        }
        seed += 1;
    }
    subject.assert_well("all");
    let grown = if resident == 0 { 0 } else { resident_kib().saturating_sub(resident) };
    report(&tallies, seed, began.elapsed(), grown);
    assert!(grown < GROWTH_KIB_MAX, "the host's memory has grown by {grown} KiB");
    if tallies.iter().map(|tally| tally.inputs).sum::<u64>() >= TELLING {
        assert_telling(&tallies);
    }
}

fn report(tallies: &[Tally; KINDS.len()], seed: u64, took: Duration, grown_kib: u64) {
    println!("fuzz done: up to seed {seed} in {took:?}, memory grown by {grown_kib} KiB");
    for (kind, tally) in KINDS.iter().zip(tallies) {
        let Tally { inputs, runs, calling_runs, host_calls, longest, .. } = tally;
        println!(
            "{kind}: {inputs} inputs, {runs} runs, {calling_runs} of them with {host_calls} host calls, the longest {longest:?}"
        );
        for (how, count) in &tally.endings {
            println!("  {count:7} {how}");
        }
        let mut said: Vec<_> = tally.said.iter().collect();
        said.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (said, count) in said.iter().take(16) {
            println!("      {count:7} {said}");
        }
    }
}

/// A fuzzer whose inputs are all refused finds nothing.
fn assert_telling(tallies: &[Tally; KINDS.len()]) {
    let [smith, caller, mutated] = tallies;
    for (made, percent) in [(smith, 50), (caller, 90), (mutated, 10)] {
        assert!(made.count("loaded") * 100 >= made.inputs * percent, "too few of {} inputs load", made.inputs);
    }
    assert!(caller.calling_runs * 3 >= caller.runs, "{} of {} runs call", caller.calling_runs, caller.runs);
    assert!(smith.host_calls > 0, "no call of the host");
    for how in ["Done", "Broke", "Trapped", "ConfigInvalid", "TimedOut"] {
        assert!(tallies.iter().any(|tally| tally.count(how) > 0), "none ended so: {how}");
    }
}
