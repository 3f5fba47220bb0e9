//! What others do to the files of a service: told once, left or put back, and never
//! fought over.

use super::files::{stood, with};
use super::*;
use hostler_types::spec::{Drift, OnChange};

const MINUTE: u64 = 60_000;

impl Host {
    /// Of `/a` and `/b`, both in their first version.
    fn drifting(drift: Drift) -> Self {
        let mut host = Self::with_files(OnChange::Reload);
        host.wants_drift(drift, "1");
        host
    }

    fn wants_drift(&mut self, drift: Drift, version: &str) {
        let mut api = with(&[("/a", version, OnChange::Reload), ("/b", version, OnChange::Reload)]);
        api.drift = drift;
        api.origins.insert("drift".to_owned(), "demo.yaml:20".to_owned());
        self.step(Input::Configure(vec![api]));
    }

    /// A minute later `/a` stands so.
    fn finds(&mut self, stands: Stands) {
        self.after(MINUTE);
        let looking = self.supervisor.to_look_at().into_iter().next().expect("files to look at");
        self.finds_of(looking.era, stands);
    }

    fn finds_of(&mut self, era: u64, stands: Stands) {
        let changed = Some(self.now.wall.minus(Duration::from_secs(23)));
        let found = vec![Found { path: "/a".into(), mark: None, stands: Some(stands), changed }];
        self.step(Input::FilesLooked { service: name("api"), era, found });
    }

    fn is_put_back(&mut self) {
        let op = self.puts();
        assert!(op.is_some(), "{:?}", self.effects);
        assert!(!self.supervisor.placed(&name("api")).contains_key("/a"), "it is put, whatever was known of it");
        self.put(op, &[("/a", 1, true)], None);
    }
}

fn other(print: u64) -> Stands {
    Stands::There(stood(print))
}

#[test]
fn what_is_left_is_told_once_until_it_changes_or_is_put_right() {
    let mut host = Host::drifting(Drift::Alarm);
    host.finds(other(1));
    assert!(host.effects.is_empty(), "it stands as it was put: {:?}", host.effects);
    host.finds(Stands::There(Stood { mode: 0o600, uid: 33, ..stood(9) }));
    let act = host.act();
    assert_eq!((act.deed, act.rule.as_str(), act.origin.as_str()), (Deed::Drifted, "drift = alarm", "demo.yaml:20"));
    assert_eq!(act.saw, ["/a: content, mode 0600 instead of 0644, owner 33:0 instead of 0:0", "by others, 23.0 s ago"]);
    assert_eq!(act.result.as_deref(), Some("left as it is"));
    assert!(host.puts().is_none() && !host.reloads());
    let words = "changed by others: /a (content, mode 0600 instead of 0644, owner 33:0 instead of 0:0)";
    assert_eq!(host.state("api"), (ServiceState::Running, words.into()));
    host.finds(Stands::There(Stood { mode: 0o600, uid: 33, ..stood(9) }));
    assert!(host.effects.is_empty(), "{:?}", host.effects);

    // The agent after this one knows, too.
    let mut next = Supervisor::new(2, host.supervisor.kept());
    let assignment = host.supervisor.assignment(&name("api")).map(|one| (**one).clone()).expect("assigned");
    next.step(host.now, Input::Configure(vec![assignment]));
    host.supervisor = next;
    host.step(Input::Looked { key: key("api"), seen: Seen::Running { pid: Some(7), age: None } });
    let op = host.puts();
    host.put(op, &[], None);
    host.finds(Stands::There(Stood { mode: 0o600, uid: 33, ..stood(9) }));
    assert!(!host.effects.iter().any(|one| matches!(one, Effect::Record(_))), "{:?}", host.effects);

    host.finds(Stands::Gone);
    assert_eq!(host.act().saw[0], "/a: gone");
    assert!(host.act().result.as_deref().is_some_and(|words| words.contains("put back for the next start")));
    host.finds(other(1));
    let act = host.act();
    assert_eq!((act.deed, act.by.as_str()), (Deed::Repaired, "somebody on the host"));
    assert_eq!(host.state("api").1, "");
}

