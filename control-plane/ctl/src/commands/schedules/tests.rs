use super::text::{listed, next, set, shown, why};
use super::*;

/// Tuesday the 24th of November 2026, 16:30 in Berlin.
const NOW: u64 = 1_795_534_200_000;
const HOUR: u64 = 3_600_000;

fn fire(due_ms: u64, run: u64, run_state: &str, words: &str) -> wire::ScheduleFire {
    wire::ScheduleFire {
        due_ms,
        first_ms: due_ms,
        at_ms: due_ms,
        count: 1,
        run,
        run_state: run_state.into(),
        words: words.into(),
    }
}

fn patch() -> wire::Schedule {
    wire::Schedule {
        name: "patch".into(),
        system: "shop".into(),
        when: "0 20 * * tue".into(),
        zone: "Europe/Berlin".into(),
        does: "task patch".into(),
        window: "evening".into(),
        missed: "once".into(),
        deadline_ms: HOUR,
        overlap: "forbid".into(),
        offline: "skip".into(),
        jitter_ms: 600_000,
        tell: vec!["ops".into()],
        origin: "care.yaml:24".into(),
        next_ms: NOW + 3 * HOUR + 1_800_000,
        last: Some(fire(NOW - 6 * 24 * HOUR, 12, "succeeded", "")),
        ..wire::Schedule::default()
    }
}

fn others() -> [wire::Schedule; 3] {
    let report = wire::Schedule {
        name: "daily".into(),
        when: "0 7 * * *".into(),
        zone: "UTC".into(),
        does: "report errors, backups".into(),
        problem: "reports are not made yet".into(),
        ..wire::Schedule::default()
    };
    let paused = wire::Schedule {
        name: "tidy".into(),
        when: "*/15 * * * *".into(),
        zone: "UTC".into(),
        does: "task tidy".into(),
        paused: true,
        held: "paused by ada: storage work".into(),
        next_ms: NOW + 60_000,
        last: Some(fire(NOW - HOUR, 0, "", "missed by 3 h; it says missed: skip")),
        ..wire::Schedule::default()
    };
    let frozen = wire::Schedule {
        name: "vacuum".into(),
        paused: false,
        held: "frozen by kim: move".into(),
        last: Some(fire(NOW - HOUR, 13, "failed", "2 m late")),
        ..paused.clone()
    };
    [report, paused, frozen]
}

fn answer() -> wire::GetScheduleResponse {
    let due = |at_ms, moved| wire::ScheduleDue { at_ms, moved };
    let week = 7 * 24 * HOUR;
    let left_out = wire::ScheduleFire {
        first_ms: NOW - 3 * week,
        count: 2,
        ..fire(NOW - 2 * week, 0, "", "missed by 4 h; it says missed: skip")
    };
    wire::GetScheduleResponse {
        schedule: Some(patch()),
        next: vec![due(NOW + 3 * HOUR + 1_800_000, false), due(NOW + 18 * week, true)],
        fires: vec![fire(NOW - week, 12, "succeeded", "5 m late"), left_out],
        wall_ms: NOW,
    }
}

#[test]
fn how_schedules_read() {
    let schedules = others().into_iter().chain([patch()]).collect();
    let list = wire::ListSchedulesResponse { schedules, wall_ms: NOW };
    let none = wire::ListSchedulesResponse { schedules: Vec::new(), wall_ms: NOW };
    let [_, paused, frozen] = others();
    let parts = [
        listed(&Out::plain(None), &list),
        listed(&Out::plain(None), &none),
        shown(&answer()),
        next(&answer()),
        why(&answer()),
        set(&paused, NOW),
        set(&patch(), NOW),
        set(&frozen, NOW),
    ];
    insta::assert_snapshot!(parts.join("---\n"));
}
