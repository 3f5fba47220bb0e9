use super::*;

const NOW: u64 = 1_781_013_772_000;

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|text| text.to_string()).collect()
}

fn restarted() -> Act {
    Act {
        id: "a7Q2".into(),
        at_ms: NOW - 37_000,
        service: "hello".into(),
        deed: "restarted".into(),
        saw: texts(&["check hello critical: \"503, want 200\", 3 of 3"]),
        rule: "heal[0] = restart".into(),
        origin: "demo/hello.yaml:9".into(),
        allowed: texts(&["attempts 0 of 3", "budget web 0 of 1 down", "brake: 1 node fails, under 3", "not frozen"]),
        refused: texts(&["rollback: hello has no earlier release", "page: comes after 2 restarts"]),
        result: "passing 4.3 s later".into(),
        ..Default::default()
    }
}

fn service(states: &[(&str, &str, &str)]) -> wire::GetServiceResponse {
    let row = |(node, state, words): &(&str, &str, &str)| wire::ServiceRow {
        service: "hello".into(),
        node: node.to_string(),
        state: state.to_string(),
        since_ms: NOW - 31_000,
        words: words.to_string(),
        node_state: "ready".into(),
        replicas: 1,
        ..Default::default()
    };
    let check = |node: &str, check: &str, state: &str| wire::Check {
        node: node.into(),
        check: check.into(),
        state: state.into(),
        since_ms: NOW - 31_000,
        ..Default::default()
    };
    wire::GetServiceResponse {
        name: "hello".into(),
        live: vec!["hello".into()],
        rows: states.iter().map(row).collect(),
        checks: vec![
            check("dev1", "hello", "passing"),
            check("web2", "hello", "critical"),
            check("web2", "z", "critical"),
        ],
        wall_ms: NOW,
        ..Default::default()
    }
}

fn answer(acts: Vec<(&str, Act)>) -> wire::ListActsResponse {
    let acts = acts.into_iter().map(|(node, act)| wire::ServiceAct { node: node.into(), act: Some(act) }).collect();
    wire::ListActsResponse { acts, wall_ms: NOW }
}

#[test]
fn as_in_the_first_ten_minutes() {
    let text = told(&service(&[("dev1", "running", "")]), &answer(vec![("dev1", restarted())]));
    insta::assert_snapshot!("why", text);
}

#[test]
fn what_ended_badly_what_was_held_and_what_nobody_did() {
    let crashing = Act {
        id: "b001".into(),
        deed: "crashing".into(),
        saw: texts(&["ended with 1 after 0.1 s", "5 of 5 attempts in 10m"]),
        rule: "restart".into(),
        allowed: Vec::new(),
        refused: texts(&["restart: goes on slowly, next in 5m"]),
        result: String::new(),
        tail: texts(&["thread 'main' panicked", "  no disk\u{1b}[2J"]),
        ..restarted()
    };
    let held = Act {
        id: "c44".into(),
        at_ms: NOW - 90_000_000,
        deed: "held".into(),
        by: "kim".into(),
        origin: String::new(),
        refused: texts(&["frozen by kim until 15:07: storage work"]),
        result: String::new(),
        ..restarted()
    };
    let service = service(&[("dev1", "running", ""), ("web2", "unwell", ""), ("web3", "crashing", "next try in 4m")]);
    let acts = vec![("web3", crashing), ("web2", held), ("old1", restarted())];
    insta::assert_snapshot!("why-many", told(&service, &answer(acts)));
}

#[test]
fn each_node_has_its_newest() {
    let mut answer = answer(vec![("a", restarted()), ("a", restarted()), ("b", restarted()), ("a", restarted())]);
    newest(&mut answer.acts, 2);
    assert_eq!(answer.acts.iter().map(|one| one.node.as_str()).collect::<Vec<_>>(), ["a", "a", "b"]);
}

#[test]
fn a_wrong_subject_says_how_it_is_written() {
    assert_eq!(subject("service/hello").expect("right"), "hello");
    for (text, told) in
        [("hello", "service/hello"), ("servce/hello", "did you mean service/hello?"), ("service/", "KIND/NAME")]
    {
        let error = subject(text).expect_err(text).to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
}
