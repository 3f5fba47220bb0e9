mod action;

use super::*;
use hostler_types::{BrakeKind, Now, TaskStep};

const STAMP: Stamp = Stamp { lineage: 5, term: 3, generation: 9 };

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn run(program: &str) -> TaskStep {
    TaskStep::Command(Command { argv: vec![program.into()], ..Command::default() })
}

fn service(verb: ServiceVerb) -> TaskStep {
    TaskStep::Service { service: name("api"), verb }
}

fn at(seconds: u64) -> Now {
    Now { monotonic: Duration::from_secs(seconds), wall: Timestamp::from_millis(1_000_000 + seconds * 1000) }
}

fn offer(number: u64, steps: Vec<TaskStep>) -> TaskOffer {
    TaskOffer {
        id: id(number),
        stamp: STAMP,
        title: format!("run/{number}"),
        by: "ada".into(),
        reason: "storage".into(),
        steps,
        timeout: Duration::from_secs(60),
        begin_by: at(60).wall,
    }
}

fn id(number: u64) -> TaskId {
    TaskId::of_run(5, number)
}

struct Host {
    ledger: Ledger,
    effects: Vec<Effect>,
}

impl Host {
    fn new() -> Self {
        let mut host = Self { ledger: Ledger::default(), effects: Vec::new() };
        host.step(0, Input::Restored(Box::new(Found { boot: "one".into(), ..Found::default() })));
        host
    }

    fn step(&mut self, seconds: u64, input: Input) -> &[Effect] {
        self.effects = self.ledger.step(at(seconds), input);
        &self.effects
    }

    fn offer(&mut self, seconds: u64, offer: TaskOffer) -> &[Effect] {
        self.step(seconds, Input::Offer { offer: Box::new(offer), corrected: at(seconds).wall })
    }

    fn ended(&mut self, seconds: u64, number: u64, step: u32, fate: Fate) -> &[Effect] {
        self.step(seconds, Input::Ended { id: id(number), step, fate, output: None })
    }

    fn cancel(&mut self, seconds: u64, number: u64) -> &[Effect] {
        self.step(seconds, Input::Cancel { id: id(number), stamp: STAMP, words: "by ada".into() })
    }

    /// How the last step ended a task, if it did.
    fn end(&self) -> Option<(TaskState, &str)> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::End(report) => Some((report.state, report.words.as_str())),
            _ => None,
        })
    }
}

fn does(effects: &[Effect], is: impl Fn(&Effect) -> bool) -> bool {
    effects.iter().any(is)
}

#[test]
fn steps_are_done_in_their_order() {
    let mut host = Host::new();
    let steps = vec![TaskStep::Drain, run("bin/tidy"), service(ServiceVerb::Restart), TaskStep::Undrain];
    let first = host.offer(1, offer(1, steps));
    assert!(matches!(first, [Effect::Keep(Kept::Open(_)), Effect::Start { step: 1, .. }, Effect::Report(_)]));
    host.step(1, Input::Began { id: id(1), step: 1 });
    let second = host.ended(2, 1, 1, Fate::Exit(0)).to_vec();
    assert!(
        matches!(&second[..2], [Effect::Keep(Kept::Open(_)), Effect::Service { step: 2, by, .. }] if by == "ada, run/1")
    );
    assert!(does(&second, |one| matches!(one, Effect::Stop { step: 1, .. })), "what is left of it goes");
    host.ended(3, 1, 2, Fate::Done { words: "passing".into(), changed: true });
    assert_eq!(host.end(), Some((TaskState::Succeeded, "no load balancer is told yet; passing")));
    assert!(matches!(&host.effects[..], [Effect::Keep(Kept::Over { .. }), Effect::End(report)] if report.changed));
}

