//! What people see of it, step by step.

mod drift;
mod files;

use super::*;
use hostler_types::service::{Program, Runs};
use hostler_types::spec::{HealStep, OnNeeds, Restarter};
use hostler_types::{BrakeKind, Deed, Now};

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn key(service: &str) -> Key {
    Key { service: name(service), replica: 0 }
}

fn service(text: &str, needs: &[&str]) -> ServiceAssignment {
    let runs = Runs::Process(Program { command: "bin/server".into(), ..Program::default() });
    ServiceAssignment {
        needs: needs.iter().map(|need| name(need)).collect(),
        live: vec![name("health")],
        heal: vec![HealStep::Restart, HealStep::Rollback, HealStep::Page],
        origins: [("", "demo.yaml:2"), ("heal", "demo.yaml:9")].map(|(a, b)| (a.to_owned(), b.to_owned())).into(),
        ..ServiceAssignment::new(name(text), runs)
    }
}

struct Host {
    now: Now,
    supervisor: Supervisor,
    effects: Vec<Effect>,
}

impl Host {
    fn new(services: Vec<ServiceAssignment>) -> Self {
        let now = Now { monotonic: Duration::from_secs(100), wall: Timestamp::from_millis(1_000_000) };
        let mut host = Self { now, supervisor: Supervisor::new(1, Kept::default()), effects: Vec::new() };
        host.step(Input::Link { connected: true });
        let names: Vec<Name> = services.iter().map(|one| one.name.clone()).collect();
        host.step(Input::Configure(services));
        for service in names {
            host.step(Input::Looked { key: Key { service, replica: 0 }, seen: Seen::Nothing });
        }
        host
    }

    fn step(&mut self, input: Input) {
        self.effects = self.supervisor.step(self.now, input);
    }

    fn after(&mut self, millis: u64) -> &mut Self {
        self.now = self.now.plus(Duration::from_millis(millis));
        self
    }

    fn op(&self) -> u64 {
        let op = |effect: &Effect| match effect {
            Effect::Start { op, .. } | Effect::Stop { op, .. } => Some(*op),
            _ => None,
        };
        self.effects.iter().find_map(op).expect("something to do")
    }

    fn starts(&self) -> Vec<String> {
        let start = |effect: &Effect| match effect {
            Effect::Start { key, .. } => Some(key.service.to_string()),
            _ => None,
        };
        self.effects.iter().filter_map(start).collect()
    }

    fn act(&self) -> &Act {
        let act = |effect: &'_ Effect| matches!(effect, Effect::Record(_));
        match self.effects.iter().rfind(|effect| act(effect)) {
            Some(Effect::Record(act)) => act,
            _ => panic!("no act: {:?}", self.effects),
        }
    }

    fn begun(&mut self, service: &str, pid: u32) {
        let op = self.op();
        self.step(Input::Started { key: key(service), op, result: Ok(Some(pid)) });
    }

    fn check(&mut self, good: bool, state: CheckState) {
        let summary = if good { "200" } else { "503, want 200" }.to_owned();
        let began = self.now.monotonic;
        self.step(Input::Checked(Checked { check: name("health"), good, state, summary, began, proven: true }));
    }

    fn killed(&mut self, service: &str, pid: u32) {
        let end = End { how: How::Signal(9), tail: vec!["the last line".into()] };
        self.step(Input::Ended { key: key(service), pid: Some(pid), end });
    }

    fn state(&self, service: &str) -> (ServiceState, String) {
        let standings = self.supervisor.standings(self.now);
        let one = standings.into_iter().find(|one| one.key == key(service)).expect("one");
        (one.state, one.words)
    }

    /// Its start is over, and it is well.
    fn running(service: ServiceAssignment) -> Self {
        let named = service.name.to_string();
        let mut host = Self::new(vec![service]);
        host.after(20).begun(&named, 7);
        host.after(30).check(true, CheckState::Passing);
        host
    }
}

#[test]
fn what_waits_starts_once_its_need_is_healthy() {
    let mut db = service("db", &[]);
    db.live = vec![name("dbok")];
    let mut host = Host::new(vec![db, service("api", &["db"])]);
    assert_eq!(host.state("api"), (ServiceState::Waiting, "for db".into()));
    let op = 1;
    host.step(Input::Started { key: key("db"), op, result: Ok(Some(5)) });
    // Running is not healthy yet, and the check is asked at once.
    assert!(host.starts().is_empty());
    assert!(host.effects.contains(&Effect::Probe { check: name("dbok") }));
    let began = host.now.monotonic;
    let checked =
        |good, state| Checked { check: name("dbok"), good, state, summary: String::new(), began, proven: true };
    host.after(10).step(Input::Checked(checked(false, CheckState::Passing)));
    assert!(host.starts().is_empty());
    host.after(20).step(Input::Checked(checked(true, CheckState::Passing)));
    assert_eq!(host.starts(), ["api"]);
}

