use super::*;

mod model;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Fleet {
    pub links: BTreeMap<NodeId, Link>,
    /// Somebody was, since the last look.
    pub removed: bool,
    pub brakes: BTreeMap<NodeId, Held>,
    pub down: BTreeMap<NodeId, String>,
    pub budgets: Vec<Budget>,
}

impl View for Fleet {
    fn link(&self, node: &NodeId) -> Link {
        self.links.get(node).copied().unwrap_or(Link::Gone)
    }
    fn may_lack_some(&self) -> bool {
        self.removed
    }
    fn brake(&self, node: &NodeId) -> Option<Held> {
        self.brakes.get(node).cloned()
    }
    fn down(&self, node: &NodeId) -> Option<String> {
        self.down.get(node).cloned()
    }
    fn budgets(&self) -> &[Budget] {
        &self.budgets
    }
}

pub(super) fn id(number: u8) -> NodeId {
    NodeId::from_random([number; 10])
}

pub(super) fn name(number: u8) -> Name {
    Name::new(format!("web{number}")).expect("a name")
}

pub(super) fn order(number: u64) -> Order {
    Order {
        number,
        task: TaskId::of_run(1, number),
        title: format!("run/{number}"),
        by: "ada".into(),
        reason: String::new(),
        at: Timestamp::from_millis(1_000_000),
        origin: "care.yaml:3".into(),
        chosen: "role=web".into(),
        max: 1,
        max_errors: 0,
        canary: 0,
        jitter: Duration::ZERO,
        timeout: 60 * SECOND,
        deadline: None,
        begin_by: None,
        fire: None,
        disturbs: false,
        settles: false,
    }
}

pub(super) fn run(order: Order, nodes: impl IntoIterator<Item = u8>) -> Run {
    let task = |(place, number): (usize, u8)| {
        let report = TaskReport::new(order.task.clone(), TaskState::Planned, order.at, "");
        (id(number), Task::new(name(number), u32::try_from(place).expect("few"), report))
    };
    let tasks = nodes.into_iter().enumerate().map(task).collect();
    Run::new(order, tasks)
}

/// A machine with a fleet, and what it did.
pub(super) struct Bench {
    pub now: Now,
    pub fleet: Fleet,
    pub runs: Runs,
    pub notes: Vec<String>,
    pub over: BTreeMap<u64, String>,
}

impl Bench {
    pub fn new(nodes: u8) -> Self {
        let links = (1..=nodes).map(|number| (id(number), Link::Ready)).collect();
        let now = Now { monotonic: 100 * SECOND, wall: Timestamp::from_millis(1_000_000) };
        let fleet = Fleet { links, ..Fleet::default() };
        Self { now, fleet, runs: Runs::default(), notes: Vec::new(), over: BTreeMap::new() }
    }

    /// Who is offered something, and to whom it is said that it is to end.
    pub fn step(&mut self, input: Input) -> Vec<String> {
        let effects = self.runs.step(self.now, &self.fleet, [input]);
        let mut sent = Vec::new();
        for effect in effects {
            match effect {
                Effect::Offer { number, node, .. } => sent.push(format!("offer {number} {}", self.name_of(&node))),
                Effect::Cancel { node, .. } => sent.push(format!("cancel {}", self.name_of(&node))),
                Effect::Note { note, .. } => {
                    self.notes.push(format!("{} {} {}", note.what.word(), note.node, note.words).replace("  ", " "));
                }
                Effect::Over { number } => {
                    self.over.insert(number, self.notes.last().cloned().unwrap_or_default());
                    self.runs.forget(number);
                }
                Effect::SaveRun { .. } | Effect::SaveTask { .. } => {}
            }
        }
        sent
    }

    fn name_of(&self, node: &NodeId) -> Name {
        (1..=99).find(|number| id(*number) == *node).map(name).expect("one of the fleet")
    }

    pub fn pass(&mut self, span: Duration) -> Vec<String> {
        self.now = self.now.plus(span);
        self.step(Input::Tick)
    }