#[test]
fn the_first_that_fails_ends_it_and_says_which() {
    let mut host = Host::new();
    host.offer(1, offer(1, vec![TaskStep::Drain, run("bin/tidy"), TaskStep::Undrain, TaskStep::Undrain]));
    host.ended(2, 1, 1, Fate::Exit(3));
    assert_eq!(host.end(), Some((TaskState::Failed, "step 2 of 4, run bin/tidy: exit 3")));
    assert!(does(&host.effects, |one| matches!(one, Effect::End(report) if report.exit == Some(3))));
    host.offer(3, offer(2, vec![run("df")]));
    host.ended(3, 2, 0, Fate::Refused("profile watch".into()));
    assert_eq!(host.end(), Some((TaskState::Refused, "run df: profile watch")));
}

#[test]
fn what_is_known_is_told_and_not_done_again() {
    let mut host = Host::new();
    host.offer(1, offer(1, vec![run("df")]));
    assert!(matches!(host.offer(2, offer(1, vec![run("df")])), [Effect::Report(_)]));
    host.ended(3, 1, 0, Fate::Exit(0));
    assert!(matches!(host.offer(4, offer(1, vec![run("df")])), [Effect::TellAgain(_)]));
    assert!(matches!(host.cancel(4, 1), [Effect::TellAgain(_)]));
}

#[test]
fn what_may_not_begin_does_not() {
    let mut host = Host::new();
    host.offer(61, offer(1, vec![run("df")]));
    assert_eq!(host.end(), Some((TaskState::Undelivered, "it came 1s after it had to begin, and nothing was done")));
    host.cancel(1, 2);
    assert_eq!(host.end(), Some((TaskState::Cancelled, "cancelled: by ada, before it came here")));
    assert!(matches!(host.offer(1, offer(2, vec![run("df")])), [Effect::TellAgain(_)]));
    let brake = |kind, until| Brake { kind, check: None, until, words: "by ada".into() };
    let brakes = vec![brake(BrakeKind::CommonCause, None), brake(BrakeKind::Maintenance, Some(at(9).wall))];
    host.step(1, Input::Brakes(brakes));
    host.offer(2, offer(3, vec![run("df")]));
    assert_eq!(host.end(), Some((TaskState::Refused, "maintenance by ada")));
    assert!(does(host.offer(10, offer(4, vec![run("df")])), |one| matches!(one, Effect::Start { .. })));
    let stale = TaskOffer { stamp: Stamp { term: 2, ..STAMP }, ..offer(5, vec![run("df")]) };
    let refused = host.offer(10, stale).to_vec();
    // Whoever rules by now is connected, and may have offered it as well.
    assert!(matches!(&refused[..], [Effect::Stale { words, .. }] if words.contains("whose time is over")));
    assert!(does(host.offer(10, offer(5, vec![run("df")])), |one| matches!(one, Effect::Start { .. })));
    for number in 6..20 {
        host.offer(10, offer(number, vec![run("df")]));
        assert_eq!(host.end(), None);
    }
    host.offer(10, offer(20, vec![run("df")]));
    assert_eq!(host.end(), Some((TaskState::Refused, "it is at work on 16 tasks")));
}

