//! What a run costs. Ignored by default: figures mean something only in a
//! release build on a quiet machine.

use crate::support::{check, host, load, request};
use std::time::{Duration, Instant};

/// Processor time of all threads.
fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("tasks");
    let nanos = |path: std::path::PathBuf| -> Option<u64> {
        std::fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    Duration::from_nanos(tasks.filter_map(|task| nanos(task.ok()?.path())).sum())
}

fn memory_kb(key: &str) -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").expect("smaps_rollup");
    let line = rollup.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).expect(key);
    line.split_ascii_whitespace().next().and_then(|number| number.parse().ok()).expect(key)
}

fn report(what: &str) {
    println!("{what}: PSS {} kB, RSS {} kB", memory_kb("Pss"), memory_kb("Rss"));
}

#[tokio::test]
#[ignore = "a measurement"]
async fn cost_of_a_disk_run() {
    const RUNS: u32 = 10_000;
    report("before the engine");
    let host = host();
    report("engine");
    let disk = load(&host, "disk").await;
    report("disk loaded");
    let request = request("{}", &[], true);
    check(&disk, request.clone()).await.outcome.expect("works");
    report("disk ran once");
    let (began, cpu_before) = (Instant::now(), cpu());
    for _ in 0..RUNS {
        check(&disk, request.clone()).await.outcome.expect("works");
    }
    println!("disk: {:?} wall, {:?} processor time a run", began.elapsed() / RUNS, (cpu() - cpu_before) / RUNS);
    report("disk ran often");
    let overreach = load(&host, "fixtures/overreach").await;
    let _http = load(&host, "http").await;
    let request = crate::support::request("{}", &[], false);
    let (began, cpu_before) = (Instant::now(), cpu());
    for _ in 0..RUNS {
        check(&overreach, request.clone()).await.outcome.expect("works");
    }
    println!("overreach: {:?} wall, {:?} processor time a run", began.elapsed() / RUNS, (cpu() - cpu_before) / RUNS);
    report("three plugins");
}
