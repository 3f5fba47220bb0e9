//! Runs that are aborted at random moments, HOSTLER_ABORTS of them: from the answer on
//! nothing begins, what is under way ends as its kind does, and the fleet is as it was:
//! the same nodes do the next run whole.

mod lane;
mod real;

use crate::refusals::block_on;
use hostler_lab::ControlPlane;
use hostler_lab::played::{Failure, Link, Member, report};
use hostler_proto::agent as wire;
use hostler_proto::agent::{from_agent, to_agent};
use lane::{Lane, What};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

const NODES: usize = 20;
/// Each is aborted while the others go on, on the same nodes.
const LANES: usize = 5;
/// Services take turns on a node, so one lane has them.
const SPEC: &str = "
service: {hello: {where: role=web, command: bin/hello}}
budget: {web: {where: role=web, max_down: 5}}
";
const TASK_MS_MAX: u64 = 30;

fn aborts() -> usize {
    std::env::var("HOSTLER_ABORTS").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

/// Random enough, and the same again from the same seed.
struct Dice(u64);

impl Dice {
    fn thrown() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = std::env::var("HOSTLER_ABORTS_SEED").ok().and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or(since.as_secs());
        println!("HOSTLER_ABORTS_SEED={seed}");
        Self(seed)
    }

    /// Below so many.
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }

    fn split(&mut self) -> Self {
        Self(self.below(u64::MAX))
    }
}

/// What came to the nodes and what became of it, by the run and the node's name.
#[derive(Default)]
struct Seen {
    told: Mutex<BTreeMap<(u64, String), Told>>,
    /// Counts what came.
    changed: watch::Sender<usize>,
}

#[derive(Clone, Default)]
struct Told {
    offered: Option<Instant>,
    cancelled: bool,
    /// How it ended, by its node's own word.
    end: Option<wire::TaskReport>,
    finishes: bool,
}

impl Seen {
    fn told(&self) -> MutexGuard<'_, BTreeMap<(u64, String), Told>> {
        self.told.lock().unwrap()
    }

    fn of(&self, run: u64) -> BTreeMap<String, Told> {
        let told = self.told();
        let own = told.range((run, String::new())..(run + 1, String::new()));
        own.map(|((_, node), told)| (node.clone(), told.clone())).collect()
    }

    /// Until so many of a run's nodes have begun, or it is over.
    async fn begun(&self, run: u64, count: usize) {
        let mut changed = self.changed.subscribe();
        let begun = |_: &usize| {
            let all = self.of(run);
            let over = all.values().filter(|told| told.end.is_some()).count();
            over == NODES || all.values().filter(|told| told.offered.is_some()).count() >= count
        };
        changed.wait_for(begun).await.unwrap();
    }
}

struct Player {
    link: Link,
    name: String,
    seen: Arc<Seen>,
    dice: Dice,
    due: BTreeMap<(Instant, String), ()>,
}

impl Player {
    /// Until the control plane goes.
    async fn play(member: Member, seen: Arc<Seen>, dice: Dice, ready: mpsc::Sender<()>) -> Result<(), Failure> {
        let link = Link::open(&member).await?;
        ready.send(()).await?;
        let mut player = Self { link, name: member.name, seen, dice, due: BTreeMap::new() };
        let mut beat = tokio::time::interval(Duration::from_secs(2));
        loop {
            let next = player.due.keys().next().cloned();
            let wait = next.as_ref().map_or(Duration::from_secs(9), |(at, _)| at.duration_since(Instant::now()));
            tokio::select! {
                _ = beat.tick() => player.link.beat().await?,
                () = tokio::time::sleep(wait) => if let Some(key) = next {
                    player.due.remove(&key);
                    player.end(&key.1, "succeeded", "").await?;
                },
                word = player.link.next() => match word? {
                    None => return Ok(()),
                    Some(to_agent::Message::TaskOffer(offer)) => player.offered(offer).await?,
                    Some(to_agent::Message::TaskCancel(cancel)) => player.cancelled(cancel).await?,
                    Some(_) => {}
                },
            }
        }
    }