#[test]
fn what_the_host_begins_by_itself_is_one_at_a_time_and_once() {
    let fire = |second: u64, steps| {
        let due = Timestamp::from_millis(second * 1000);
        let offer = TaskOffer { id: TaskId::of_fire(&name("tidy"), due), stamp: Stamp::default(), ..offer(1, steps) };
        Input::Alone { schedule: name("tidy"), offer: Box::new(offer), corrected: at(1).wall }
    };
    let mut host = Host::new();
    // By the orders that are there, though another control plane was heard since.
    host.step(1, Input::Ruled(Stamp { term: 9, ..STAMP }));
    let begun = host.step(1, fire(1, vec![run("df")])).to_vec();
    assert!(does(&begun, |one| matches!(one, Effect::Start { .. })));
    assert!(matches!(&begun[0], Effect::Keep(Kept::Open(record)) if record.offer.stamp.term == 9));
    assert!(host.step(2, fire(1, vec![run("df")])).is_empty(), "it is known");
    host.step(3, fire(2, vec![run("df")]));
    assert_eq!(host.end(), Some((TaskState::Refused, "the one before it, tidy.1, still runs on this host")));
    // What the control plane asks for is its own matter.
    assert!(does(
        host.offer(
            3,
            TaskOffer {
                id: TaskId::of_fire(&name("tidy"), at(3).wall),
                stamp: Stamp { term: 9, ..STAMP },
                ..offer(2, vec![run("df")])
            }
        ),
        |one| matches!(one, Effect::Start { .. })
    ));
    let ended = Input::Ended {
        id: TaskId::of_fire(&name("tidy"), Timestamp::from_millis(1000)),
        step: 0,
        fate: Fate::Exit(0),
        output: None,
    };
    host.step(4, ended);
    assert!(host.step(5, fire(1, vec![run("df")])).is_empty(), "it was done, and nobody asks how");
    let brake = Brake { kind: BrakeKind::Frozen, check: None, until: None, words: "by ada".into() };
    let mut host = Host::new();
    host.step(1, Input::Brakes(vec![brake]));
    host.step(1, fire(1, vec![run("df")]));
    assert_eq!(host.end(), Some((TaskState::Refused, "frozen by ada")));
}

#[test]
fn a_cancel_ends_a_program_and_lets_a_service_finish() {
    let mut host = Host::new();
    host.offer(1, offer(1, vec![run("df"), run("du")]));
    // It is about to start: it is ended when it has.
    assert!(!does(host.cancel(1, 1), |one| matches!(one, Effect::Stop { .. })));
    assert!(does(host.step(1, Input::Began { id: id(1), step: 0 }), |one| matches!(one, Effect::Stop { .. })));
    host.ended(2, 1, 0, Fate::Signal(15));
    assert_eq!(host.end(), Some((TaskState::Cancelled, "cancelled: by ada")));
    host.offer(3, offer(2, vec![service(ServiceVerb::Restart), run("du")]));
    host.cancel(4, 2);
    assert_eq!(host.end(), None);
    host.ended(5, 2, 0, Fate::Done { words: "passing".into(), changed: true });
    assert_eq!(host.end(), Some((TaskState::Cancelled, "cancelled: by ada")));
    host.offer(6, offer(3, vec![TaskStep::Wait(Duration::from_secs(30))]));
    host.cancel(7, 3);
    assert_eq!(host.end(), Some((TaskState::Cancelled, "cancelled: by ada")));
}

#[test]
fn a_cancel_wins_over_what_waits_to_be_done_again() {
    let lost = |step: TaskStep, cancelled: bool| {
        let mut host = Host::new();
        host.offer(1, offer(1, vec![step]));
        if cancelled {
            host.cancel(2, 1);
            assert_eq!(host.end(), None, "it may be under way");
        }
        host.ended(3, 1, 0, Fate::Unknown("it waited for an upgrade, and expired".into()));
        host
    };
    for step in [TaskStep::Reboot(Reboot::Always), TaskStep::Packages(Packages::Security)] {
        let cancelled = lost(step.clone(), true);
        assert_eq!(cancelled.end(), Some((TaskState::Cancelled, "cancelled: by ada")));
        assert_eq!(cancelled.ledger.next_deadline(), None);
        assert!(does(lost(step, false).step(8, Input::Tick), |one| {
            matches!(one, Effect::Reboot { .. } | Effect::Packages { .. })
        }));
    }
}

#[test]
fn a_step_that_cannot_be_written_down_is_not_begun() {
    let begun = |effects: &[Effect]| match effects {
        [Effect::Keep(kept), next, ..] => next.begun_by(kept),
        other => panic!("{other:?}"),
    };
    let check = TaskStep::Check { check: name("ok"), within: Duration::from_secs(5) };
    let reboot = TaskStep::Reboot(Reboot::Always);
    for step in [run("df"), service(ServiceVerb::Start), TaskStep::Packages(Packages::All), reboot, check] {
        assert_eq!(begun(Host::new().offer(1, offer(1, vec![TaskStep::Drain, step]))), Some(1));
    }
    let mut host = Host::new();
    host.offer(1, offer(1, vec![run("df")]));
    host.step(1, Input::Began { id: id(1), step: 0 });
    let cancel = host.cancel(2, 1);
    assert_eq!(begun(cancel), None);
    assert!(matches!(cancel, [Effect::Keep(Kept::Open(_)), Effect::Stop { .. }]));
    host.offer(3, offer(2, vec![TaskStep::Reboot(Reboot::Always)]));
    assert_eq!(begun(host.cancel(4, 2)), None);
}

