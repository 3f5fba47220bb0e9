//! Actions of plugins: the plan, its parts, and the way back.

use super::*;

fn action() -> TaskStep {
    let with_json = r#"{"backend": "shop", "server": "web1"}"#.to_owned();
    TaskStep::Action(Box::new(Action { plugin: name("haproxy-server"), with_json }))
}

const HEAD: &str = "action haproxy-server backend=shop server=web1";

fn part(id: &str, reversible: bool) -> Part {
    Part { id: id.into(), summary: format!("{id} web1"), reversible }
}

fn plan() -> PluginSaid {
    PluginSaid::Planned(vec![part("drain", true), part("mark", false), part("stop", true), part("wait", true)])
}

fn key(part: &str) -> String {
    format!("run-5-1/0/{part}")
}

fn apply(part: &str) -> PluginAsk {
    PluginAsk::Apply { part: part.into(), key: key(part) }
}

fn undo(part: &str) -> PluginAsk {
    PluginAsk::Undo { part: part.into(), key: key(part) }
}

fn applied() -> PluginSaid {
    PluginSaid::Applied(vec![("sessions".into(), "0".into())])
}

fn failed(why: &str) -> PluginSaid {
    PluginSaid::Failed(why.into())
}

impl Host {
    fn acts(steps: Vec<TaskStep>) -> Self {
        let mut host = Self::new();
        host.offer(1, offer(1, steps));
        assert_eq!(host.asked(), Some(PluginAsk::Plan));
        host
    }

    fn said(&mut self, seconds: u64, ask: PluginAsk, said: PluginSaid) -> Option<PluginAsk> {
        self.step(seconds, Input::PluginSaid { id: id(1), step: 0, ask, said });
        self.asked()
    }

    /// What the last step asked a plugin, after it was written down.
    fn asked(&self) -> Option<PluginAsk> {
        let at = self.effects.iter().position(|one| matches!(one, Effect::Plugin { .. }))?;
        let Effect::Plugin { ask, .. } = &self.effects[at] else { return None };
        let again = at == 0 && self.effects.len() == 1;
        assert!(again || matches!(self.effects[at - 1], Effect::Keep(Kept::Open(_))), "{:?}", self.effects);
        Some(ask.clone())
    }

    fn output(&self) -> &str {
        let over = self.effects.iter().find_map(|one| match one {
            Effect::End(report) => Some(report.output.as_str()),
            _ => None,
        });
        over.expect("it is over")
    }

    fn restarted(&self, seconds: u64) -> Self {
        let uptime = Duration::from_secs(seconds);
        let found = Found { open: vec![record(self, 1)], boot: "one".into(), uptime, ..Found::default() };
        let mut after = Self { ledger: Ledger::default(), effects: Vec::new() };
        after.step(seconds, Input::Restored(Box::new(found)));
        after
    }
}

#[test]
fn its_parts_are_done_in_their_order_and_told() {
    let mut host = Host::acts(vec![action(), run("df")]);
    let two = PluginSaid::Planned(vec![part("drain", true), part("stop", true)]);
    assert_eq!(host.said(2, PluginAsk::Plan, two), Some(apply("drain")));
    let words = format!("step 1 of 2, {HEAD}: drain web1");
    assert!(does(&host.effects, |one| matches!(one, Effect::Report(report) if report.words == words)));
    assert_eq!(host.said(3, apply("drain"), applied()), Some(apply("stop")));
    assert_eq!(host.said(3, apply("drain"), applied()), None, "an answer that comes twice counts once");
    assert_eq!(host.said(3, undo("stop"), PluginSaid::Undone), None);
    host.said(4, apply("stop"), PluginSaid::Applied(Vec::new()));
    assert!(does(&host.effects, |one| matches!(one, Effect::Start { step: 1, .. })));
    host.step(4, Input::Began { id: id(1), step: 1 });
    let output = Some(Output { text: "none".into(), cut_bytes: 0, files: Vec::new() });
    host.step(5, Input::Ended { id: id(1), step: 1, fate: Fate::Exit(0), output });
    assert_eq!(host.end(), Some((TaskState::Succeeded, "drain web1, stop web1")));
    let notes = "plan: drain web1\nplan: stop web1\ndone: drain web1: sessions=0\ndone: stop web1\n";
    assert_eq!(host.output(), format!("none\n{notes}"));
}

#[test]
fn what_was_done_before_one_that_fails_is_undone() {
    let mut host = Host::acts(vec![action()]);
    host.said(2, PluginAsk::Plan, plan());
    assert_eq!(host.said(3, apply("drain"), applied()), Some(apply("mark")));
    assert_eq!(host.said(3, apply("mark"), applied()), Some(apply("stop")));
    assert_eq!(host.said(3, apply("stop"), applied()), Some(apply("wait")));
    assert_eq!(host.said(4, apply("wait"), failed("3 sessions\nare left")), Some(undo("stop")));
    // Neither a cancel nor the time ends it, and what waits is asked again.
    assert_eq!(host.cancel(4, 1).len(), 2);
    assert_eq!(host.end(), None);
    assert_eq!(host.said(61, undo("stop"), PluginSaid::NotYet("not ready".into())), None);
    host.step(62, Input::Tick);
    assert_eq!(host.asked(), Some(undo("stop")));
    assert_eq!(host.said(63, undo("stop"), failed("no answer")), Some(undo("drain")));
    host.said(64, undo("drain"), PluginSaid::Undone);
    let words = "wait web1: 3 sessions are left; undone: drain web1; \
                 not undone: stop web1 (no answer), mark web1 (it can't be)";
    assert_eq!(host.end(), Some((TaskState::Failed, format!("{HEAD}: {words}").as_str())));
    assert!(host.output().ends_with("not undone: stop web1: no answer\nundone: drain web1\n"), "{}", host.output());
}

