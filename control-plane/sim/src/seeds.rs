//! Worlds by the thousand.

use super::Sabotage;
use super::judge::Tally;
use super::world::World;
use hostler_types::TaskState;

/// Together the tests take less than a minute on two cores.
const SEEDS: u64 = 1_000;
/// Tests that run side by side, each with its part of the seeds.
const PARTS: u64 = 4;
const LINES_TOLD: usize = 120;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// A core that panics is as wrong as one that does what must not be.
fn outcome(world: &mut World) -> Result<(), String> {
    let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.play()));
    played.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        Err(format!("it panics: {words}"))
    })
}

fn play(seed: u64, sabotage: Sabotage) -> Result<Tally, String> {
    let mut world = World::new(seed, sabotage, false);
    outcome(&mut world).map(|()| world.judge.tally)
}

/// The same world once more, told.
fn story(seed: u64, sabotage: Sabotage) -> Vec<String> {
    let mut world = World::new(seed, sabotage, true);
    let outcome = outcome(&mut world);
    let mut story: Vec<String> = world.story.into();
    story.push(format!("seed {seed}: {outcome:?}, {:?}", world.judge.tally));
    story
}

fn part(part: u64) {
    let (first, seeds) = (number("HOSTLER_FIRST_SEED").unwrap_or(0), number("HOSTLER_SEEDS").unwrap_or(SEEDS));
    let mut failed = Vec::new();
    for seed in (first..first + seeds).filter(|seed| seed % PARTS == part) {
        if let Err(what) = play(seed, Sabotage::None) {
            println!("seed {seed}: {what}");
            failed.push(seed);
            if failed.len() == 20 {
                break;
            }
        }
    }
    let Some(first) = failed.first() else { return };
    let story = story(*first, Sabotage::None);
    let last = story.len().saturating_sub(LINES_TOLD);
    println!("{}", story[last..].join("\n"));
    panic!("seeds {failed:?}; HOSTLER_SEED={first} tells the whole story");
}

#[test]
fn all_is_well_in_each_world_1() {
    part(0);
}

#[test]
fn all_is_well_in_each_world_2() {
    part(1);
}

#[test]
fn all_is_well_in_each_world_3() {
    part(2);
}

#[test]
fn all_is_well_in_each_world_4() {
    part(3);
}

#[test]
fn one_world() {
    let seed = number("HOSTLER_SEED");
    let story = story(seed.unwrap_or(1), Sabotage::None);
    if seed.is_some() {
        println!("{}", story.join("\n"));
    }
    assert_eq!(story, self::story(seed.unwrap_or(1), Sabotage::None), "the same number is the same world");
}

/// That a world is hostile is seen from what becomes of tasks there.
#[test]
fn worlds_are_as_hostile_as_they_say() {
    let mut sum = Tally::default();
    for seed in 0..100 {
        let Ok(tally) = play(seed, Sabotage::None) else { continue };
        for (state, count) in tally.runs {
            *sum.runs.entry(state).or_default() += count;
        }
        for (state, count) in tally.tasks {
            *sum.tasks.entry(state).or_default() += count;
        }
        (sum.effects, sum.terms, sum.held) =
            (sum.effects + tally.effects, sum.terms + tally.terms, sum.held + tally.held);
        (sum.stale, sum.fires, sum.alone) = (sum.stale + tally.stale, sum.fires + tally.fires, sum.alone + tally.alone);
    }
    println!("{sum:?}");
    // A brake that comes while an offer is on its way is seldom.
    let seldom = TaskState::Refused;
    for state in TaskState::ALL.iter().filter(|state| state.is_over() && **state != seldom) {
        assert!(sum.tasks.contains_key(state), "no task was {state}: {sum:?}");
    }
    assert!(
        sum.runs.len() == 3
            && sum.effects > 1_000
            && sum.terms > 100
            && sum.held > 100
            && sum.stale > 0
            && sum.fires > 0
            && sum.alone > 0,
        "{sum:?}"
    );
}

/// The first world in which it is seen, and what is seen there.
fn noticed(sabotage: Sabotage, words: &[&str]) {
    let found = (0..300).find_map(|seed| Some((seed, play(seed, sabotage).err()?)));
    let (seed, what) = found.unwrap_or_else(|| panic!("nobody notices {sabotage:?}"));
    println!("{sabotage:?} in world {seed}: {what}");
    if !words.iter().any(|words| what.contains(words)) {
        println!("{}", story(seed, sabotage).join("\n"));
        panic!("{sabotage:?} in world {seed}: {what}");
    }
}

#[test]
fn sending_before_keeping_is_noticed() {
    noticed(Sabotage::SendsFirst, &["for its control plane", "says that"]);
}

#[test]
fn not_looking_again_is_noticed() {
    noticed(Sabotage::NeverLooks, &["does not end"]);
}

#[test]
fn a_journal_that_is_lost_is_noticed() {
    noticed(Sabotage::LosesJournal, &["took effect twice", "and now as", "has not written", "and the host says"]);
}

#[test]
fn acting_before_writing_is_noticed() {
    noticed(Sabotage::ActsFirst, &["has not written"]);
}

#[test]
fn a_mark_that_is_lost_is_noticed() {
    noticed(Sabotage::LosesMark, &["decides twice"]);
}

#[test]
fn a_stale_control_plane_that_is_heard_is_noticed() {
    noticed(Sabotage::ForgetsStamp, &["does what"]);
}