    pub fn report(&mut self, number: u64, node: u8, state: TaskState) -> Vec<String> {
        let report = TaskReport::new(TaskId::of_run(1, number), state, self.now.wall, "");
        if !state.is_over() {
            self.runs.picture(&id(node), report);
            return Vec::new();
        }
        self.step(Input::Report { node: id(node), report })
    }

    fn state(&self, number: u64, node: u8) -> TaskState {
        self.runs.get(number).expect("not over").tasks.get(&id(node)).expect("chosen").state()
    }
}

fn begin(order: Order, nodes: impl IntoIterator<Item = u8>) -> Input {
    Input::Begin(Box::new(run(order, nodes)))
}

fn budget(max_down: usize, nodes: impl IntoIterator<Item = u8>) -> Budget {
    let nodes = nodes.into_iter().map(|number| (id(number), name(number))).collect();
    Budget { name: "web".into(), origin: "system.yaml:4".into(), max_down, nodes }
}

#[test]
fn who_is_removed_while_at_it_is_lost_to_the_run() {
    let mut bench = Bench::new(2);
    bench.step(begin(order(7), 1..=2));
    bench.fleet.links.remove(&id(1));
    bench.fleet.removed = true;
    bench.pass(SECOND);
    assert_eq!(bench.over.get(&7).map(String::as_str), Some("ended 0 ok, 1 lost, 1 skipped; at most 1 at once; in 1s"));
}

#[test]
fn a_picture_takes_nothing_back_and_ends_nothing() {
    let mut bench = Bench::new(1);
    bench.step(begin(order(7), [1]));
    let picture = |bench: &mut Bench, state| {
        let report = TaskReport::new(TaskId::of_run(1, 7), state, bench.now.wall, "");
        (bench.runs.picture(&id(1), report), bench.state(7, 1))
    };
    assert_eq!(
        picture(&mut bench, TaskState::Succeeded),
        (false, TaskState::Offered),
        "ends are kept, and take a turn"
    );
    assert_eq!(picture(&mut bench, TaskState::Running), (true, TaskState::Running));
    assert_eq!(picture(&mut bench, TaskState::Accepted), (false, TaskState::Running));
}

#[test]
fn nodes_have_their_turn_one_after_the_other() {
    let mut bench = Bench::new(3);
    assert_eq!(bench.step(begin(order(7), 1..=3)), ["offer 7 web1"]);
    assert_eq!(bench.report(7, 1, TaskState::Running), Vec::<String>::new());
    assert_eq!(bench.report(7, 1, TaskState::Succeeded), ["offer 7 web2"]);
    // The same word again, and a late one, change nothing.
    assert_eq!(bench.report(7, 1, TaskState::Succeeded), Vec::<String>::new());
    assert_eq!(bench.report(7, 1, TaskState::Running), Vec::<String>::new());
    assert_eq!(bench.report(7, 2, TaskState::Succeeded), ["offer 7 web3"]);
    assert_eq!(bench.report(7, 3, TaskState::Succeeded), Vec::<String>::new());
    assert_eq!(bench.over.get(&7).map(String::as_str), Some("ended 3 ok; at most 1 at once; in 0s"));
    assert!(bench.runs.get(7).is_none());
}

#[test]
fn too_many_errors_stop_it() {
    let mut bench = Bench::new(4);
    bench.step(begin(Order { max: 2, max_errors: 0, ..order(7) }, 1..=4));
    assert_eq!(bench.report(7, 1, TaskState::Failed), Vec::<String>::new(), "nothing else begins");
    assert_eq!(bench.state(7, 2), TaskState::Offered, "what began goes on");
    assert_eq!(bench.state(7, 3), TaskState::Skipped);
    bench.report(7, 2, TaskState::Succeeded);
    assert_eq!(
        bench.notes,
        [
            "chose web1, web2, web3, web4 (role=web)",
            "stopped 1 failed (web1), and max_errors is 0",
            "ended 1 ok, 1 failed, 2 skipped; at most 2 at once; in 0s"
        ]
    );
}