#[test]
fn a_killed_one_is_started_at_once_and_says_why() {
    let mut host = Host::running(service("api", &[]));
    assert_eq!(host.act().result.as_deref(), Some("passing 50 ms later"));
    assert_eq!(host.state("api").0, ServiceState::Running);
    host.after(60_000).killed("api", 7);
    assert_eq!(host.starts(), ["api"]);
    let act = host.act().clone();
    assert_eq!((act.deed, act.by.as_str(), act.origin.as_str()), (Deed::Restarted, "", "demo.yaml:2"));
    assert_eq!(act.saw, ["ended by KILL after 60.0 s (pid 7)"]);
    assert_eq!((act.allowed, act.tail), (vec!["attempts 0 of 5 in 10m".to_owned()], vec!["the last line".to_owned()]));
    host.after(22).begun("api", 8);
    host.after(40).check(true, CheckState::Passing);
    assert_eq!((host.act().id.clone(), host.act().result.as_deref()), (act.id, Some("passing 62 ms later")));
}

#[test]
fn a_crash_loop_backs_off_is_told_once_and_goes_on_slowly_until_it_recovers() {
    let mut host = Host::new(vec![service("api", &[])]);
    let mut pid = 1;
    let (mut waits, mut crashing) = (Vec::new(), 0);
    host.begun("api", pid);
    for _ in 0..8 {
        host.after(5).killed("api", pid);
        let told = |effect: &Effect| matches!(effect, Effect::Record(act) if act.deed == Deed::Crashing);
        crashing += host.effects.iter().filter(|effect| told(effect)).count();
        if host.starts().is_empty() {
            let at = host.supervisor.next_deadline(host.now).expect("again");
            let wait = at.saturating_sub(host.now.monotonic);
            waits.push(wait.as_secs());
            host.now = host.now.plus(wait);
            host.step(Input::Tick);
        } else {
            waits.push(0);
        }
        pid += 1;
        host.begun("api", pid);
    }
    assert_eq!(waits[..5], [0, 1, 2, 4, 8]);
    assert!(waits[5] > 500 && waits[6..].iter().all(|wait| *wait >= 300), "{waits:?}");
    assert_eq!(crashing, 1);
    host.after(50).check(true, CheckState::Passing);
    host.after(600_000).step(Input::Tick);
    let act = host.act();
    assert_eq!((act.deed, act.saw.clone()), (Deed::Recovered, vec!["well for 10m".to_owned()]));
    host.killed("api", pid);
    assert_eq!(host.act().allowed, ["attempts 0 of 5 in 10m"]);
}

#[test]
fn a_failing_live_check_climbs_the_ladder() {
    let mut host = Host::running(service("api", &[]));
    host.after(60_000).check(false, CheckState::Critical);
    let Some(Effect::Ask { id, .. }) = host.effects.iter().find(|one| matches!(one, Effect::Ask { .. })).cloned()
    else {
        panic!("{:?}", host.effects)
    };
    let words = vec!["brake: 1 node fails, under 3".to_owned()];
    host.after(5).step(Input::HealAnswer { id, allowed: true, words });
    let act = host.act().clone();
    assert_eq!((act.rule.as_str(), act.origin.as_str()), ("heal[0] = restart", "demo.yaml:9"));
    assert_eq!(act.saw, ["check health critical: 503, want 200"]);
    assert_eq!(act.allowed, ["attempts 0 of 5 in 10m", "brake: 1 node fails, under 3"]);
    assert_eq!(act.refused, ["rollback: comes after step 1"]);
    let op = host.op();
    host.after(20).step(Input::Stopped { key: key("api"), op, result: Ok(()) });
    host.after(20).begun("api", 9);
    // Within its grace a bad result is none, and behind it comes what is next.
    host.after(5_000).check(false, CheckState::Critical);
    assert_eq!(host.effects, [Effect::Probe { check: name("health") }]);
    host.after(30_000).check(false, CheckState::Critical);
    let acts: Vec<(Deed, String)> = host
        .effects
        .iter()
        .filter_map(|one| if let Effect::Record(act) = one { Some((act.deed, act.rule.clone())) } else { None })
        .collect();
    assert_eq!(acts, [(Deed::Held, "heal[1] = rollback".to_owned()), (Deed::Paged, "heal[2] = page".to_owned())]);
    // From here on slowly.
    host.after(10_000).check(false, CheckState::Critical);
    assert!(host.effects.iter().all(|one| matches!(one, Effect::Probe { .. })), "{:?}", host.effects);
    host.after(300_000).check(false, CheckState::Critical);
    assert!(host.effects.iter().any(|one| matches!(one, Effect::Ask { .. })));
}

