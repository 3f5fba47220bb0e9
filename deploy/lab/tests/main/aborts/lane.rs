//! One run after the other, each of them aborted; and what is wrong with what came of it.

use super::{Dice, NODES, Seen, Told};
use hostler_lab::ControlPlane;
use hostler_lab::played::operators;
use hostler_proto::admin as wire;
use hostler_proto::admin::admin_client::AdminClient;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::Code;
use tonic::transport::Channel;

/// Nothing new starts later than this after the answer.
const STILL: Duration = Duration::from_millis(200);
/// Of a run's nodes, so many at once.
const MAX: &str = "4";
const MOMENT_US_MAX: u64 = 8_000;

#[derive(Clone, Copy, Debug)]
pub enum What {
    Command,
    Service,
}

pub struct Lane {
    admin: AdminClient<Channel>,
    what: What,
    seen: Arc<Seen>,
    dice: Dice,
}

/// What was seen, over all of them.
#[derive(Default)]
pub struct Story {
    pub aborts: usize,
    pub wrong: Vec<String>,
    pub cancelled: usize,
    /// Told to end, and ended well all the same.
    pub finished: usize,
    pub skipped: usize,
    /// Offers that came after the answer: those that were on their way.
    after: usize,
    latest: Duration,
    slowest: Duration,
}

impl Story {
    pub fn add(&mut self, other: Self) {
        self.aborts += other.aborts;
        self.wrong.extend(other.wrong);
        self.cancelled += other.cancelled;
        self.finished += other.finished;
        self.skipped += other.skipped;
        self.after += other.after;
        self.latest = self.latest.max(other.latest);
        self.slowest = self.slowest.max(other.slowest);
    }

    fn take(&mut self, run: &Aborted) {
        self.aborts += 1;
        self.wrong.extend(run.wrong());
        for told in run.told.values() {
            let end = told.end.as_ref().map(|end| end.state.as_str());
            self.cancelled += usize::from(end == Some("cancelled"));
            self.finished += usize::from(end == Some("succeeded") && told.cancelled);
            if let Some(late) = told.offered.and_then(|at| at.checked_duration_since(run.answered)) {
                self.after += 1;
                self.latest = self.latest.max(late);
            }
        }
        self.skipped += run.tasks.values().filter(|state| *state == "skipped").count();
        self.slowest = self.slowest.max(run.answered - run.asked);
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} aborts, answered within {:?}; after the answer {} offers came, the latest {:?} after it; \
             {} tasks were cancelled, {} went on to their end, {} were left out",
            self.aborts, self.slowest, self.after, self.latest, self.cancelled, self.finished, self.skipped
        )
    }
}

/// One aborted run, when another has gone over all its nodes: nothing of it is on its way.
pub struct Aborted {
    number: u64,
    state: String,
    counts: BTreeMap<String, u32>,
    /// How each node's task ended, as the run has it.
    tasks: BTreeMap<String, String>,
    told: BTreeMap<String, Told>,
    asked: Instant,
    answered: Instant,
}

impl Aborted {
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut say = |text: String| wrong.push(format!("run {}: {text}", self.number));
        if self.state != "aborted" {
            say(format!("it is {}", self.state));
        }
        let mut counts = BTreeMap::new();
        for (node, state) in &self.tasks {
            *counts.entry(state.clone()).or_insert(0) += 1;
            let told = self.told.get(node).cloned().unwrap_or_default();
            let late = told.offered.and_then(|at| at.checked_duration_since(self.answered));
            if late.is_some_and(|late| late > STILL) {
                say(format!("{node} was offered its task {late:?} after the answer"));
            }
            let own = told.end.map_or_else(|| "skipped".to_owned(), |end| end.state);
            if *state != own {
                say(format!("{node} says {own}, and the run {state}"));
            }
            if told.offered.is_some() && told.finishes && own != "succeeded" {
                say(format!("{node} was at a service, and broke it off: {own}"));
            }
        }
        if self.tasks.len() != NODES || counts != self.counts {
            say(format!("its tally is {:?}, and its tasks are {counts:?}", self.counts));
        }
        wrong
    }
}

impl Lane {
    pub async fn open(control_plane: &ControlPlane, what: What, seen: Arc<Seen>, dice: Dice) -> Self {
        let admin = AdminClient::new(operators(&control_plane.contexts()).await.unwrap());
        Self { admin, what, seen, dice }
    }