#[test]
fn a_budget_holds_the_next_one_until_the_last_is_well() {
    let mut bench = Bench::new(3);
    bench.fleet.budgets = vec![budget(1, 1..=3)];
    let disturbs = Order { max: 3, disturbs: true, ..order(7) };
    assert_eq!(bench.step(begin(disturbs, 1..=3)), ["offer 7 web1"]);
    assert_eq!(bench.notes.last().map(String::as_str), Some("held web3 budget web: 1 of 1 down: web1 in run/7"));
    // It is restarted, and its check fails: that costs the budget as well.
    bench.fleet.down.insert(id(1), "fails check hello".into());
    assert_eq!(bench.report(7, 1, TaskState::Succeeded), Vec::<String>::new());
    let held = bench.runs.get(7).and_then(|run| run.tasks[&id(3)].held.clone()).expect("held");
    assert_eq!(held.words, "budget web: 1 of 1 down: web1 fails check hello");
    assert_eq!(bench.notes.len(), 3, "the same rule is told once: {:?}", bench.notes);
    bench.fleet.down.clear();
    assert_eq!(bench.step(Input::Tick), ["offer 7 web2"]);
    // What is down already may be restarted, and takes nobody else away.
    bench.fleet.down.insert(id(3), "is lost".into());
    assert_eq!(bench.step(Input::Tick), ["offer 7 web3"]);
}

#[test]
fn who_was_left_in_an_unknown_state_costs_the_budget_for_a_while() {
    let mut bench = Bench::new(2);
    bench.fleet.budgets = vec![budget(1, 1..=2)];
    bench.step(begin(Order { max_errors: 1, disturbs: true, ..order(7) }, 1..=2));
    assert_eq!(bench.report(7, 1, TaskState::TimedOut), Vec::<String>::new());
    assert_eq!(bench.notes.last().map(String::as_str), Some("held web2 budget web: 1 of 1 down: web1 since run/7"));
    assert_eq!(bench.pass(SETTLE), ["offer 7 web2"]);
}

#[test]
fn who_is_given_up_on_costs_the_budget_for_a_while() {
    let mut bench = Bench::new(2);
    bench.fleet.budgets = vec![budget(1, 1..=2)];
    bench.step(begin(Order { max_errors: 1, disturbs: true, ..order(7) }, 1..=2));
    bench.report(7, 1, TaskState::Running);
    let deadline = bench.runs.next_deadline().expect("it is waited for");
    assert_eq!(bench.pass(deadline - bench.now.monotonic), Vec::<String>::new());
    assert_eq!(bench.state(7, 1), TaskState::Lost);
    assert_eq!(bench.pass(SETTLE - SECOND), Vec::<String>::new());
    assert_eq!(bench.pass(SECOND), ["offer 7 web2"]);
}

/// What a new control plane makes of runs that disturbed web1 and ended there so: when
/// each was offered, and when its host's clock says that it ended.
fn taken_up(ends: &[(u64, u64, u64)]) -> Bench {
    let mut bench = Bench::new(2);
    bench.fleet.budgets = vec![budget(1, 1..=2)];
    let runs = ends.iter().map(|(number, offered, ended)| {
        let mut run = run(Order { max_errors: 1, disturbs: true, ..order(*number) }, [1]);
        let task = run.tasks.get_mut(&id(1)).expect("chosen");
        task.offered = Some(Timestamp::from_millis(*offered));
        task.report.state = TaskState::TimedOut;
        task.report.at = Timestamp::from_millis(*ended);
        run.restored(RunState::Failed, String::new(), 1)
    });
    let runs: Vec<Run> = runs.collect();
    bench.runs.restore(bench.now, runs);
    bench
}

#[test]
fn a_restart_goes_by_its_own_clock_and_not_by_that_of_hosts() {
    let disturbs = |number| Order { disturbs: true, at: Timestamp::from_millis(1_000_000), ..order(number) };
    // The host's clock is an hour behind.
    let mut bench = taken_up(&[(7, 990_000, 1)]);
    assert_eq!(bench.step(begin(disturbs(9), [2])), Vec::<String>::new());
    assert_eq!(bench.pass(SETTLE), ["offer 9 web2"]);
    // It is an hour ahead, and all patience was over long ago.
    let mut bench = taken_up(&[(7, 600_000, 4_600_000)]);
    assert_eq!(bench.step(begin(disturbs(9), [2])), ["offer 9 web2"]);
    // It was off for longer than anybody waited for it, and came back ten seconds ago.
    let mut bench = taken_up(&[(7, 600_000, 990_000)]);
    assert_eq!(bench.step(begin(disturbs(9), [2])), Vec::<String>::new());
    assert_eq!(bench.pass(SETTLE - 11 * SECOND), Vec::<String>::new());
    assert_eq!(bench.pass(SECOND), ["offer 9 web2"]);
    // What ended there long ago does not hide what ended since.
    let mut bench = taken_up(&[(7, 990_000, 999_000), (8, 600_000, 640_000)]);
    assert_eq!(bench.step(begin(disturbs(9), [2])), Vec::<String>::new());
}

