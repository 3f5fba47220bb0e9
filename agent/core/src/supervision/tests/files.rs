//! Files of a running service: put first, taken up once, and never half.

use super::*;
use hostler_types::service::FileAssignment;
use hostler_types::spec::OnChange;

fn file(path: &str, digest: &str, change: OnChange) -> FileAssignment {
    FileAssignment {
        path: path.into(),
        digest: digest.into(),
        size_bytes: 0,
        validate: None,
        change,
        with: BTreeMap::new(),
        owner: None,
        mode: None,
    }
}

pub(super) fn with(files: &[(&str, &str, OnChange)]) -> ServiceAssignment {
    let mut api = service("api", &[]);
    api.files = files.iter().map(|(path, digest, change)| file(path, digest, *change)).collect();
    api.origins.insert("files".to_owned(), "demo.yaml:12".to_owned());
    api
}

pub(super) fn stood(print: u64) -> Stood {
    Stood { print, mode: 0o644, uid: 0, gid: 0 }
}

impl Host {
    /// What is asked for, and as which files.
    pub(super) fn puts(&self) -> Option<u64> {
        self.effects.iter().find_map(|one| if let Effect::PutFiles { op, .. } = one { Some(*op) } else { None })
    }

    pub(super) fn put(&mut self, op: Option<u64>, placed: &[(&str, u64, bool)], trouble: Option<Trouble>) {
        let wanted = self.supervisor.assignment(&name("api")).map(|one| files_fingerprint(one)).expect("assigned");
        let placed = placed.iter().map(|(path, print, changed)| Placed {
            path: (*path).to_owned(),
            print: *print,
            changed: *changed,
            stood: Some(stood(*print)),
        });
        let put = FilesPut { op, wanted, placed: placed.collect(), trouble, found: Vec::new() };
        self.step(Input::FilesPut { service: name("api"), put });
    }

    pub(super) fn reloads(&self) -> bool {
        self.effects.contains(&Effect::Reload { key: key("api") })
    }

    fn stops(&self) -> bool {
        self.effects.iter().any(|one| matches!(one, Effect::Stop { .. }))
    }

    /// Started with `/a` and `/b` in their first version.
    pub(super) fn with_files(change: OnChange) -> Self {
        let mut host = Self::new(vec![with(&[("/a", "1", change), ("/b", "1", OnChange::Reload)])]);
        let op = host.op();
        host.put(None, &[("/a", 1, true), ("/b", 1, true)], None);
        assert!(!host.reloads(), "it reads them as it starts");
        host.step(Input::Started { key: key("api"), op, result: Ok(Some(7)) });
        host.after(30).check(true, CheckState::Passing);
        assert_eq!(host.puts(), None, "they stand there");
        host
    }

    fn wants(&mut self, change: OnChange, version: &str) {
        self.step(Input::Configure(vec![with(&[("/a", version, change), ("/b", version, OnChange::Reload)])]));
    }
}

#[test]
fn changed_files_are_put_and_taken_up_once() {
    let mut host = Host::with_files(OnChange::Reload);
    host.wants(OnChange::Reload, "1");
    assert!(host.effects.is_empty(), "the same again is nothing: {:?}", host.effects);
    host.wants(OnChange::Reload, "2");
    let op = host.puts();
    assert!(op.is_some() && !host.stops() && !host.reloads(), "{:?}", host.effects);
    host.step(Input::Tick);
    assert_eq!(host.puts(), None, "they are being put");
    host.put(op, &[("/a", 2, true), ("/b", 2, true)], None);
    assert_eq!(host.effects.iter().filter(|one| matches!(one, Effect::Reload { .. })).count(), 1);
    let act = host.act();
    assert_eq!(
        (act.deed, act.origin.as_str(), act.rule.as_str()),
        (Deed::Reloaded, "demo.yaml:12", "files: change = reload")
    );
    assert_eq!(act.saw, ["changed /a, /b"]);
    host.step(Input::Reloaded { key: key("api"), result: Ok(()) });
    assert_eq!(host.act().result.as_deref(), Some("reloaded"));
    host.after(1_000).step(Input::Tick);
    assert!(!host.reloads() && host.puts().is_none());
    // The agent after this one knows.
    let mut next = Supervisor::new(2, host.supervisor.kept());
    next.step(host.now, Input::Configure(vec![with(&[("/a", "2", OnChange::Reload), ("/b", "2", OnChange::Reload)])]));
    let seen = Seen::Running { pid: Some(7), age: None };
    next.step(host.now, Input::Looked { key: key("api"), seen });
    assert_eq!(next.placed(&name("api")), [("/a".to_owned(), 2), ("/b".to_owned(), 2)].into());
}

