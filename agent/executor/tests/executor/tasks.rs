use crate::half::{Executor, is_root, wait_for};
use crate::services::process;
use hostler_executor::protocol::{Act, Outcome, Process};
use std::fs;

/// Each test has its own: control groups have a name on the whole host.
const UNIT: &str = "hostler-task-run-5-7.0.service";
const FREE: &str = "hostler-task-run-5-8.0.service";

#[test]
fn a_tasks_program_is_a_unit_of_its_own_whose_end_and_output_stay() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut executor = Executor::start(folder.path(), "");
    let output = folder.path().join("task.run-5-7.log");
    let once = Process { output: output.clone(), ..process(folder.path(), "echo \"$(id -un)\"; exit 3") };
    executor.done(Act::StartProcess { unit: UNIT.into(), process: once });
    let mut ended = None;
    wait_for("its end", || {
        ended = executor.done(Act::Inspect { unit: UNIT.into() }).ended;
        ended.is_some()
    });
    assert_eq!(ended.unwrap().code, Some(3));
    let units: Vec<String> = executor.done(Act::List).units.into_iter().map(|unit| unit.name).collect();
    assert_eq!(units, [UNIT], "until whoever asked for it knows how it ended");
    assert!(executor.done(Act::Stop { unit: UNIT.into() }).already);
    assert!(executor.done(Act::List).units.is_empty());
    assert_eq!(fs::read_to_string(&output).unwrap(), "nobody\n");
    let remove = Act::RemoveOutput { path: output.clone() };
    assert!(executor.done(remove.clone()).changed && !output.exists());
    assert!(executor.done(remove).already);
}

#[test]
fn a_free_command_is_refused_unless_it_is_listed() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let free = || {
        let process = Process { free: true, ..process(folder.path(), "true") };
        Act::StartProcess { unit: FREE.into(), process }
    };
    let mut executor = Executor::start(folder.path(), "profile = \"operate\"\n");
    let Outcome::Refused { rule, words } = executor.ask(free()) else { panic!("it was not refused") };
    assert!(rule == "policy" && words.contains("refuses free commands"), "{words}");
    drop(executor);
    let mut executor = Executor::start(folder.path(), "profile = \"operate\"\ncommands = [\"/bin/sh\"]\n");
    assert!(executor.done(free()).changed);
    executor.done(Act::Stop { unit: FREE.into() });
}