#[test]
fn two_runs_do_not_disturb_one_node_together() {
    let mut bench = Bench::new(2);
    let disturbs = |number| Order { max: 2, disturbs: true, ..order(number) };
    assert_eq!(bench.step(begin(disturbs(7), 1..=2)), ["offer 7 web1", "offer 7 web2"]);
    assert_eq!(bench.step(begin(disturbs(8), [1])), Vec::<String>::new());
    assert_eq!(bench.notes.last().map(String::as_str), Some("held web1 run/7 is at work on it"));
    assert_eq!(bench.step(begin(Order { disturbs: false, ..disturbs(9) }, [1])), ["offer 9 web1"]);
    assert_eq!(bench.report(7, 1, TaskState::Succeeded), ["offer 8 web1"]);
}

#[test]
fn who_is_away_does_not_hold_up_the_others() {
    let mut bench = Bench::new(3);
    bench.fleet.links.insert(id(1), Link::Away);
    assert_eq!(bench.step(begin(order(7), 1..=3)), ["offer 7 web2"]);
    bench.pass(50 * SECOND);
    assert_eq!(bench.report(7, 2, TaskState::Succeeded), ["offer 7 web3"]);
    bench.report(7, 3, TaskState::Succeeded);
    bench.pass(AWAY_PATIENCE - SECOND);
    assert_eq!(bench.state(7, 1), TaskState::Planned);
    bench.pass(SECOND);
    assert_eq!(bench.over.get(&7).map(String::as_str), Some("ended 2 ok, 1 undelivered; at most 1 at once; in 1m20s"));
}

#[test]
fn who_comes_back_is_asked_again_and_who_does_not_is_lost() {
    let mut bench = Bench::new(2);
    assert_eq!(bench.step(begin(Order { max: 2, ..order(7) }, 1..=2)), ["offer 7 web1", "offer 7 web2"]);
    bench.fleet.links = [(id(1), Link::Away), (id(2), Link::Away)].into();
    bench.pass(SECOND);
    bench.fleet.links.insert(id(1), Link::Ready);
    assert_eq!(bench.step(Input::Connected { node: id(1) }), ["offer 7 web1"]);
    assert_eq!(bench.pass(SECOND), Vec::<String>::new(), "once a stream");
    bench.report(7, 1, TaskState::Succeeded);
    let deadline = bench.runs.next_deadline().expect("it waits for web2");
    bench.pass(deadline - bench.now.monotonic);
    assert_eq!(bench.over.get(&7).map(String::as_str), Some("ended 1 ok, 1 lost; at most 2 at once; in 2m30s"));
}

#[test]
fn canaries_go_first_and_their_trouble_ends_it() {
    let mut bench = Bench::new(4);
    let canary = Order { max: 4, canary: 1, max_errors: 3, ..order(7) };
    assert_eq!(bench.step(begin(canary.clone(), 1..=4)), ["offer 7 web1"]);
    assert_eq!(bench.report(7, 1, TaskState::Succeeded), ["offer 7 web2", "offer 7 web3", "offer 7 web4"]);
    let again = Order { number: 8, task: TaskId::of_run(1, 8), ..canary };
    bench.step(begin(again, 1..=4));
    assert_eq!(bench.report(8, 1, TaskState::TimedOut), Vec::<String>::new());
    assert_eq!(
        bench.over.get(&8).map(String::as_str),
        Some("ended 0 ok, 1 timed-out, 3 skipped; at most 1 at once; in 0s")
    );
}

