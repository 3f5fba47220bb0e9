use super::text::{ended, progress, question, said, step, would};
use super::*;

fn task(node: &str, state: &str, output: &str) -> wire::RunTask {
    wire::RunTask {
        node: node.into(),
        state: state.into(),
        began_ms: 1_000,
        at_ms: 1_300,
        output: output.into(),
        words: if state == "failed" { "exit 2".into() } else { String::new() },
        exit: (state == "failed").then_some(2),
        ..wire::RunTask::default()
    }
}

fn a_run(tasks: &[wire::RunTask]) -> wire::Run {
    let mut counts = std::collections::HashMap::new();
    for task in tasks {
        *counts.entry(task.state.clone()).or_default() += 1;
    }
    wire::Run {
        number: 7,
        title: "uptime".into(),
        state: "failed".into(),
        at_ms: 0,
        ended_ms: 9_200,
        max: 4,
        nodes: u32::try_from(tasks.len()).expect("few"),
        tasks: counts.into_iter().collect(),
        steps: vec!["uptime".into()],
        ..wire::Run::default()
    }
}

#[test]
fn numbers_are_read_as_they_are_shown() {
    assert_eq!(number_of("7").ok(), Some(7));
    assert_eq!(number_of("run/7").ok(), Some(7));
    for text in ["", "0", "seven", "run/", "-1"] {
        assert!(matches!(number_of(text), Err(Problem::Usage(_))), "{text}");
    }
}

#[test]
fn what_all_said_is_told_once() {
    let tasks = [
        task("web1", "succeeded", "up 3 days\n"),
        task("web2", "succeeded", "up 3 days\n"),
        task("web3", "succeeded", "up 4\u{1b}[2J days\n"),
        task("web4", "failed", "no such file\n"),
        task("web5", "undelivered", ""),
    ];
    insta::assert_snapshot!(said(&Out::plain(None), 7, &tasks), @r"
    2 hosts said (web1, web2):
      up 3 days
    web3 said:
      up 4\u{1b}[2J days
    web4 failed: exit 2
      no such file
    ");
    let run = a_run(&tasks);
    insta::assert_snapshot!(ended(&run, &tasks), @"run 7 failed in 9.2 s: 3 ok, 1 failed, 1 undelivered.  Again there: hostlerctl run retry 7");
    insta::assert_snapshot!(progress(&run), @"run 7  [====================] 5 of 5: 3 ok, 1 failed, 1 undelivered");
    insta::assert_snapshot!(question(&run), @"uptime on 5 nodes, 4 at a time.");
    insta::assert_snapshot!(would(&run, &tasks[..2], &["away: web5".into()]), @r"
    uptime on 5 nodes, 4 at a time.  Nothing was done.
      step   uptime
      nodes  web1, web2
      note   away: web5
    ");
}

#[test]
fn steps_are_told_as_they_come_and_once() {
    let out = Out::plain(None);
    let held = wire::RunTask { held: "budget web: 1 of 1 down: dev1 in run/7".into(), ..task("web2", "planned", "") };
    let all = BTreeMap::from([("web2".to_owned(), held.clone())]);
    let one = |task: &wire::RunTask, before: Option<&wire::RunTask>| step(&out, 7, task, before, &all);
    assert_eq!(one(&held, None), "run 7  web2  held    budget web: 1 of 1 down: dev1 in run/7\n");
    assert_eq!(one(&held, Some(&held)), "");
    let done = task("web2", "succeeded", "");
    assert_eq!(one(&done, Some(&held)), "run 7  web2  ok      in 0.3 s\n");
    assert_eq!(one(&task("web2", "succeeded", "said"), Some(&held)), "", "what it said is told at the end");
}
