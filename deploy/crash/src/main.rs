//! `hostler-crash`: breaks the state store, round after round, and tells what it
//! kept. Its own children are the subcommands `worker` and `check`.
#![allow(clippy::expect_used, reason = "a test's harness fails its test")]

use clap::{Parser, Subcommand};
use hostler_crash::rounds::{self, Cut, Plan};
use hostler_crash::tally::Tally;
use hostler_crash::{corrupt, full, points, store, worker};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "hostler-crash", about = "Break the state store, and look at what it kept")]
struct Arguments {
    #[command(subcommand)]
    child: Option<Child>,
    /// Kill the process
    #[arg(long, group = "mode")]
    kill: bool,
    /// Cut the power of its disk (needs root)
    #[arg(long, group = "mode")]
    power: bool,
    /// Damage one file of a closed store
    #[arg(long, group = "mode")]
    corrupt: bool,
    /// Fill its disk, and give room again (needs root)
    #[arg(long, group = "mode")]
    full: bool,
    /// Fail at each of the store's failpoints
    #[arg(long, group = "mode")]
    points: bool,
    /// Plant a bug, which must be found: sync-skipped, ack-before-sync or torn
    #[arg(long, group = "mode", value_parser = plant)]
    plant: Option<Plant>,
    /// How many rounds; by default what a mode does in some minutes
    #[arg(long)]
    rounds: Option<u64>,
    /// What all chance follows from; printed
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Subcommand)]
enum Child {
    /// Write to a store until killed (what the harness starts)
    #[command(hide = true)]
    Worker(worker::Options),
    /// Print all that a store holds (what the harness starts)
    #[command(hide = true)]
    Check { folder: PathBuf },
    /// Say what is wrong with a store (what the harness starts)
    #[command(hide = true)]
    Verify { folder: PathBuf },
}

/// A bug, how it is brought about, and what brings it to light.
#[derive(Clone, Copy)]
struct Plant {
    name: &'static str,
    fail: &'static str,
    cut: Cut,
}

const PLANTS: [Plant; 3] = [
    Plant { name: "sync-skipped", fail: "journal.sync=return(skip)", cut: Cut::Power },
    Plant { name: "ack-before-sync", fail: "journal.sync=return(late)", cut: Cut::Power },
    Plant { name: "torn", fail: "journal.write=return(half)", cut: Cut::Kill },
];

fn plant(name: &str) -> Result<Plant, String> {
    let names = PLANTS.map(|plant| plant.name).join(", ");
    PLANTS.into_iter().find(|plant| plant.name == name).ok_or_else(|| format!("none of {names}"))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match &arguments.child {
        Some(Child::Worker(options)) => worker::work(options),
        Some(Child::Check { folder }) => check(folder),
        Some(Child::Verify { folder }) => verify(folder),
        None => harness(&arguments),
    }
}

/// Ends without closing the store: the next to open it finds it as a crash right
/// after recovery would leave it.
fn check(folder: &Path) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match runtime.block_on(store::read_all(folder)) {
        Ok((_open, state)) => {
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            state.write(&mut out).expect("print the state");
            std::process::exit(0)
        }
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn verify(folder: &Path) -> ExitCode {
    let findings = match hostler_store::verify(folder) {
        Ok(findings) => findings,
        Err(error) => {
            println!("{}", store::words(&error));
            return ExitCode::FAILURE;
        }
    };
    let bad: Vec<_> = findings.iter().filter(|finding| !finding.is_good()).collect();
    for finding in &bad {
        println!("{}: {}", finding.what, finding.said);
    }
    if bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn harness(arguments: &Arguments) -> ExitCode {
    let seed = arguments.seed.unwrap_or_else(|| u64::from(any_seed()));
    println!("seed {seed}");
    let plan = |rounds: u64| Plan {
        rounds: arguments.rounds.unwrap_or(rounds),
        seed,
        fails: arguments.plant.iter().map(|plant| plant.fail.to_owned()).collect(),
        planted: arguments.plant.is_some(),
    };
    let tally = match arguments {
        Arguments { plant: Some(plant), .. } => rounds::run(&plan(10), plant.cut),
        Arguments { power: true, .. } => rounds::run(&plan(20), Cut::Power),
        Arguments { corrupt: true, .. } => corrupt::run(&plan(100)),
        Arguments { full: true, .. } => full::run(&plan(3)),
        Arguments { points: true, .. } => points::run(&plan(1)),
        _ => rounds::run(&plan(100), Cut::Kill),
    };
    println!("{tally}");
    verdict(arguments.plant, &tally)
}

fn verdict(plant: Option<Plant>, tally: &Tally) -> ExitCode {
    let passed = match plant {
        // Only what was lost counts: a store that dies of a bug has not hidden it.
        Some(plant) => {
            let found = tally.wrongs.any();
            println!("{} was {}", plant.name, if found { "found, as it must be" } else { "NOT found" });
            found
        }
        None => tally.clean(),
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Any number will do: it is printed.
fn any_seed() -> u32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |now| now.subsec_nanos()) ^ std::process::id()
}