#[test]
fn all_steps_together_have_one_timeout() {
    let mut host = Host::new();
    host.offer(1, offer(1, vec![TaskStep::Wait(Duration::from_secs(40)), run("du")]));
    assert_eq!(host.ledger.next_deadline(), Some(Duration::from_secs(41)));
    assert!(does(host.step(41, Input::Tick), |one| matches!(one, Effect::Start { .. })));
    host.step(41, Input::Began { id: id(1), step: 1 });
    assert_eq!(host.ledger.next_deadline(), Some(Duration::from_secs(61)));
    assert!(does(host.step(61, Input::Tick), |one| matches!(one, Effect::Stop { .. })));
    host.ended(62, 1, 1, Fate::Signal(9));
    assert_eq!(host.end(), Some((TaskState::TimedOut, "it took longer than 1m, at step 2 of 2, run du")));
}

#[test]
fn a_check_must_pass_anew() {
    let mut host = Host::new();
    let check = TaskStep::Check { check: name("ok"), within: Duration::from_secs(5) };
    host.offer(3, offer(1, vec![check]));
    let seen = |passing, last| {
        let seen = CheckStands { passing, last_run: at(last).wall, words: "503".into() };
        Input::CheckSeen { id: id(1), step: 0, seen: Some(seen) }
    };
    host.step(3, seen(true, 2));
    assert_eq!(host.end(), None);
    assert!(does(host.step(4, Input::Tick), |one| matches!(one, Effect::LookAtCheck { .. })));
    host.step(5, seen(false, 5));
    host.step(8, Input::Tick);
    assert_eq!(host.end(), Some((TaskState::Failed, "check ok: it does not pass within 5s: 503")));
    let check = TaskStep::Check { check: name("ok"), within: Duration::from_secs(5) };
    host.offer(9, offer(2, vec![check]));
    let seen = CheckStands { passing: true, last_run: at(10).wall, words: String::new() };
    host.step(10, Input::CheckSeen { id: id(2), step: 0, seen: Some(seen) });
    assert_eq!(host.end(), Some((TaskState::Succeeded, "")));
}

fn record(host: &Host, number: u64) -> Record {
    host.ledger.open.get(&id(number)).expect("open").record.clone()
}

