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

fn told(before: Seen, then: &[Seen]) -> (String, Watch) {
    let mut watch = Watch::new(BEGAN, &before);
    let lines = then.iter().flat_map(|seen| watch.see(seen)).map(|line| format!("{line}\n")).collect();
    (lines, watch)
}

fn before() -> Seen {
    let old = act("a001", 0, "started", "start");
    // It ran a moment before the break.
    let check = wire::Check { last_run_ms: BEGAN - 600, ..check("passing", 0, 0, "200 in 1.2 ms") };
    Seen { check, row: wire::ServiceRow { started_ms: BEGAN - 60_000, ..row(39880, 0) }, acts: vec![old] }
}

#[test]
fn as_in_the_first_ten_minutes() {
    let failing = |at| check("passing", 0, at, "503, want 200");
    let critical = check("critical", 5_400, 5_400, "503, want 200");
    let acts = || vec![act("a001", 0, "started", "start"), act("a002", 5_400, "restarted", "heal[0] = restart")];
    let seen = |check, row, acts| Seen { check, row, acts };
    let (lines, watch) = told(
        before(),
        &[
            // Nothing is known that was not before.
            before(),
            seen(failing(1_400), row(39880, 0), before().acts),
            seen(failing(1_400), row(39880, 0), before().acts),
            seen(failing(3_400), row(39880, 0), before().acts),
            seen(critical.clone(), row(39880, 0), acts()),
            seen(critical, row(40712, 5_700), acts()),
            seen(check("critical", 5_400, 7_700, "200 in 1.0 ms"), row(40712, 5_700), acts()),
            seen(check("passing", 9_700, 9_700, "200 in 1.0 ms"), row(40712, 5_700), acts()),
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
fn what_is_held_and_what_comes_late_is_told() {
    let held = Act {
        refused: vec!["frozen by admin".into()],
        allowed: Vec::new(),
        ..act("a002", 5_400, "held", "heal[0] = restart")
    };
    let crashed = Act { saw: vec!["ended with 1 after 2 s".into()], ..act("a003", 12_000, "ended", "restart") };
    let critical = check("critical", 5_400, 11_400, "503, want 200");
    // All of it at once, after a pause of whoever watches.
    let (lines, watch) = told(before(), &[Seen { check: critical, row: row(0, 0), acts: vec![held, crashed] }]);
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
    let just = || Seen { row: wire::ServiceRow { started_ms: BEGAN - 26_000, ..row(39880, 0) }, ..before() };
    let failing = |at| Seen { check: check("passing", 0, at, "503, want 200"), ..just() };
    let (lines, _) = told(just(), &[failing(1_400), failing(3_400), failing(5_400), failing(7_400)]);
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
    assert_eq!(port(&service("hostler-agent demo --port 7484")).ok(), Some(7484));
    let words = |problem: Result<u16, Problem>| problem.map_err(|problem| problem.to_string()).unwrap_err();
    assert!(words(port(&service("bin/shop"))).contains("which is no demo"));
    let elsewhere = here(&service("hostler-agent demo --port 7484")).map_err(|problem| problem.to_string());
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