#[test]
fn what_is_repaired_is_taken_up_once() {
    let mut host = Host::drifting(Drift::Repair);
    host.finds(other(9));
    host.is_put_back();
    let acts: Vec<(Deed, String)> = host
        .effects
        .iter()
        .filter_map(|one| if let Effect::Record(act) = one { Some((act.deed, act.to_string())) } else { None })
        .collect();
    assert_eq!(
        acts[..2],
        [
            (Deed::Repaired, "repaired by itself: /a: content; put back as the spec says".to_owned()),
            (Deed::Reloaded, "reloaded by itself: changed /a".to_owned())
        ]
    );
    host.step(Input::Reloaded { key: key("api"), result: Ok(()) });
    host.finds(other(1));
    assert!(host.effects.is_empty(), "{:?}", host.effects);
}

#[test]
fn a_fight_is_given_up_and_begun_again_after_an_hour() {
    let mut host = Host::drifting(Drift::Repair);
    for content in 0..3 {
        host.finds(other(9 + content));
        host.is_put_back();
        host.step(Input::Reloaded { key: key("api"), result: Ok(()) });
    }
    host.finds(other(20));
    assert_eq!(host.puts(), None);
    let act = host.act();
    assert_eq!(act.deed, Deed::Drifted);
    assert!(act.refused[0].starts_with("put back 3 times in 10m, and changed again"), "{act:?}");
    for content in 21..40 {
        host.finds(other(content));
        let told = host.effects.iter().any(|one| matches!(one, Effect::Record(_)));
        assert!(host.puts().is_none() && !told, "{:?}", host.effects);
    }
    let at = host.supervisor.next_deadline(host.now).expect("an end");
    host.now = host.now.plus(at.saturating_sub(host.now.monotonic));
    host.step(Input::Tick);
    host.is_put_back();
}

#[test]
fn who_puts_it_right_ends_the_fight() {
    let mut host = Host::drifting(Drift::Repair);
    for _ in 0..3 {
        host.finds(other(9));
        host.is_put_back();
        host.step(Input::Reloaded { key: key("api"), result: Ok(()) });
    }
    host.finds(other(9));
    host.finds(other(1));
    assert_eq!((host.act().deed, host.act().by.as_str()), (Deed::Repaired, "somebody on the host"));
    host.finds(other(9));
    host.is_put_back();
}

#[test]
fn what_flaps_is_not_told_without_end() {
    let mut host = Host::drifting(Drift::Alarm);
    let mut told = 0;
    for content in 0..30 {
        host.finds(other(if content % 2 == 0 { 9 } else { 1 }));
        told += host.effects.iter().filter(|one| matches!(one, Effect::Record(_))).count();
    }
    assert!(told <= 8, "{told}");
}

#[test]
fn brakes_and_a_service_that_does_not_run_hold_repairs_back() {
    let mut host = Host::drifting(Drift::Repair);
    let brake = Brake { kind: BrakeKind::Maintenance, check: None, until: None, words: "by ada".into() };
    host.step(Input::Brakes(vec![brake]));
    host.finds(other(9));
    assert_eq!(
        (host.act().deed, host.act().refused.as_slice()),
        (Deed::Drifted, ["maintenance by ada".into()].as_slice())
    );
    for content in 10..15 {
        host.finds(other(content));
        assert!(!host.effects.iter().any(|one| matches!(one, Effect::Record(_))), "told once: {:?}", host.effects);
    }
    host.step(Input::Brakes(Vec::new()));
    host.is_put_back();
    host.step(Input::Reloaded { key: key("api"), result: Ok(()) });

    let stop = Order { id: 1, service: name("api"), verb: ServiceVerb::Stop, by: "ada".into(), reason: String::new() };
    host.step(Input::Order(stop));
    let op = host.op();
    host.step(Input::Stopped { key: key("api"), op, result: Ok(()) });
    host.finds(other(9));
    assert_eq!(host.act().refused, ["it does not run: put back when it is started"]);
    let start =
        Order { id: 2, service: name("api"), verb: ServiceVerb::Start, by: "ada".into(), reason: String::new() };
    host.step(Input::Order(start));
    let op = host.op();
    host.put(None, &[("/a", 1, true), ("/b", 1, false)], None);
    assert_eq!((host.act().deed, host.act().result.as_deref()), (Deed::Repaired, Some("put back as the spec says")));
    host.step(Input::Started { key: key("api"), op, result: Ok(Some(8)) });
    assert!(!host.reloads(), "it read them as it started");
}