#[test]
fn after_a_restart_nothing_is_begun_twice() {
    let check = |step: TaskStep, boot: &str, on_host: Option<Stands>| {
        let mut host = Host::new();
        host.offer(1, offer(1, vec![step]));
        let on_host = on_host.map(|stands| OnHost { id: id(1), step: 0, stands }).into_iter().collect();
        let uptime = Duration::from_secs(5);
        let found = Found { open: vec![record(&host, 1)], boot: boot.into(), uptime, on_host, ..Found::default() };
        let mut after = Host { ledger: Ledger::default(), effects: Vec::new() };
        after.step(5, Input::Restored(Box::new(found)));
        after
    };
    let runs = check(run("df"), "one", Some(Stands::Runs));
    assert!(matches!(&runs.effects[..], [Effect::Follow { .. }]));
    let ended = Stands::Ended { fate: Fate::Exit(0), output: None };
    assert_eq!(check(run("df"), "one", Some(ended)).end(), Some((TaskState::Succeeded, "")));
    let mut never = check(run("df"), "one", None);
    assert!(matches!(&never.effects[..], [Effect::Stop { .. }]), "it may be about to start");
    never.ended(6, 1, 0, Fate::Unknown("it is not there".into()));
    let words = "run df: the agent ended when it was about to begin it, and it is not begun again";
    assert_eq!(never.end(), Some((TaskState::Interrupted, words)));
    let other = check(run("df"), "two", None);
    assert_eq!(other.end(), Some((TaskState::Interrupted, "run df: the host was rebooted in the middle of it")));

    let reboot = || TaskStep::Reboot(Reboot::Always);
    assert_eq!(check(reboot(), "two", None).end(), Some((TaskState::Succeeded, "rebooted")));
    assert!(matches!(&check(reboot(), "one", None).effects[..], [Effect::Reboot { .. }]));
    let started = check(service(ServiceVerb::Start), "two", None);
    assert!(matches!(&started.effects[..], [Effect::Service { .. }]));
    let reloaded = check(service(ServiceVerb::Reload), "one", None);
    assert_eq!(reloaded.end(), Some((TaskState::Interrupted, "reload api: the agent ended in the middle of it")));

    let seen = |seconds| Input::ServiceSeen { id: id(1), step: 0, runs_for: Some(Duration::from_secs(seconds)) };
    let mut restarted = check(service(ServiceVerb::Restart), "two", None);
    assert!(matches!(&restarted.effects[..], [Effect::LookAtService { .. }]));
    restarted.step(6, seen(2));
    assert_eq!(restarted.end(), Some((TaskState::Succeeded, "")));
    let mut not = check(service(ServiceVerb::Restart), "one", None);
    not.step(6, seen(7));
    assert_eq!(not.end(), None);
    not.step(66, Input::Tick);
    assert!(not.end().is_some_and(|(state, _)| state == TaskState::TimedOut || state == TaskState::Interrupted));
}

#[test]
fn a_clock_that_is_set_changes_nothing() {
    let after = |clock: fn(Timestamp) -> Timestamp, runs_for: u64| {
        let mut host = Host::new();
        host.offer(10, offer(1, vec![service(ServiceVerb::Restart)]));
        let found = Found {
            open: vec![record(&host, 1)],
            boot: "one".into(),
            uptime: Duration::from_secs(20),
            ..Found::default()
        };
        // The agent's own clock begins anew with it.
        let now = Now { wall: clock(at(20).wall), ..at(3) };
        let mut ledger = Ledger::default();
        ledger.step(now, Input::Restored(Box::new(found)));
        let runs_for = Some(Duration::from_secs(runs_for));
        let effects = ledger.step(now, Input::ServiceSeen { id: id(1), step: 0, runs_for });
        effects.iter().any(|effect| matches!(effect, Effect::End(_)))
    };
    let hour = |wall: Timestamp| wall.minus(Duration::from_secs(3_600));
    for clock in [|wall| wall, hour, |wall: Timestamp| wall.plus(Duration::from_secs(3_600))] {
        assert!(!after(clock, 11), "it ran before");
        assert!(after(clock, 9), "it was restarted");
    }
}

#[test]
fn after_a_reboot_with_the_clock_put_back_nothing_goes_on() {
    let after = |step: TaskStep, clock: fn(Timestamp) -> Timestamp| {
        let mut host = Host::new();
        host.offer(10, offer(1, vec![step]));
        let found = Found { open: vec![record(&host, 1)], boot: "two".into(), ..Found::default() };
        let now = Now { wall: clock(at(20).wall), ..at(3) };
        let effects = Ledger::default().step(now, Input::Restored(Box::new(found)));
        effects.into_iter().find_map(|effect| match effect {
            Effect::End(report) => Some((report.state, report.words)),
            _ => None,
        })
    };
    let hour = |wall: Timestamp| wall.minus(Duration::from_secs(3_600));
    let words = "restart api: the host was rebooted meanwhile, and its clock was put back".to_owned();
    assert_eq!(after(service(ServiceVerb::Restart), hour), Some((TaskState::Interrupted, words)));
    assert_eq!(after(service(ServiceVerb::Restart), |wall| wall), None);
    let rebooted = Some((TaskState::Succeeded, "rebooted".to_owned()));
    assert_eq!(after(TaskStep::Reboot(Reboot::Always), hour), rebooted);
}