    /// Changes what is known of a task here, and returns what was.
    fn note(&self, task: &str, change: impl FnOnce(&mut Told)) -> Told {
        let mut told = self.seen.told();
        let one = told.entry((run_of(task), self.name.clone())).or_default();
        let before = one.clone();
        change(one);
        drop(told);
        self.seen.changed.send_modify(|count| *count += 1);
        before
    }

    async fn offered(&mut self, offer: wire::TaskOffer) -> Result<(), Failure> {
        let now = Instant::now();
        let finishes =
            matches!(offer.steps.first().and_then(|step| step.does.as_ref()), Some(wire::task_step::Does::Service(_)));
        let before = self.note(&offer.id, |told| {
            told.offered.get_or_insert(now);
            told.finishes = finishes;
        });
        match before {
            Told { end: Some(_), .. } => self.end(&offer.id, "", "").await,
            Told { offered: Some(_), .. } => Ok(()),
            Told { .. } => {
                self.link.say(from_agent::Message::Task(report(&offer.id, "running", ""))).await?;
                let takes = Duration::from_millis(self.dice.below(TASK_MS_MAX));
                self.due.insert((now + takes, offer.id), ());
                Ok(())
            }
        }
    }

    /// As an agent does it: a service's act is not broken off, and a program is.
    async fn cancelled(&mut self, cancel: wire::TaskCancel) -> Result<(), Failure> {
        let before = self.note(&cancel.id, |told| told.cancelled = true);
        if before.finishes && before.end.is_none() {
            return Ok(());
        }
        self.due.retain(|(_, id), ()| *id != cancel.id);
        self.end(&cancel.id, "cancelled", &cancel.words).await
    }

    /// One that is over is told as it ended.
    async fn end(&mut self, task: &str, state: &str, words: &str) -> Result<(), Failure> {
        let now = report(task, state, words);
        let before = self.note(task, |told| {
            told.end.get_or_insert_with(|| now.clone());
        });
        self.link.end(before.end.unwrap_or(now)).await?;
        Ok(())
    }
}

/// Tasks of runs are named by their store's history, and then their run.
fn run_of(task: &str) -> u64 {
    task.rsplit('-').next().and_then(|number| number.parse().ok()).expect(task)
}

async fn join_all(control_plane: &ControlPlane, seen: &Arc<Seen>, dice: &mut Dice) -> JoinSet<Result<(), Failure>> {
    let code = control_plane.join_code(&["--uses", &NODES.to_string(), "--label", "role=web"]);
    let (ready, mut there) = mpsc::channel(NODES);
    let mut players = JoinSet::new();
    for number in 0..NODES {
        let member = Member::join(&code, &format!("n{number:02}")).await.unwrap();
        players.spawn(Player::play(member, Arc::clone(seen), dice.split(), ready.clone()));
    }
    for _ in 0..NODES {
        there.recv().await.unwrap();
    }
    players
}

#[test]
fn after_an_abort_nothing_begins_and_the_fleet_converges() {
    let control_plane = ControlPlane::started();
    control_plane.apply(SPEC);
    let (seen, mut dice, count) = (Arc::new(Seen::default()), Dice::thrown(), aborts());
    let story = block_on(async {
        let mut players = join_all(&control_plane, &seen, &mut dice).await;
        let mut lanes = JoinSet::new();
        for number in 0..LANES {
            let what = if number == 0 { What::Service } else { What::Command };
            let share = (number..count).step_by(LANES).count();
            let lane = Lane::open(&control_plane, what, Arc::clone(&seen), dice.split()).await;
            lanes.spawn(lane.abort(share));
        }
        let mut story = lane::Story::default();
        while let Some(lane) = lanes.join_next().await {
            story.add(lane.unwrap());
        }
        // None of them has fallen out meanwhile.
        assert!(players.try_join_next().is_none());
        story
    });
    println!("{story}");
    assert_eq!((story.aborts, &story.wrong), (count, &Vec::new()));
    // It is no abort of runs that had not begun, or were over.
    assert!(story.cancelled > 0 && story.finished > 0 && story.skipped > 0, "{story}");
}