#[test]
fn what_holds_it_back_is_said_once() {
    let mut host = Host::running(service("api", &[]));
    host.step(Input::Link { connected: false });
    host.after(60_000).check(false, CheckState::Critical);
    assert!(host.act().refused[0].starts_with("cut off from the control plane, this host restarts what is dead"));
    host.after(60_000).check(false, CheckState::Critical);
    assert!(host.effects.is_empty(), "{:?}", host.effects);
    // Dead is dead, with or without.
    host.killed("api", 7);
    assert_eq!(host.starts(), ["api"]);
    host.after(5).begun("api", 8);

    let until = Some(host.now.wall.plus(Duration::from_secs(60)));
    let words = "by ada: \"storage work\"".to_owned();
    host.step(Input::Brakes(vec![Brake { kind: BrakeKind::Frozen, check: None, until, words }]));
    host.after(5).killed("api", 8);
    host.after(2_000).step(Input::Tick);
    assert_eq!(host.state("api"), (ServiceState::Held, "frozen by ada: \"storage work\"".into()));
    assert_eq!(
        (host.act().deed, host.act().refused.clone()),
        (Deed::Held, vec!["frozen by ada: \"storage work\"".into()])
    );
    let order =
        Order { id: 3, service: name("api"), verb: ServiceVerb::Restart, by: "bob".into(), reason: String::new() };
    host.step(Input::Order(order));
    assert!(matches!(&host.effects[0], Effect::Answer { outcome: Outcome::Refused, .. }), "{:?}", host.effects);
    let at = host.supervisor.next_deadline(host.now).expect("it ends");
    host.now = host.now.plus(at.saturating_sub(host.now.monotonic));
    host.step(Input::Tick);
    assert_eq!(host.starts(), ["api"]);
}

#[test]
fn a_check_that_never_passed_heals_nothing() {
    let mut host = Host::running(service("api", &[]));
    host.after(60_000);
    let began = host.now.monotonic;
    let summary = "no route".to_owned();
    let (good, state, proven) = (false, CheckState::Critical, false);
    host.step(Input::Checked(Checked { check: name("health"), good, state, summary, began, proven }));
    assert_eq!(host.act().refused, ["check health has not passed since it was changed itself"]);
}

#[test]
fn orders_are_answered_when_it_is_so() {
    let mut host = Host::running(service("api", &[]));
    let order = |id, verb| {
        let (service, by) = (name("api"), "ada".to_owned());
        Input::Order(Order { id, service, verb, by, reason: "new certificate".into() })
    };
    host.step(order(1, ServiceVerb::Stop));
    assert_eq!((host.act().by.as_str(), host.act().rule.as_str()), ("ada", "asked to stop it: new certificate"));
    let op = host.op();
    host.step(Input::Stopped { key: key("api"), op, result: Ok(()) });
    let done = |id, words: &str| Effect::Answer { id, outcome: Outcome::Done, words: words.to_owned() };
    assert!(host.effects.contains(&done(1, "stopped")), "{:?}", host.effects);
    assert_eq!(host.state("api"), (ServiceState::Stopped, "by ada".into()));
    // It stays so, also for the next agent.
    let mut next = Supervisor::new(2, host.supervisor.kept());
    next.step(host.now, Input::Configure(vec![service("api", &[])]));
    assert!(next.step(host.now, Input::Looked { key: key("api"), seen: Seen::Nothing }).is_empty());

    host.step(order(2, ServiceVerb::Start));
    host.after(20).begun("api", 9);
    host.after(20).check(true, CheckState::Passing);
    assert!(host.effects.contains(&done(2, "passing")), "{:?}", host.effects);
    host.step(order(3, ServiceVerb::Reload));
    assert!(host.effects.contains(&Effect::Reload { key: key("api") }));
    host.step(Input::Reloaded { key: key("api"), result: Ok(()) });
    assert!(host.effects.contains(&done(3, "reloaded")));
}

