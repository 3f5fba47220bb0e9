//! Every limit, by a plugin that does nothing but meet it.

use crate::support::{CheckRun, check, host, load, request};
use hostler_plugin_host::{Fault, RunRequest, limits};
use hostler_types::Status;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What the design promises for any hostile plugin.
const STOPPED_WITHIN: Duration = Duration::from_secs(1);

const HOSTILE: &str = "fixtures/hostile";

fn doing(deed: &str) -> RunRequest {
    request(&format!(r#"{{"does": "{deed}"}}"#), &[], false)
}

async fn run_beside_a_check(name: &str) -> CheckRun {
    let host = host();
    let hostile = load(&host, HOSTILE).await;
    let disk = load(&host, "disk").await;
    check(&disk, request("{}", &[], true)).await.outcome.expect("disk works");

    let over = AtomicBool::new(false);
    let run = async {
        let run = check(&hostile, doing(name)).await;
        over.store(true, Ordering::Relaxed);
        run
    };
    let beside = async {
        let mut slowest = Duration::ZERO;
        let mut runs = 0;
        while !over.load(Ordering::Relaxed) {
            let began = Instant::now();
            let report = check(&disk, request("{}", &[], true)).await.outcome.expect("disk goes on");
            assert_ne!(report.status, Status::Unknown);
            slowest = slowest.max(began.elapsed());
            runs += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        (runs, slowest)
    };
    let (run, (runs, slowest)) = tokio::join!(run, beside);
    println!("{name}: {:?} in {:?} with {runs} runs beside it, the slowest {slowest:?}", run.outcome, run.bill.wall);
    assert!(run.bill.wall < STOPPED_WITHIN, "{name} ran for {:?}", run.bill.wall);
    // It may have to wait for one epoch of the other, on a busy machine more.
    assert!(slowest < Duration::from_millis(200), "{name} kept another check waiting for {slowest:?}");
    run
}

#[tokio::test]
async fn a_spinning_plugin_is_stopped() {
    let run = run_beside_a_check("spin").await;
    assert_eq!(run.outcome, Err(Fault::CpuExhausted));
    assert!(run.bill.cpu > limits::EPOCH && run.bill.cpu < STOPPED_WITHIN, "{:?}", run.bill.cpu);
}

#[tokio::test]
async fn a_plugin_that_takes_all_memory_is_stopped() {
    let run = run_beside_a_check("allocate").await;
    assert_eq!(run.outcome, Err(Fault::MemoryExhausted { bytes_max: limits::MEMORY_BYTES_MAX }));
    assert!(run.bill.memory_peak_bytes > limits::MEMORY_BYTES_MAX / 2, "{}", run.bill.memory_peak_bytes);
}

#[tokio::test]
async fn a_plugin_that_recurses_is_stopped() {
    let run = run_beside_a_check("recurse").await;
    assert_eq!(run.outcome, Err(Fault::StackOverflow));
}

#[tokio::test]
async fn a_plugin_that_floods_the_log_is_stopped() {
    let run = run_beside_a_check("flood-log").await;
    assert_eq!(run.outcome, Err(Fault::HostCallsExhausted));
}

#[tokio::test]
async fn what_of_a_flood_is_kept_is_bounded_and_the_rest_counted() {
    let host = host();
    let flood = load(&host, HOSTILE).await;
    let (lines, bytes) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut flooding = doing("flood-log");
    let counted = (lines.clone(), bytes.clone());
    flooding.log = Some(Arc::new(move |line| {
        counted.0.fetch_add(1, Ordering::Relaxed);
        counted.1.fetch_add(u32::try_from(line.message.len()).expect("short"), Ordering::Relaxed);
    }));
    let run = check(&flood, flooding).await;
    let (lines, bytes) = (lines.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed));
    assert!(lines > 0 && lines <= limits::LOG_LINES_MAX, "{lines}");
    assert!(usize::try_from(bytes).expect("small") <= limits::LOG_BYTES_MAX, "{bytes}");
    // All of its calls but one, which read the configuration.
    assert_eq!(lines + run.bill.log_lines_dropped, limits::HOST_CALLS_MAX - 1);
}

#[tokio::test]
async fn a_panic_is_told_in_its_own_words_and_stays_alone() {
    let host = host();
    let trap = load(&host, HOSTILE).await;
    for _ in 0..2 {
        match check(&trap, doing("panic")).await.outcome {
            Err(Fault::Trapped(said)) => assert!(said.contains("the fixture panics"), "{said}"),
            other => panic!("{other:?}"),
        }
    }
    let disk = load(&host, "disk").await;
    check(&disk, request("{}", &[], true)).await.outcome.expect("disk works");
}

#[tokio::test]
async fn a_runs_own_timeout_and_memory_come_first() {
    let host = host();
    let hostile = load(&host, HOSTILE).await;
    let mut short = doing("spin");
    short.timeout = Duration::from_millis(100);
    let run = check(&hostile, short).await;
    assert_eq!(run.outcome, Err(Fault::TimedOut { after: Duration::from_millis(100) }));
    assert!(run.bill.wall < Duration::from_millis(400), "{:?}", run.bill.wall);

    let mut small = doing("allocate");
    small.memory_bytes_max = 4 << 20;
    assert_eq!(check(&hostile, small).await.outcome, Err(Fault::MemoryExhausted { bytes_max: 4 << 20 }));
}

/// More runs than slots, most of them hostile: all end, and the pool is whole.
#[tokio::test]
async fn more_runs_than_slots_wait_their_turn() {
    let host = host();
    let (hostile, disk) = (load(&host, HOSTILE).await, load(&host, "disk").await);
    let mut runs = Vec::new();
    for index in 0..3 * limits::RUNS_AT_ONCE {
        runs.push(match index % 3 {
            0 => check(&disk, request("{}", &[], true)),
            _ => check(&hostile, doing("recurse")),
        });
    }
    let runs = futures_util::future::join_all(runs).await;
    for (index, run) in runs.iter().enumerate() {
        match (index % 3, &run.outcome) {
            (0, Ok(_)) | (1 | 2, Err(Fault::StackOverflow)) => {}
            (_, other) => panic!("run {index}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_run_may_be_dropped_at_any_time() {
    let host = host();
    let hostile = load(&host, HOSTILE).await;
    for _ in 0..2 * limits::RUNS_AT_ONCE {
        let run = check(&hostile, doing("spin"));
        assert!(tokio::time::timeout(Duration::from_millis(5), run).await.is_err());
    }
    let disk = load(&host, "disk").await;
    check(&disk, request("{}", &[], true)).await.outcome.expect("disk works");
}