    /// So many times; a run that was over before it could be aborted does not count.
    pub async fn abort(mut self, count: usize) -> Story {
        let mut story = Story::default();
        while story.aborts < count {
            if let Some(run) = self.one().await {
                story.take(&run);
            }
        }
        story
    }

    async fn one(&mut self) -> Option<Aborted> {
        let number = self.begin(MAX).await;
        let (begun, moment) = (self.dice.below(NODES as u64), self.dice.below(MOMENT_US_MAX));
        self.seen.begun(number, usize::try_from(begun).unwrap()).await;
        tokio::time::sleep(Duration::from_micros(moment)).await;
        let asked = Instant::now();
        let request = wire::ControlRunRequest { number, verb: "abort".into(), reason: "a test".into() };
        let answer = self.admin.control_run(request).await;
        let answered = Instant::now();
        if answer.as_ref().is_err_and(|status| status.code() == Code::FailedPrecondition) {
            return None;
        }
        answer.unwrap();
        let (run, tasks) = self.over(number).await;
        // Offers of this one come before those of the next, on each stream.
        let next = self.begin("100%").await;
        let (all, _) = self.over(next).await;
        assert_eq!((all.state.as_str(), all.tasks["succeeded"]), ("succeeded", NODES as u32), "{all:?}");
        let told = self.seen.of(number);
        Some(Aborted {
            number,
            state: run.state,
            counts: run.tasks.into_iter().collect(),
            tasks,
            told,
            asked,
            answered,
        })
    }

    async fn begin(&mut self, max: &str) -> u64 {
        let mut request = wire::StartRunRequest { max: max.to_owned(), ..wire::StartRunRequest::default() };
        match self.what {
            What::Command => request.command = vec!["true".to_owned()],
            What::Service => (request.verb, request.services) = ("restart".to_owned(), vec!["hello".to_owned()]),
        }
        self.admin.start_run(request).await.unwrap().into_inner().run.unwrap().number
    }

    async fn over(&mut self, number: u64) -> (wire::Run, BTreeMap<String, String>) {
        let mut followed = self.admin.watch_run(wire::GetRunRequest { number }).await.unwrap().into_inner();
        while followed.message().await.unwrap().is_some() {}
        let got = self.admin.get_run(wire::GetRunRequest { number }).await.unwrap().into_inner();
        let tasks = got.tasks.into_iter().map(|task| (task.node, task.state)).collect();
        (got.run.unwrap(), tasks)
    }
}

#[test]
fn what_is_wrong_is_seen() {
    let answered = Instant::now();
    let told = |state: &str, after_ms: u64| Told {
        offered: Some(answered + Duration::from_millis(after_ms)),
        end: Some(hostler_lab::played::report("x", state, "")),
        ..Told::default()
    };
    let mut run = Aborted {
        number: 7,
        state: "aborted".into(),
        counts: [("cancelled".to_owned(), 1), ("skipped".to_owned(), 19)].into(),
        tasks: (0..NODES).map(|number| (format!("n{number:02}"), "skipped".to_owned())).collect(),
        told: [("n00".to_owned(), told("cancelled", 199))].into(),
        asked: answered,
        answered,
    };
    run.tasks.insert("n00".into(), "cancelled".into());
    assert_eq!(run.wrong(), Vec::<String>::new());
    let planted = |change: &dyn Fn(&mut Aborted), words: &str| {
        let mut bad = Aborted {
            state: run.state.clone(),
            counts: run.counts.clone(),
            tasks: run.tasks.clone(),
            told: run.told.clone(),
            ..run
        };
        change(&mut bad);
        assert!(bad.wrong().iter().any(|text| text.contains(words)), "{words}: {:?}", bad.wrong());
    };
    planted(&|run| run.state = "succeeded".into(), "it is succeeded");
    planted(&|run| drop(run.told.insert("n00".into(), told("cancelled", 201))), "after the answer");
    planted(
        &|run| drop(run.told.insert("n01".into(), told("succeeded", 0))),
        "n01 says succeeded, and the run skipped",
    );
    planted(&|run| drop(run.tasks.remove("n02")), "its tally is");
    planted(&|run| run.told.get_mut("n00").unwrap().finishes = true, "broke it off");
}
