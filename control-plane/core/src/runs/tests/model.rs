//! Runs against a fleet that does what it likes: offers and words are lost or come
//! twice, hosts go and come back, operators interfere, the control plane itself dies.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const NODES: u8 = 6;
/// Of the first four nodes, and of the last four.
const BUDGETS: [(usize, [u8; 4]); 2] = [(1, [1, 2, 3, 4]), (2, [3, 4, 5, 6])];

#[derive(Clone, Debug)]
enum Deed {
    Pass(u16),
    Begin {
        max: u8,
        max_errors: u8,
        canary: u8,
        disturbs: bool,
        nodes: u8,
    },
    /// A host ends the oldest of its tasks in that way.
    End(u8, TaskState),
    /// What was sent to it last is lost, or comes.
    Hear(u8, bool),
    Away(u8),
    Back(u8),
    Sick(u8, bool),
    Freeze(u8, bool),
    Control(u64, Verb),
    /// The control plane begins anew from what it kept.
    Dies,
}

fn deed() -> impl Strategy<Value = Deed> {
    let node = 1..=NODES;
    let end = proptest::sample::select(vec![
        TaskState::Succeeded,
        TaskState::Succeeded,
        TaskState::Failed,
        TaskState::TimedOut,
        TaskState::Refused,
    ]);
    let verb = proptest::sample::select(vec![Verb::Pause, Verb::Resume, Verb::Abort]);
    let nodes = 1u8..64;
    prop_oneof![
        4 => (1u16..30_000).prop_map(Deed::Pass),
        3 => (1u8..4, 0u8..3, 0u8..3, any::<bool>(), nodes)
            .prop_map(|(max, max_errors, canary, disturbs, nodes)| Deed::Begin { max, max_errors, canary, disturbs, nodes }),
        8 => (node.clone(), end).prop_map(|(node, state)| Deed::End(node, state)),
        8 => (node.clone(), prop_oneof![1 => Just(false), 4 => Just(true)]).prop_map(|(node, comes)| Deed::Hear(node, comes)),
        1 => node.clone().prop_map(Deed::Away),
        2 => node.clone().prop_map(Deed::Back),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, on)| Deed::Sick(node, on)),
        1 => (node, any::<bool>()).prop_map(|(node, on)| Deed::Freeze(node, on)),
        1 => (1u64..6, verb).prop_map(|(number, verb)| Deed::Control(number, verb)),
        1 => Just(Deed::Dies),
    ]
}

#[derive(Default)]
struct Host {
    /// On their way to it: until when it is to be begun, or that it is to end.
    inbox: Vec<(u64, Option<Timestamp>)>,
    /// What it does now and since when, and how all that it ever had ended.
    doing: Vec<(u64, Duration)>,
    ended: BTreeMap<u64, TaskState>,
}

struct World {
    bench: Bench,
    hosts: BTreeMap<u8, Host>,
    kept: BTreeMap<u64, Run>,
    begun: u64,
    /// First offers of a run, by which nothing may follow what stopped it.
    offered: BTreeSet<(u64, u8)>,
    aborted: BTreeSet<u64>,
    disturbing: BTreeSet<u64>,
    done: BTreeSet<u64>,
}

impl World {
    fn new() -> Self {
        let mut bench = Bench::new(NODES);
        bench.fleet.budgets = BUDGETS.iter().map(|(max_down, nodes)| budget(*max_down, *nodes)).collect();
        let hosts = (1..=NODES).map(|number| (number, Host::default())).collect();
        Self {
            bench,
            hosts,
            kept: BTreeMap::new(),
            begun: 0,
            offered: BTreeSet::new(),
            aborted: BTreeSet::new(),
            disturbing: BTreeSet::new(),
            done: BTreeSet::new(),
        }
    }

    fn host(&mut self, number: u8) -> &mut Host {
        self.hosts.get_mut(&number).expect("a host")
    }

    fn number(node: &NodeId) -> u8 {
        (1..=NODES).find(|number| id(*number) == *node).expect("a host")
    }

    /// What is really so: a disturbing task is on a host until that ends it.
    fn disturbed(&self, number: u8) -> bool {
        let disturbs = |(run, _): &(u64, Duration)| self.disturbing.contains(run);
        let host = self.hosts.get(&number).expect("a host");
        host.doing.iter().any(disturbs) || self.bench.fleet.down.contains_key(&id(number))
    }