#[test]
fn a_repair_that_fails_leaves_the_spec_as_good_as_it_was() {
    let mut host = Host::drifting(Drift::Repair);
    host.finds(other(9));
    let op = host.puts();
    host.put(op, &[], Some(Trouble::Failed("nginx finds fault with the new /a\nline 3".into())));
    let act = host.act();
    assert_eq!(act.deed, Deed::Drifted);
    assert_eq!(act.refused, ["it can't be put back: nginx finds fault with the new /a; tried again in 1h"]);
    assert!(host.state("api").1.starts_with("changed by others: /a"), "{:?}", host.state("api"));
    for _ in 0..20 {
        host.finds(other(9));
        assert!(host.effects.is_empty(), "{:?}", host.effects);
    }
    host.after(3_600_000).step(Input::Tick);
    host.is_put_back();
}

#[test]
fn what_our_own_hand_did_meanwhile_is_no_drift() {
    let mut host = Host::drifting(Drift::Alarm);
    let era = host.supervisor.to_look_at()[0].era;
    host.wants_drift(Drift::Alarm, "2");
    let op = host.puts();
    assert!(host.supervisor.to_look_at().is_empty(), "they are being put");
    host.finds_of(era, other(2));
    host.put(op, &[("/a", 2, true), ("/b", 2, true)], None);
    host.step(Input::Reloaded { key: key("api"), result: Ok(()) });
    host.finds_of(era, other(1));
    assert_eq!(host.state("api"), (ServiceState::Running, String::new()));
    // And what the spec does not name any more anybody may change.
    host.step(Input::Configure(vec![with(&[("/b", "2", OnChange::Reload)])]));
    assert!(host.supervisor.to_look_at().iter().all(|one| one.files.iter().all(|(path, _)| path == "/b")));
}

#[test]
fn a_newer_spec_takes_the_place_of_what_others_left() {
    let mut host = Host::drifting(Drift::Alarm);
    host.finds(other(9));
    host.wants_drift(Drift::Alarm, "2");
    let op = host.puts();
    host.put(op, &[("/a", 2, true), ("/b", 2, true)], None);
    let said =
        |one: &Effect| matches!(one, Effect::Record(act) if act.to_string().contains("newer one took its place"));
    assert!(host.effects.iter().any(said), "{:?}", host.effects);
    assert!(host.reloads());
}

#[test]
fn a_written_unit_is_watched_and_put_back() {
    let mut web = service("web", &[]);
    web.runs = Runs::Written { name: "web.service".into(), program: Program::default() };
    web.drift = Drift::Repair;
    let path = "/etc/systemd/system/web.service";
    let mut host = Host::new(vec![web]);
    let unit = |changed| Placed { path: path.to_owned(), print: 5, changed, stood: Some(stood(5)) };
    host.step(Input::UnitPut { service: name("web"), put: Ok(unit(true)) });
    host.step(Input::Started { key: key("web"), op: 1, result: Ok(Some(7)) });
    let looking = host.supervisor.to_look_at();
    assert_eq!(looking[0].files, [(path.to_owned(), None)]);
    let found = vec![Found { path: path.to_owned(), mark: Some(3), stands: Some(other(6)), changed: None }];
    let looked = Input::FilesLooked { service: name("web"), era: looking[0].era, found };
    host.step(looked);
    assert!(host.effects.contains(&Effect::PutUnit { service: name("web") }), "{:?}", host.effects);
    host.step(Input::UnitPut { service: name("web"), put: Ok(unit(true)) });
    assert_eq!(
        host.act().to_string(),
        "repaired by itself: /etc/systemd/system/web.service: content; put back as the spec says"
    );
    host.step(Input::Tick);
    assert!(host.effects.is_empty(), "{:?}", host.effects);
}
