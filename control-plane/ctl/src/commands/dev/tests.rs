use super::*;
use hostler_proto::agent::Act;

const BEGAN: u64 = 1_781_013_772_000;

fn check(state: &str, since: u64, last_run: u64, summary: &str) -> wire::Check {
    wire::Check {
        check: "hello".into(),
        state: state.into(),
        since_ms: BEGAN + since,
        last_run_ms: BEGAN + last_run,
        summary: summary.into(),
        every_ms: 2_000,
        fails: 3,
        passes: 2,
        ..Default::default()
    }
}

fn row(pid: u32, started: u64) -> wire::ServiceRow {
    wire::ServiceRow {
        service: "hello".into(),
        node: "dev1".into(),
        state: "running".into(),
        pid,
        started_ms: BEGAN + started,
        ..Default::default()
    }
}

fn act(id: &str, at: u64, deed: &str, rule: &str) -> Act {
    Act {
        id: id.into(),
        at_ms: BEGAN + at,
        service: "hello".into(),
        deed: deed.into(),
        rule: rule.into(),
        allowed: vec!["attempts 0 of 3 in 10m".into()],
        ..Default::default()
    }
}

fn event(at: u64, message: &str) -> wire::Event {
    wire::Event { at_ms: BEGAN + at, subject: "hello".into(), message: message.into(), ..Default::default() }
}

fn told(before: Seen, then: &[Seen]) -> (String, Watch) {
    let mut watch = Watch::new(BEGAN, &before);
    let lines = then.iter().flat_map(|seen| watch.see(seen)).map(|line| format!("{line}\n")).collect();
    (lines, watch)
}

fn before() -> Seen {
    // It ran a moment before the break.
    let check = wire::Check { last_run_ms: BEGAN - 600, ..check("passing", 0, 0, "200 in 1.2 ms") };
    let row = wire::ServiceRow { started_ms: BEGAN - 60_000, ..row(39880, 0) };
    Seen { check, row, acts: vec![act("a001", 0, "started", "start")], events: Vec::new() }
}

fn failing(at: u64) -> Seen {
    Seen { check: check("passing", 0, at, "503, want 200"), ..before() }
}

const CRITICAL: &str = "passing -> critical: 503, want 200 (3 of 3)";
const PASSING: &str = "critical -> passing: 200 in 1.0 ms (2 of 2)";