#[test]
fn several_stop_in_reverse() {
    let mut db = service("db", &[]);
    db.live.clear();
    let mut api = service("api", &["db"]);
    api.live.clear();
    let mut host = Host::new(vec![db, api]);
    host.step(Input::Started { key: key("db"), op: 1, result: Ok(Some(5)) });
    host.after(1_000).step(Input::Tick);
    host.begun("api", 6);
    host.step(Input::Configure(Vec::new()));
    let stops = |host: &Host| {
        let stop = |one: &Effect| if let Effect::Stop { key, .. } = one { Some(key.service.to_string()) } else { None };
        host.effects.iter().filter_map(stop).collect::<Vec<_>>()
    };
    assert_eq!(stops(&host), ["api"]);
    let op = host.op();
    host.step(Input::Stopped { key: key("api"), op, result: Ok(()) });
    assert_eq!(stops(&host), ["db"]);
    let op = host.op();
    host.step(Input::Stopped { key: key("db"), op, result: Ok(()) });
    assert!(host.supervisor.is_empty());
}

#[test]
fn dependents_do_as_the_spec_says_when_a_need_was_restarted() {
    for (on_needs, expect) in [(OnNeeds::Stay, ""), (OnNeeds::Restart, "stop"), (OnNeeds::Reload, "reload")] {
        let mut db = service("db", &[]);
        db.live.clear();
        let mut api = service("api", &["db"]);
        api.live.clear();
        api.on_needs = on_needs;
        let mut host = Host::new(vec![db, api]);
        host.step(Input::Started { key: key("db"), op: 1, result: Ok(Some(5)) });
        host.after(1_000).step(Input::Tick);
        host.begun("api", 6);
        host.after(2_000).killed("db", 5);
        host.begun("db", 8);
        host.after(1_000).step(Input::Tick);
        let did = host.effects.iter().find_map(|one| match one {
            Effect::Stop { key, .. } if key.service.as_str() == "api" => Some("stop"),
            Effect::Reload { .. } => Some("reload"),
            _ => None,
        });
        assert_eq!(did.unwrap_or_default(), expect, "{on_needs:?}: {:?}", host.effects);
    }
}

#[test]
fn a_unit_of_theirs_is_left_to_systemd() {
    let mut nginx = service("nginx", &[]);
    nginx.runs = Runs::Unit { name: "nginx.service".into(), restarter: Restarter::Unit };
    nginx.live.clear();
    let mut host = Host::new(Vec::new());
    host.step(Input::Configure(vec![nginx]));
    host.step(Input::Looked { key: key("nginx"), seen: Seen::Running { pid: Some(4), age: None } });
    assert_eq!(host.act().deed, Deed::Adopted);
    assert_eq!(host.state("nginx").0, ServiceState::Running);
    host.after(500).killed("nginx", 4);
    assert!(host.starts().is_empty());
    assert_eq!((host.act().deed, host.state("nginx").0), (Deed::Ended, ServiceState::Backoff));
    let ended = host.act().id.clone();
    host.after(100).step(Input::Appeared { key: key("nginx"), pid: Some(9) });
    let act = host.act();
    assert_eq!((act.id.as_str(), act.by.as_str(), act.deed), (ended.as_str(), "systemd", Deed::Restarted));
    // What somebody stops stays stopped, and is started by them or by us.
    let end = End { how: How::Stopped, tail: Vec::new() };
    host.step(Input::Ended { key: key("nginx"), pid: Some(9), end });
    assert_eq!(host.state("nginx"), (ServiceState::Stopped, "by somebody on the host".into()));
    host.step(Input::Appeared { key: key("nginx"), pid: Some(11) });
    assert_eq!(host.state("nginx").0, ServiceState::Running);
    // It gave up: then it is ours to start it, within the same limits.
    host.after(500).killed("nginx", 11);
    host.step(Input::Looked { key: key("nginx"), seen: Seen::Coming });
    host.after(1_000).step(Input::Tick);
    assert_eq!(host.effects, [Effect::Look { key: key("nginx") }]);
    let end = End { how: How::Exit(1), tail: Vec::new() };
    host.step(Input::Looked { key: key("nginx"), seen: Seen::Ended(end) });
    let at = host.supervisor.next_deadline(host.now).expect("again");
    host.now = host.now.plus(at.saturating_sub(host.now.monotonic));
    host.step(Input::Tick);
    assert_eq!(host.starts(), ["nginx"]);
}