#[test]
fn a_plan_that_cannot_be_done_is_not_begun() {
    let check = |said: PluginSaid, state: TaskState, words: &str| {
        let mut host = Host::acts(vec![action()]);
        assert_eq!(host.said(2, PluginAsk::Plan, said), None);
        let (ended, said) = host.end().expect("it is over");
        assert!(ended == state && said.contains(words), "{said}");
    };
    check(failed("no such backend"), TaskState::Failed, "server=web1: no such backend");
    check(PluginSaid::Refused("profile watch".into()), TaskState::Refused, "profile watch");
    let twice = PluginSaid::Planned(vec![part("a", true), part("a", true)]);
    check(twice, TaskState::Failed, "has two steps \"a\"");
    check(PluginSaid::Planned(vec![part("", true)]), TaskState::Failed, "its plan names a step \"\"");
    check(PluginSaid::Planned(vec![part("a", true); 65]), TaskState::Failed, "has 65 steps");
    check(PluginSaid::Planned(Vec::new()), TaskState::Succeeded, "nothing to do");
}

#[test]
fn it_ends_between_its_parts() {
    let begun = || {
        let mut host = Host::acts(vec![action()]);
        host.said(2, PluginAsk::Plan, plan());
        host.said(3, apply("drain"), applied());
        host
    };
    let mut cancelled = begun();
    cancelled.cancel(4, 1);
    assert_eq!(cancelled.end(), None, "what is under way is not broken off");
    assert_eq!(cancelled.said(5, apply("mark"), applied()), None);
    assert_eq!(cancelled.end(), Some((TaskState::Cancelled, "cancelled: by ada; done: drain web1, mark web1")));
    let mut late = begun();
    late.step(61, Input::Tick);
    let words = format!("it took longer than 1m, at {HEAD}; done: drain web1; perhaps: mark web1, which goes on");
    assert_eq!(late.end(), Some((TaskState::TimedOut, words.as_str())));
}

#[test]
fn a_plugin_that_is_not_there_is_waited_for() {
    let mut host = Host::acts(vec![action()]);
    let not_yet = || PluginSaid::NotYet("plugin haproxy-server is not ready here yet".into());
    assert_eq!(host.said(2, PluginAsk::Plan, not_yet()), None);
    host.step(3, Input::Tick);
    assert_eq!(host.said(4, PluginAsk::Plan, not_yet()), None);
    host.cancel(4, 1);
    assert_eq!(host.end(), Some((TaskState::Cancelled, "cancelled: by ada")));
    let mut host = Host::new();
    host.offer(1, TaskOffer { timeout: Duration::from_secs(600), ..offer(1, vec![action()]) });
    for seconds in 2..122 {
        host.said(seconds, PluginAsk::Plan, not_yet());
        assert_eq!(host.end(), None);
        host.step(seconds + 1, Input::Tick);
    }
    host.said(122, PluginAsk::Plan, not_yet());
    let words = format!("{HEAD}: plugin haproxy-server is not ready here yet, after 2m");
    assert_eq!(host.end(), Some((TaskState::Failed, words.as_str())));
}

#[test]
fn after_a_restart_the_same_is_asked_under_the_same_key() {
    let mut host = Host::acts(vec![action()]);
    assert_eq!(host.restarted(5).asked(), Some(PluginAsk::Plan));
    host.said(2, PluginAsk::Plan, plan());
    assert_eq!(host.restarted(5).asked(), Some(apply("drain")));
    host.said(3, apply("drain"), applied());
    assert_eq!(host.restarted(5).asked(), Some(apply("mark")));
    let late = host.restarted(90);
    let words = format!("it took longer than 1m, at {HEAD}; done: drain web1; perhaps: mark web1");
    assert_eq!(late.end(), Some((TaskState::TimedOut, words.as_str())));
    host.said(4, apply("mark"), failed("no"));
    let mut back = host.restarted(5);
    assert_eq!(back.asked(), Some(undo("drain")), "it goes back, and is not done again");
    back.said(6, undo("drain"), PluginSaid::Undone);
    let words = format!("{HEAD}: mark web1: no; undone: drain web1");
    assert_eq!(back.end(), Some((TaskState::Failed, words.as_str())));
    let words = format!("{HEAD}: mark web1: no; not undone: drain web1 (it is too late)");
    assert_eq!(host.restarted(90).end(), Some((TaskState::Failed, words.as_str())));
    host.cancel(5, 1);
    assert_eq!(host.restarted(6).asked(), Some(undo("drain")));
}

#[test]
fn a_part_that_cannot_be_written_down_is_not_begun() {
    let mut host = Host::acts(vec![action()]);
    host.said(2, PluginAsk::Plan, plan());
    host.said(3, apply("drain"), applied());
    let [Effect::Keep(kept), next, ..] = &host.effects[..] else { panic!("{:?}", host.effects) };
    assert_eq!(next.begun_by(kept), Some(0));
    host.ended(3, 1, 0, Fate::Failed("the disk is full".into()));
    assert_eq!(host.asked(), Some(undo("drain")));
    let [Effect::Keep(kept), next, ..] = &host.effects[..] else { panic!("{:?}", host.effects) };
    assert_eq!(next.begun_by(kept), None, "what is undone is undone all the same");
}