#[test]
fn a_restart_does_a_reloads_work_and_nothing_is_nothing() {
    let mut host = Host::with_files(OnChange::Restart);
    host.wants(OnChange::Restart, "2");
    let op = host.puts();
    host.put(op, &[("/a", 2, true), ("/b", 2, true)], None);
    assert!(host.stops() && !host.reloads(), "{:?}", host.effects);
    assert_eq!((host.act().deed, host.act().rule.as_str()), (Deed::Restarted, "files: change = restart"));
    let op = host.op();
    host.step(Input::Stopped { key: key("api"), op, result: Ok(()) });
    let op = host.op();
    host.put(None, &[("/a", 2, false), ("/b", 2, false)], None);
    host.step(Input::Started { key: key("api"), op, result: Ok(Some(8)) });
    assert!(!host.stops() && host.puts().is_none(), "{:?}", host.effects);

    let mut host = Host::new(vec![with(&[("/a", "1", OnChange::Nothing)])]);
    host.put(None, &[("/a", 1, true)], None);
    host.step(Input::Started { key: key("api"), op: 1, result: Ok(Some(7)) });
    host.step(Input::Configure(vec![with(&[("/a", "2", OnChange::Nothing)])]));
    let op = host.puts();
    host.put(op, &[("/a", 2, true)], None);
    assert_eq!(host.effects, [Effect::Keep, Effect::Keep]);
}

#[test]
fn a_bad_file_is_told_once_and_holds_back_what_came_with_it() {
    let mut host = Host::with_files(OnChange::Reload);
    host.wants(OnChange::Reload, "2");
    let op = host.puts();
    let bad = || Some(Trouble::Failed("nginx finds fault with the new /b\nline 3: unknown".into()));
    host.put(op, &[("/a", 2, true)], bad());
    assert!(!host.reloads());
    let act = host.act();
    assert_eq!(
        (act.deed, act.saw.as_slice()),
        (Deed::Failed, ["nginx finds fault with the new /b".to_owned()].as_slice())
    );
    assert_eq!(act.tail, ["line 3: unknown"]);
    assert_eq!(
        host.state("api"),
        (ServiceState::Running, "with its old files: nginx finds fault with the new /b".into())
    );
    host.after(3_600_000).step(Input::Tick);
    assert_eq!(host.puts(), None, "not in a loop");
    // Asked for, it is tried again; mended, all of it is taken up.
    let order =
        Order { id: 1, service: name("api"), verb: ServiceVerb::Reload, by: "ada".into(), reason: String::new() };
    host.step(Input::Order(order));
    let op = host.puts();
    assert!(op.is_some());
    host.put(op, &[("/a", 2, false)], bad());
    host.step(Input::Reloaded { key: key("api"), result: Ok(()) });
    host.wants(OnChange::Reload, "3");
    let op = host.puts();
    host.put(op, &[("/a", 3, true), ("/b", 3, true)], None);
    assert!(host.reloads() && host.state("api").1.is_empty());
}

#[test]
fn brakes_and_lost_ways_wait() {
    let mut host = Host::with_files(OnChange::Reload);
    let brake = Brake { kind: BrakeKind::Frozen, check: None, until: None, words: "by ada".into() };
    host.step(Input::Brakes(vec![brake]));
    host.wants(OnChange::Reload, "2");
    assert_eq!(host.puts(), None);
    host.step(Input::Brakes(Vec::new()));
    let op = host.puts();
    assert!(op.is_some());
    host.put(op, &[], Some(Trouble::Lost("no connection".into())));
    assert_eq!(host.puts(), None);
    let again = host.supervisor.next_deadline(host.now).expect("a deadline");
    assert_eq!(again, host.now.monotonic + RETRY);
    host.step(Input::Link { connected: true });
    let op = host.puts();
    // It was put after all, and nobody heard of it.
    host.put(op, &[("/a", 2, false), ("/b", 2, false)], None);
    assert!(host.reloads(), "{:?}", host.effects);
}

#[test]
fn what_was_there_before_us_is_taken_as_read() {
    let mut nginx = with(&[("/a", "1", OnChange::Reload)]);
    nginx.runs = Runs::Unit { name: "nginx.service".into(), restarter: Restarter::Unit };
    for (changed, reloads) in [(false, false), (true, true)] {
        let mut host = Host::new(Vec::new());
        host.step(Input::Configure(vec![nginx.clone()]));
        host.step(Input::Looked { key: key("api"), seen: Seen::Running { pid: Some(4), age: None } });
        let op = host.puts();
        host.put(op, &[("/a", 1, changed)], None);
        assert_eq!(host.reloads(), reloads, "changed: {changed}");
    }
}