    fn step(&mut self, input: Input) {
        self.steps(vec![input]);
    }

    fn steps(&mut self, inputs: Vec<Input>) {
        let effects = self.bench.runs.step(self.bench.now, &self.bench.fleet, inputs);
        for effect in effects {
            match effect {
                Effect::Offer { number, node, begin_by } => self.offer(number, Self::number(&node), begin_by),
                Effect::Cancel { node, task, .. } => {
                    let number = task.as_str().rsplit('-').next().and_then(|text| text.parse().ok()).expect("a run's");
                    self.host(Self::number(&node)).inbox.push((number, None));
                }
                Effect::SaveRun { number } | Effect::SaveTask { number, .. } => {
                    if let Some(run) = self.bench.runs.get(number) {
                        self.kept.insert(number, run.clone());
                    }
                }
                Effect::Over { number } => {
                    self.done.insert(number);
                    self.bench.runs.forget(number);
                }
                Effect::Note { .. } => {}
            }
        }
        for run in self.bench.runs.iter() {
            let out = run.count(TaskState::is_out);
            assert!(out <= run.order.max, "{out} at once in {}", run.order.title);
        }
    }

    fn offer(&mut self, number: u64, node: u8, begin_by: Timestamp) {
        let run = self.bench.runs.get(number).or_else(|| self.kept.get(&number)).expect("known").clone();
        self.kept.insert(number, run.clone());
        assert_eq!(self.bench.fleet.links.get(&id(node)), Some(&Link::Ready), "an offer to nobody");
        assert!(!self.aborted.contains(&number), "an offer of what was aborted");
        if self.offered.insert((number, node)) {
            assert!(run.count(TaskState::is_error) <= run.order.max_errors, "begun after too many errors");
            assert!(!self.bench.fleet.brakes.contains_key(&id(node)), "begun while it is frozen");
            if run.order.disturbs && !self.disturbed(node) {
                for (max_down, nodes) in BUDGETS.iter().filter(|(_, nodes)| nodes.contains(&node)) {
                    let down = nodes.iter().filter(|one| self.disturbed(**one)).count();
                    assert!(down < *max_down, "{down} of {max_down} are down, and web{node} is next");
                }
            }
        }
        self.host(node).inbox.push((number, Some(begin_by)));
    }

    fn report(&mut self, node: u8, number: u64, state: TaskState) {
        if self.bench.fleet.links.get(&id(node)) == Some(&Link::Ready) {
            let report = TaskReport::new(TaskId::of_run(1, number), state, self.bench.now.wall, "");
            self.step(Input::Report { node: id(node), report });
        }
    }

    fn hear(&mut self, node: u8, comes: bool) {
        let now = self.bench.now;
        let Some((number, begin_by)) = self.host(node).inbox.pop().filter(|_| comes) else { return };
        let host = self.host(node);
        if let Some(state) = host.ended.get(&number).copied() {
            return self.report(node, number, state);
        }
        let Some(begin_by) = begin_by else {
            host.doing.retain(|(one, _)| *one != number);
            host.ended.insert(number, TaskState::Cancelled);
            return self.report(node, number, TaskState::Cancelled);
        };
        if !host.doing.iter().any(|(one, _)| *one == number) {
            if now.wall > begin_by {
                host.ended.insert(number, TaskState::Undelivered);
                return self.report(node, number, TaskState::Undelivered);
            }
            host.doing.push((number, now.monotonic));
        }
        self.report(node, number, TaskState::Running);
    }

    fn end(&mut self, node: u8, state: TaskState) {
        let host = self.host(node);
        if host.doing.is_empty() {
            return;
        }
        let (number, _) = host.doing.remove(0);
        host.ended.insert(number, state);
        self.report(node, number, state);
    }

    fn connect(&mut self, node: u8) {
        self.bench.fleet.links.insert(id(node), Link::Ready);
        self.step(Input::Connected { node: id(node) });
        // The ends of tasks are in its spool, and come when it is back.
        for (number, state) in self.host(node).ended.clone() {
            self.report(node, number, state);
        }
    }