#[test]
fn after_the_deadline_nothing_is_begun() {
    let check = |steps: Vec<TaskStep>, boot: &str, stands: Option<Stands>| {
        let mut host = Host::new();
        host.offer(1, offer(1, steps));
        let on_host = stands.map(|stands| OnHost { id: id(1), step: 0, stands }).into_iter().collect();
        let uptime = Duration::from_secs(90_000);
        let found = Found { open: vec![record(&host, 1)], boot: boot.into(), uptime, on_host, ..Found::default() };
        let mut after = Host { ledger: Ledger::default(), effects: Vec::new() };
        after.step(90_000, Input::Restored(Box::new(found)));
        after
    };
    let reboot = || TaskStep::Reboot(Reboot::Always);
    let begins = |host: &Host| {
        let told = |one: &Effect| matches!(one, Effect::Keep(_) | Effect::End(_) | Effect::TellAgain(_));
        host.effects.iter().any(|one| !told(one))
    };
    let services = [ServiceVerb::Start, ServiceVerb::Restart, ServiceVerb::Reload].map(service);
    for step in services.into_iter().chain([reboot(), TaskStep::Packages(Packages::All)]) {
        let words = format!("it took longer than 1m, at {step}");
        let host = check(vec![step], "one", None);
        assert_eq!(host.end(), Some((TaskState::TimedOut, words.as_str())));
        assert!(!begins(&host), "{:?}", host.effects);
    }
    let behind = check(vec![reboot(), service(ServiceVerb::Start)], "two", None);
    let words = "it took longer than 1m, at step 2 of 2, start api";
    assert_eq!((behind.end(), begins(&behind)), (Some((TaskState::TimedOut, words)), false));
    assert_eq!(check(vec![reboot()], "two", None).end(), Some((TaskState::Succeeded, "rebooted")));

    // How a program ended is told; what is behind it is not begun.
    let exit = |code| Some(Stands::Ended { fate: Fate::Exit(code), output: None });
    assert_eq!(check(vec![run("df"), reboot()], "one", exit(3)).end().map(|end| end.0), Some(TaskState::Failed));
    let ended = check(vec![run("df"), reboot()], "one", exit(0));
    let words = "it took longer than 1m, at step 2 of 2, reboot always";
    assert_eq!(ended.end(), Some((TaskState::TimedOut, words)));
    assert!(!does(&ended.effects, |one| matches!(one, Effect::Reboot { .. })));
    let mut runs = check(vec![run("df")], "one", Some(Stands::Runs));
    assert!(matches!(&runs.effects[..], [Effect::Follow { .. }, Effect::Stop { .. }]));
    runs.ended(90_001, 1, 0, Fate::Signal(15));
    assert_eq!(runs.end(), Some((TaskState::TimedOut, "it took longer than 1m, at run df")));
}

#[test]
fn what_is_left_of_others_is_ended_and_the_newest_ends_are_told() {
    let over = |number| Over { id: id(number), at: at(number).wall, stamp: STAMP };
    let on_host = vec![OnHost { id: id(7), step: 1, stands: Stands::Runs }];
    let found = Found { over: (0..20).map(over).collect(), on_host, boot: "one".into(), ..Found::default() };
    let mut host = Host { ledger: Ledger::default(), effects: Vec::new() };
    let effects = host.step(30, Input::Restored(Box::new(found))).to_vec();
    assert_eq!(effects[0], Effect::Stop { id: id(7), step: 1 });
    let told: Vec<&Effect> = effects.iter().filter(|one| matches!(one, Effect::TellAgain(_))).collect();
    assert_eq!((told.len(), told[0]), (AT_ONCE_MAX, &Effect::TellAgain(id(19))));
}

