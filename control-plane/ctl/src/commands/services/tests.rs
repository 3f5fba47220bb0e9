use super::*;

const NOW: u64 = 1_781_000_000_000;

fn row(node: &str, service: &str, state: &str) -> wire::ServiceRow {
    wire::ServiceRow {
        service: service.into(),
        node: node.into(),
        state: state.into(),
        since_ms: NOW - 31_000,
        pid: 40_712,
        started_ms: NOW - 31_000,
        restarts: 3,
        usage: Some(agent_wire::Usage {
            cpu_us: 1_234_567,
            memory_bytes: 48 << 20,
            processes: 3,
            open_files: 21,
            connections: 4,
            ..Default::default()
        }),
        node_state: "ready".into(),
        system: "demo".into(),
        replicas: 1,
        ..Default::default()
    }
}

fn rows() -> Vec<wire::ServiceRow> {
    vec![
        row("dev1", "hello", "running"),
        wire::ServiceRow {
            pid: 0,
            usage: None,
            words: "ended by KILL; again in 20s".into(),
            ..row("web2", "hello", "backoff")
        },
        wire::ServiceRow { replicas: 2, ..row("web2", "api", "running") },
        wire::ServiceRow {
            replicas: 2,
            replica: 1,
            words: "not heard of yet".into(),
            since_ms: 0,
            pid: 0,
            usage: None,
            ..row("web2", "api", "unknown")
        },
        wire::ServiceRow { node_state: "lost".into(), ..row("web3", "hello", "running") },
        wire::ServiceRow { pid: 0, stopped: true, usage: None, ..row("web4", "x\u{1b}[2J", "stopped") },
    ]
}

fn snapshot(name: &str, text: &str) {
    insta::assert_snapshot!(name, text);
}

#[test]
fn a_listing() {
    snapshot("list", &table(&Out::plain(None), &rows(), NOW));
}

#[test]
fn everything_about_one() {
    let check = wire::Check {
        node: "dev1".into(),
        check: "hello".into(),
        state: "passing".into(),
        since_ms: NOW - 40_000,
        summary: "200 in 1.2 ms".into(),
        ..Default::default()
    };
    let need = |service: &str, well, state: &str| wire::ServiceNeed {
        node: "dev1".into(),
        service: service.into(),
        well,
        state: state.into(),
    };
    let one = wire::GetServiceResponse {
        name: "hello".into(),
        system: "demo".into(),
        origin: "demo/hello.yaml:3".into(),
        r#type: "process".into(),
        runs: "bin/hello --port 8080".into(),
        r#where: "role=web".into(),
        replicas: 1,
        needs: vec![need("db", true, "running"), need("cache", false, "crashing")],
        live: vec!["hello".into()],
        heal: vec!["restart".into(), "page".into()],
        restart: "at once, then after 1s, growing up to 5m; 5 attempts in 10m".into(),
        stop: "by TERM, killed after 30s".into(),
        rows: vec![row("dev1", "hello", "running")],
        checks: vec![check],
        wall_ms: NOW,
        ..Default::default()
    };
    snapshot("show", &shown(&Out::plain(None), &one));
    let nowhere = wire::GetServiceResponse { rows: Vec::new(), replicas: 2, ..one };
    snapshot("show-nowhere", &shown(&Out::plain(None), &nowhere));
}

#[test]
fn what_it_printed_and_what_was_done() {
    let tail = |node: &str, lines: &[&str], words: &str| wire::ServiceTail {
        node: node.into(),
        lines: lines.iter().map(|line| line.to_string()).collect(),
        words: words.into(),
    };
    let all = [tail("dev1", &["started", "ready\u{1b}[2J"], ""), tail("web2", &[], "is lost")];
    let mut text = tails(&Out::plain(None), &all);
    text.push_str(&format!("\n{}\n", tails(&Out::plain(None), &all[..1])));
    let act = |at_ms: u64, deed: &str, by: &str, result: &str| wire::ServiceAct {
        node: "dev1".into(),
        act: Some(agent_wire::Act {
            id: "a7Q2".into(),
            at_ms,
            service: "hello".into(),
            deed: deed.into(),
            by: by.into(),
            saw: vec!["ended by KILL after 3m".into(), "more".into()],
            refused: vec!["frozen by kim until 15:07".into()],
            result: result.into(),
            ..Default::default()
        }),
    };
    let acts_of = wire::ListActsResponse {
        acts: vec![
            act(NOW - 1_000, "restarted", "", "passing 4.3 s later"),
            act(NOW - 60_000, "held", "", ""),
            act(NOW - 90_000_000, "stopped", "kim", "ended in 0.2 s"),
        ],
        wall_ms: NOW,
    };
    text.push_str(&acts(&Out::plain(None), &acts_of));
    snapshot("logs-and-history", &text);
}