#[test]
fn pause_freeze_and_abort() {
    let mut bench = Bench::new(3);
    bench.step(begin(order(7), 1..=3));
    let control = |verb| Input::Control { number: 7, verb, words: "by ada".into() };
    bench.step(control(Verb::Pause));
    assert_eq!(bench.report(7, 1, TaskState::Succeeded), Vec::<String>::new());
    assert_eq!(bench.step(control(Verb::Resume)), ["offer 7 web2"]);
    bench.fleet.brakes.insert(id(3), Held { words: "frozen by ada".into(), origin: String::new() });
    assert_eq!(bench.report(7, 2, TaskState::Succeeded), Vec::<String>::new());
    assert_eq!(bench.notes.last().map(String::as_str), Some("held web3 frozen by ada"));
    bench.fleet.brakes.clear();
    assert_eq!(bench.step(Input::Tick), ["offer 7 web3"]);
    assert_eq!(bench.step(control(Verb::Abort)), ["cancel web3"]);
    // The stream was cut: it is said again, and nothing is offered.
    assert_eq!(bench.step(Input::Connected { node: id(3) }), ["cancel web3"]);
    assert_eq!(bench.report(7, 3, TaskState::Cancelled), Vec::<String>::new());
    assert!(bench.over.contains_key(&7));
}

fn fire(at: Timestamp, only_on_time: bool) -> Option<Fire> {
    Some(Fire { schedule: Name::new("nightly").expect("a name"), at, alone: true, only_on_time })
}

#[test]
fn a_schedules_nodes_begin_when_they_would_alone() {
    let begins = |late: u32, only_on_time| {
        let mut bench = Bench::new(4);
        let (due, at) = (bench.now.wall, bench.now.wall.plus(SECOND * late));
        bench.now = bench.now.plus(SECOND * late);
        let jitter = 600 * SECOND;
        let order = Order { jitter, max: 4, max_errors: 4, at, fire: fire(due, only_on_time), ..order(7) };
        let mut sent = bench.step(begin(order, 1..=4)).len();
        let passed = |node| hostler_types::calendar::jittered("nightly", &id(node), due, jitter).since(at);
        let mut moments: Vec<Duration> = (1..=4).map(passed).collect();
        moments.sort();
        let mut all = vec![Duration::ZERO; sent];
        for second in 1..=660 {
            let now = bench.pass(SECOND).len();
            all.extend(vec![SECOND * second; now]);
            sent += now;
        }
        assert_eq!(sent, 4);
        let near = all.iter().zip(&moments).all(|(sent, moment)| (*moment..*moment + SECOND).contains(sent));
        (near, all)
    };
    assert!(begins(0, false).0 && begins(30, false).0 && begins(300, true).0);
    let (near, made_up) = begins(300, false);
    assert!(!near && made_up.iter().filter(|at| at.is_zero()).count() < 2, "{made_up:?}");
}

#[test]
fn who_was_alone_is_asked_and_begins_nothing_late() {
    let mut bench = Bench::new(3);
    let due = bench.now.wall;
    bench.now = bench.now.plus(3_600 * SECOND);
    bench.fleet.links.insert(id(3), Link::Away);
    let order = Order { max: 3, at: bench.now.wall, fire: fire(due, true), ..order(7) };
    let effects = bench.runs.step(bench.now, &bench.fleet, [begin(order, 1..=3)]);
    let offered = effects.iter().filter_map(|effect| match effect {
        Effect::Offer { begin_by, .. } => Some(*begin_by),
        _ => None,
    });
    assert_eq!(offered.collect::<Vec<_>>(), [due.plus(BEGIN_WITHIN); 2]);
    bench.report(7, 1, TaskState::Failed);
    bench.report(7, 2, TaskState::Undelivered);
    assert_eq!(bench.runs.get(7).expect("there").state, RunState::Running, "one that failed stops nobody");
    bench.pass(AWAY_PATIENCE);
    bench.pass(AWAY_PATIENCE);
    assert!(bench.over[&7].contains("0 ok, 1 failed, 2 undelivered"), "{:?}", bench.over);
}