#[test]
fn as_in_the_first_ten_minutes() {
    let acts = || vec![act("a001", 0, "started", "start"), act("a002", 5_400, "restarted", "heal[0] = restart")];
    let critical = || check("critical", 5_400, 5_400, "503, want 200");
    let (lines, watch) = told(
        before(),
        &[
            // Nothing is known that was not before.
            before(),
            failing(1_400),
            failing(1_400),
            failing(3_400),
            Seen { check: critical(), acts: acts(), events: vec![event(5_400, CRITICAL)], ..before() },
            Seen { check: critical(), row: row(40712, 5_700), acts: acts(), events: Vec::new() },
            Seen {
                check: check("passing", 9_700, 9_700, "200 in 1.0 ms"),
                row: row(40712, 5_700),
                acts: acts(),
                events: vec![event(9_700, PASSING)],
            },
        ],
    );
    insta::assert_snapshot!(lines, @"
      +1.4s  check   hello  503, want 200 (1 of 3)
      +3.4s  check   hello  503, want 200 (2 of 3)
      +5.4s  check   hello  passing -> critical: 503, want 200 (3 of 3)
      +5.4s  heal    hello  restart, attempt 1 of 3 in 10m -> taken
      +5.7s  service hello  running, pid 40712; old pid 39880 ended
      +9.7s  check   hello  critical -> passing (2 of 2)
    ");
    assert_eq!(watch.healed(), Some(Duration::from_millis(4_300)));
}

#[test]
fn a_healing_between_two_looks_is_told_whole() {
    let acts = vec![act("a001", 0, "started", "start"), act("a002", 5_402, "restarted", "heal[0] = restart")];
    let check = check("passing", 5_480, 5_480, "200 in 1.0 ms");
    let events = vec![event(5_400, CRITICAL), event(5_480, PASSING)];
    let first = Seen { check: check.clone(), row: before().row, acts: Vec::new(), events };
    // What the node says of its service may come a little later than the rest.
    let then = Seen { check, row: row(40712, 5_450), acts, events: Vec::new() };
    let (_, early) = told(before(), std::slice::from_ref(&first));
    assert_eq!(early.healed(), None);
    let (lines, watch) = told(before(), &[failing(3_400), first, then]);
    insta::assert_snapshot!(lines, @"
      +3.4s  check   hello  503, want 200 (2 of 3)
      +5.4s  check   hello  passing -> critical: 503, want 200 (3 of 3)
      +5.5s  check   hello  critical -> passing (2 of 2)
      +5.4s  heal    hello  restart, attempt 1 of 3 in 10m -> taken
      +5.5s  service hello  running, pid 40712; old pid 39880 ended
    ");
    assert_eq!(watch.healed(), Some(Duration::from_millis(80)));
}

#[test]
fn what_is_held_and_what_comes_late_is_told() {
    let held = Act {
        refused: vec!["frozen by admin".into()],
        allowed: Vec::new(),
        ..act("a002", 5_400, "held", "heal[0] = restart")
    };
    let crashed = Act { saw: vec!["ended with 1 after 2 s".into()], ..act("a003", 12_000, "ended", "restart") };
    // All of it at once, after a pause of whoever watches.
    let seen = Seen {
        check: check("critical", 5_400, 11_400, "503, want 200"),
        row: row(0, 0),
        acts: vec![held, crashed],
        events: vec![event(5_400, CRITICAL)],
    };
    let (lines, watch) = told(before(), &[seen]);
    insta::assert_snapshot!(lines, @"
      +5.4s  check   hello  passing -> critical: 503, want 200 (3 of 3)
      +5.4s  heal    hello  restart -> held: frozen by admin
     +12.0s  service hello  ended: ended with 1 after 2 s
    ");
    assert_eq!(watch.healed(), None);
}

#[test]
fn what_fails_just_after_its_start_is_not_counted() {
    assert_eq!(watch::START_GRACE, hostler_agent_core::supervision::START_GRACE);
    let just = |seen: Seen| Seen { row: wire::ServiceRow { started_ms: BEGAN - 26_000, ..row(39880, 0) }, ..seen };
    let seen: Vec<Seen> = [1_400, 3_400, 5_400, 7_400].map(|at| just(failing(at))).into();
    let (lines, _) = told(just(before()), &seen);
    insta::assert_snapshot!(lines, @"
      +1.4s  check   hello  503, want 200 (not counted yet: it was just started)
      +5.4s  check   hello  503, want 200 (1 of 3)
      +7.4s  check   hello  503, want 200 (2 of 3)
    ");
}

#[test]
fn only_a_demo_of_this_machine_is_broken() {
    let service = |runs: &str| wire::GetServiceResponse {
        name: "hello".into(),
        runs: runs.into(),
        rows: vec![row(std::process::id(), 0)],
        ..Default::default()
    };
    assert_eq!(port("hello", &service("hostler-agent demo --port 7484")).ok(), Some(7484));
    let words = |problem: Result<u16, Problem>| problem.map_err(|problem| problem.to_string()).unwrap_err();
    assert!(words(port("hello", &service("bin/shop"))).contains("which is no demo"));
    let elsewhere = here("hello", &service("hostler-agent demo --port 7484")).map_err(|problem| problem.to_string());
    assert!(elsewhere.unwrap_err().contains("hello does not run on this machine (running on dev1)"));
}

#[test]
fn what_is_not_the_demo_is_not_believed() {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("a port").port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a caller");
        let _ = stream.read(&mut [0; 512]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n");
    });
    assert!(break_it(port).unwrap_err().to_string().contains("something else"));
    server.join().expect("served");
}