    fn play(&mut self, deed: &Deed) {
        match deed {
            Deed::Pass(ms) => self.pass(Duration::from_millis(u64::from(*ms))),
            Deed::Begin { max, max_errors, canary, disturbs, nodes } if self.begun < 5 => {
                self.begun += 1;
                let order = Order {
                    max: usize::from(*max),
                    max_errors: usize::from(*max_errors),
                    canary: usize::from(*canary),
                    disturbs: *disturbs,
                    at: self.bench.now.wall,
                    ..order(self.begun)
                };
                let chosen = (1..=NODES).filter(|node| nodes & (1 << (node - 1)) != 0);
                if *disturbs {
                    self.disturbing.insert(self.begun);
                }
                self.step(Input::Begin(Box::new(run(order, chosen))));
            }
            Deed::Begin { .. } => {}
            Deed::End(node, state) => self.end(*node, *state),
            Deed::Hear(node, comes) => self.hear(*node, *comes),
            Deed::Away(node) => {
                self.bench.fleet.links.insert(id(*node), Link::Away);
                self.host(*node).inbox.clear();
                self.step(Input::Tick);
            }
            Deed::Back(node) => self.connect(*node),
            Deed::Sick(node, true) => drop(self.bench.fleet.down.insert(id(*node), "fails".into())),
            Deed::Sick(node, false) => drop(self.bench.fleet.down.remove(&id(*node))),
            Deed::Freeze(node, true) => {
                let held = Held { words: "frozen".into(), origin: String::new() };
                self.bench.fleet.brakes.insert(id(*node), held);
            }
            Deed::Freeze(node, false) => drop(self.bench.fleet.brakes.remove(&id(*node))),
            Deed::Control(number, verb) => {
                if *verb == Verb::Abort && self.bench.runs.get(*number).is_some_and(|run| !run.state.is_over()) {
                    self.aborted.insert(*number);
                }
                self.step(Input::Control { number: *number, verb: *verb, words: "by ada".into() });
            }
            Deed::Dies => self.die(),
        }
    }

    /// In memory are what is out and its running: what was kept is what was saved.
    fn die(&mut self) {
        self.bench.runs = Runs::default();
        let restored = |run: Run| {
            let (state, words, notes) = (run.state, run.words.clone(), run.notes);
            let mut tasks = run.tasks;
            for task in tasks.values_mut() {
                if matches!(task.state(), TaskState::Accepted | TaskState::Running) {
                    task.report.state = TaskState::Offered;
                }
                (task.held, task.out_since, task.sent, task.cancelled) = (None, None, false, false);
            }
            Input::Begin(Box::new(Run::new(run.order, tasks).restored(state, words, notes)))
        };
        self.steps(self.kept.clone().into_values().map(restored).collect());
    }

    /// Hosts keep to a task's timeout, also when they are cut off.
    fn pass(&mut self, span: Duration) {
        self.bench.now = self.bench.now.plus(span);
        let now = self.bench.now.monotonic;
        for node in 1..=NODES {
            while self.host(node).doing.first().is_some_and(|(_, since)| now - *since >= 60 * SECOND) {
                self.end(node, TaskState::TimedOut);
            }
        }
        self.step(Input::Tick);
    }

    /// Everything is well again: whatever began comes to its end.
    fn settle(&mut self) {
        self.bench.fleet.down.clear();
        self.bench.fleet.brakes.clear();
        (1..=NODES).for_each(|node| self.connect(node));
        for number in 1..=self.begun {
            self.step(Input::Control { number, verb: Verb::Resume, words: String::new() });
        }
        for _ in 0..400 {
            for node in 1..=NODES {
                self.hear(node, true);
                self.end(node, TaskState::Succeeded);
            }
            self.pass(SECOND);
        }
        let left: Vec<String> =
            self.bench.runs.iter().map(|run| format!("{} {}", run.order.title, run.tally())).collect();
        assert_eq!(left, Vec::<String>::new(), "every run ends");
        assert_eq!(self.done.len() as u64, self.begun);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn budgets_hold_aborts_win_and_every_run_ends(deeds in proptest::collection::vec(deed(), 1..150)) {
        let mut world = World::new();
        for deed in &deeds {
            world.play(deed);
        }
        world.settle();
    }
}