#[test]
fn who_comes_back_knows_better() {
    let mut bench = Bench::new(2);
    bench.fleet.links.insert(id(2), Link::Away);
    bench.step(begin(Order { max: 2, fire: fire(bench.now.wall, false), ..order(7) }, 1..=2));
    bench.step(Input::Control { number: 7, verb: Verb::Abort, words: "aborted by ada".into() });
    assert_eq!(bench.state(7, 2), TaskState::Skipped);
    bench.report(7, 2, TaskState::Undelivered);
    assert_eq!(bench.state(7, 2), TaskState::Skipped, "it says nothing new");
    bench.report(7, 2, TaskState::Succeeded);
    assert_eq!(bench.state(7, 2), TaskState::Succeeded, "it did it alone");
    bench.report(7, 2, TaskState::Failed);
    assert_eq!(bench.state(7, 2), TaskState::Succeeded, "what is over stays so");
}

#[test]
fn deadlines_windows_and_jitter() {
    let mut bench = Bench::new(2);
    bench.step(begin(Order { deadline: Some(90 * SECOND), ..order(7) }, 1..=2));
    assert_eq!(bench.pass(90 * SECOND), ["cancel web1"]);
    assert_eq!(bench.state(7, 2), TaskState::Skipped);
    bench.report(7, 1, TaskState::Cancelled);
    let closes = Some(bench.now.wall.plus(10 * SECOND));
    bench.step(begin(Order { begin_by: closes, at: bench.now.wall, ..order(8) }, 1..=2));
    bench.pass(11 * SECOND);
    assert_eq!(bench.state(8, 1), TaskState::Offered, "what began goes on");
    assert_eq!(bench.state(8, 2), TaskState::Skipped);
    let spread = Order { jitter: 600 * SECOND, max: 2, at: bench.now.wall, ..order(9) };
    let mut sent = bench.step(begin(spread, 1..=2));
    for _ in 0..600 {
        sent.extend(bench.pass(SECOND));
    }
    sent.sort();
    assert_eq!(sent, ["offer 9 web1", "offer 9 web2"]);
}

#[test]
fn what_nobody_did_did_not_succeed() {
    for (alone, ends) in [(None, RunState::Failed), (Some(true), RunState::Succeeded)] {
        let mut bench = Bench::new(2);
        bench.fleet.links.values_mut().for_each(|link| *link = Link::Away);
        let fire = alone.and_then(|_| fire(bench.now.wall, false));
        bench.runs.step(bench.now, &bench.fleet, [begin(Order { max: 2, fire, ..order(7) }, 1..=2)]);
        for _ in 0..3 {
            bench.now = bench.now.plus(AWAY_PATIENCE);
            bench.runs.step(bench.now, &bench.fleet, [Input::Tick]);
        }
        let run = bench.runs.get(7).expect("not forgotten yet");
        assert_eq!((run.count(|state| state == TaskState::Undelivered), run.state), (2, ends), "{}", run.words);
    }
}

#[test]
fn a_run_brings_back_no_more_than_it_may() {
    use hostler_types::FetchPath;
    use hostler_types::fetch::{RUN_BYTES_MAX, Taken};
    let mut bench = Bench::new(2);
    bench.step(begin(Order { max: 2, ..order(7) }, [1, 2]));
    let ended = |bytes: u64| {
        let taken = Ok(Taken { bytes, digest: "0".repeat(64) });
        let files = vec![TaskFile { path: FetchPath::new("a").expect("a path"), taken }];
        TaskReport { files, ..TaskReport::new(TaskId::of_run(1, 7), TaskState::Succeeded, order(7).at, "") }
    };
    let mut told = Vec::new();
    for (node, bytes) in [(1, RUN_BYTES_MAX), (2, 1)] {
        let input = Input::Report { node: id(node), report: ended(bytes) };
        let effects = bench.runs.step(bench.now, &bench.fleet, [input]);
        assert!(effects.contains(&Effect::SaveTask { number: 7, node: id(node) }));
        let task = bench.runs.get(7).expect("kept until it is forgotten").tasks[&id(node)].clone();
        told.extend(task.report.files.into_iter().map(|file| file.taken.is_ok()));
    }
    assert_eq!(told, [true, false], "the second says why it does not come");
}