#[test]
fn ends_are_forgotten_when_they_are_many_and_old() {
    let over = |number| Over { id: id(number), at: at(number).wall, stamp: STAMP };
    let found = Found { over: (0..1_010).map(over).collect(), ..Found::default() };
    let forgotten = |seconds, found: &Found| {
        let mut ledger = Ledger::default();
        let effects = ledger.step(at(seconds), Input::Restored(Box::new(found.clone())));
        effects.iter().filter(|one| matches!(one, Effect::Forget(_))).count()
    };
    assert_eq!(forgotten(2_000, &found), 0);
    assert_eq!(forgotten(OVER_KEPT_FOR.as_secs() + 2_000, &found), 10);
    let many = Found { over: (0..10_004).map(over).collect(), ..Found::default() };
    assert_eq!(forgotten(20_000, &many), 4);
}

#[test]
fn who_prints_without_end_is_ended() {
    let mut host = Host::new();
    host.offer(0, offer(1, vec![run("yes"), run("df")]));
    host.step(1, Input::Began { id: id(1), step: 0 });
    assert!(host.step(2, Input::Printed { id: id(1), bytes: PRINTED_MAX }).is_empty());
    let stop = |effect: &Effect| matches!(effect, Effect::Stop { step: 0, .. });
    assert!(does(host.step(3, Input::Printed { id: id(1), bytes: PRINTED_MAX + 1 }), stop));
    assert!(host.step(4, Input::Printed { id: id(1), bytes: PRINTED_MAX + 2 }).is_empty());
    host.ended(5, 1, 0, Fate::Signal(15));
    let words = "step 1 of 2, run yes: ended, since it printed more than 64 MiB: let it write to a file of its own";
    assert_eq!(host.end(), Some((TaskState::Failed, words)));
}

#[test]
fn the_present_program_brings_its_files_and_no_other() {
    let path = |text: &str| FetchPath::new(text).expect("a path");
    let brings = |text: &str| {
        let fetch = vec![path(text)];
        TaskStep::Command(Command { argv: vec!["df".into()], user: Some("shop".into()), fetch, ..Command::default() })
    };
    let mut host = Host::new();
    host.offer(0, offer(1, vec![brings("a"), run("df"), brings("b")]));
    let of = |host: &Host, step| host.ledger.fetch_of(&id(1), step);
    let expected = Fetch { paths: vec![path("a")], user: Some("shop".into()), free: false, first: 0 };
    assert_eq!((of(&host, 0), of(&host, 2)), (Some(expected), None));
    let file = |text: &str| TaskFile { path: path(text), taken: Err("no such file".into()) };
    let ended = |step, files: Vec<TaskFile>, fate| Input::Ended {
        id: id(1),
        step,
        fate,
        output: Some(Output { files, ..Output::default() }),
    };
    host.step(1, ended(0, vec![file("a")], Fate::Exit(0)));
    assert_eq!((of(&host, 0), of(&host, 1)), (None, None));
    host.step(2, ended(1, vec![], Fate::Exit(0)));
    assert_eq!(of(&host, 2).map(|fetch| fetch.first), Some(1), "behind those of the step before");
    assert_eq!(record(&host, 1).report.files, [file("a")]);
    // Also of one that fails: its log says why.
    host.step(3, ended(2, vec![file("b")], Fate::Exit(3)));
    let told = host.effects.iter().find_map(|effect| match effect {
        Effect::End(report) => Some((report.state, report.files.clone())),
        _ => None,
    });
    assert_eq!(told, Some((TaskState::Failed, vec![file("a"), file("b")])));
    assert_eq!(of(&host, 2), None);
}

#[test]
fn a_unit_names_its_step() {
    let fire = TaskId::of_fire(&name("patch"), Timestamp::from_millis(5_000));
    for id in [id(7), fire] {
        assert_eq!(step_of(&unit_of(&id, 12)), Some((id, 12)));
    }
    assert_eq!(step_of("hostler-task-x-0.service"), None);
    assert_eq!(step_of("hostler-api-0.service"), None);
}
