//! Schedules under random histories: the clock goes on and jumps, the control plane is
//! away, restarts, runs end late or never. Whatever happens, each fire is accounted for
//! once: it ran, was left out, or waits.

use super::tests::{START, schedule, window};
use super::*;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeMap;

const LINES: [&str; 5] = ["0 * * * *", "*/10 * * * *", "0 2 * * *", "30 1-5 * * *", "15 */3 * * 1-5"];
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
enum Step {
    Pass { minutes: u32, looks: bool },
    Jump { hours: u32, back: bool },
    Restart,
    Finish,
    Hold(bool),
}

/// What became of each fire; a second word on one is a mistake.
#[derive(Default)]
struct Account {
    fired: BTreeMap<Timestamp, Timestamp>,
    skipped: BTreeSet<Timestamp>,
}

impl Account {
    fn take(&mut self, schedule: &Schedule, now: Timestamp, decision: &Decision) -> Result<(), String> {
        match decision {
            Decision::Fire { at, .. } => {
                if self.skipped.contains(at) || self.fired.insert(*at, now).is_some() {
                    return Err(format!("{at} fires, and was decided"));
                }
                self.allowed(schedule, now, *at)
            }
            Decision::Wait { .. } => Ok(()),
            Decision::Skip { fires, .. } => {
                let all = schedule.recurrence.between(fires.first.minus(TICK), fires.last, usize::MAX);
                if all.len() != fires.count {
                    return Err(format!("{} are {fires:?}", all.len()));
                }
                for fire in all {
                    if self.fired.contains_key(&fire.at) || !self.skipped.insert(fire.at) {
                        return Err(format!("{} is left out, and was decided", fire.at));
                    }
                }
                Ok(())
            }
        }
    }

    fn allowed(&self, schedule: &Schedule, now: Timestamp, at: Timestamp) -> Result<(), String> {
        let window = schedule.window.as_ref().map(|window| window.admission(now));
        let shut = matches!(window, Some(Admission::Later(_) | Admission::Never));
        let late = now.since(at) > schedule.deadline.max(ON_TIME);
        if at > now || shut || late || schedule.hold.is_some() {
            return Err(format!("{at} must not fire at {now}: shut {shut}, late {late}"));
        }
        Ok(())
    }

    /// Nothing that was due by the ledger's mark is forgotten.
    fn complete(&self, schedule: &Schedule, ledger: &Ledger) -> Result<(), String> {
        let Some(mark) = ledger.mark else { return Ok(()) };
        for fire in schedule.recurrence.between(START, mark, usize::MAX) {
            let known = self.fired.contains_key(&fire.at) || self.skipped.contains(&fire.at);
            if known == ledger.waiting.contains(&fire.at) {
                return Err(format!("{} is {}", fire.at, if known { "decided and waits" } else { "lost" }));
            }
        }
        Ok(())
    }
}

fn play(schedule: &Schedule, steps: &[Step]) -> Result<(Account, Ledger, Timestamp), String> {
    let (mut now, mut account) = (START, Account::default());
    let mut table = Timetable::default();
    table.insert((), schedule.clone(), Ledger::default());
    for step in steps {
        let mut schedule = table.schedule(&()).unwrap().clone();
        match step {
            Step::Pass { minutes, looks } => {
                // Somebody looks when there is something to see, or only at the end.
                let end = now.plus(MINUTE * *minutes);
                while let Some(next) = table.next_deadline().filter(|next| *looks && *next < end) {
                    now = next.max(now.plus(TICK));
                    tick(&mut table, &mut account, now)?;
                }
                now = end;
            }
            Step::Jump { hours, back: true } => now = now.minus(60 * MINUTE * *hours).max(START),
            Step::Jump { hours, back: false } => now = now.plus(60 * MINUTE * *hours),
            Step::Restart => {
                let ledger = table.ledger(&()).unwrap().clone();
                table = Timetable::default();
                table.insert((), schedule, ledger);
            }
            Step::Finish => {
                let running = table.ledger(&()).unwrap().running.first().copied();
                running.into_iter().for_each(|fire| table.finished(&(), fire));
            }
            Step::Hold(held) => {
                let before = schedule.clone();
                schedule.hold = held.then(|| Hold::Paused { by: "jane".to_owned() });
                for decision in table.change(&(), schedule, now) {
                    account.take(&before, now, &decision)?;
                }
            }
        }
        tick(&mut table, &mut account, now)?;
    }
    Ok((account, table.ledger(&()).unwrap().clone(), now))
}

fn tick(table: &mut Timetable<()>, account: &mut Account, now: Timestamp) -> Result<(), String> {
    let decisions = table.tick(now);
    let (schedule, ledger) = (table.schedule(&()).unwrap(), table.ledger(&()).unwrap());
    for ((), decision) in &decisions {
        account.take(schedule, now, decision)?;
    }
    if schedule.overlap != Overlap::Allow && ledger.running.len() > 1 {
        return Err(format!("{:?} run at once", ledger.running));
    }
    if ledger.waiting.len() > MADE_UP_MAX {
        return Err(format!("{} wait", ledger.waiting.len()));
    }
    if table.next_deadline().is_some_and(|next| next <= now) {
        return Err(format!("would look again at once at {now}"));
    }
    account.complete(schedule, ledger)
}

fn steps(jumps: bool) -> impl Strategy<Value = Vec<Step>> {
    // Away for no longer than is made up for, where nothing may be lost.
    let longest = if jumps { 2_000_u32 } else { 900 };
    let pass = (1..longest, any::<bool>()).prop_map(|(minutes, looks)| Step::Pass { minutes, looks });
    let jump = (select(vec![1_u32, 24]), any::<bool>()).prop_map(|(hours, back)| Step::Jump { hours, back });
    let jump_weight = if jumps { 2 } else { 0 };
    let hold_weight = u32::from(jumps);
    let step = prop_oneof![
        5 => pass,
        jump_weight => jump,
        2 => Just(Step::Restart),
        4 => Just(Step::Finish),
        hold_weight => any::<bool>().prop_map(Step::Hold),
    ];
    proptest::collection::vec(step, 1..40)
}

fn schedules() -> impl Strategy<Value = Schedule> {
    let missed = select(vec![Missed::Skip, Missed::Once, Missed::All]);
    let overlap = select(vec![Overlap::Forbid, Overlap::Allow, Overlap::Replace]);
    let deadline = select(vec![1_u64, 600, 3_600, 86_400, 864_000]).prop_map(Duration::from_secs);
    let night = window("0 20 * * *", 240 * MINUTE, 45 * MINUTE);
    let often = window("0 */3 * * *", 90 * MINUTE, MINUTE);
    let window = select(vec![None, night, often]);
    (select(LINES.to_vec()), missed, overlap, deadline, window).prop_map(|(line, missed, overlap, deadline, window)| {
        Schedule { missed, overlap, deadline, window, ..schedule(line) }
    })
}

proptest! {
    #[test]
    fn each_fire_is_accounted_for_once(schedule in schedules(), steps in steps(true)) {
        let played = play(&schedule, &steps);
        prop_assert!(played.is_ok(), "{}", played.err().unwrap());
    }

    #[test]
    fn with_all_none_is_lost(line in select(LINES.to_vec()), steps in steps(false)) {
        let deadline = Duration::from_secs(86_400);
        let all = Schedule { missed: Missed::All, overlap: Overlap::Allow, deadline, ..schedule(line) };
        let played = play(&all, &steps);
        prop_assert!(played.is_ok(), "{}", played.err().unwrap());
        let (account, _, now) = played.unwrap();
        let expected: Vec<Timestamp> =
            all.recurrence.between(START, now, usize::MAX).iter().map(|fire| fire.at).collect();
        prop_assert_eq!(account.fired.into_keys().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn the_account_finds_what_is_planted() {
    let hourly = schedule("0 * * * *");
    let hour = START.plus(60 * MINUTE);
    let fire = |at| Decision::Fire { at, late_by: Duration::ZERO, replaces: Vec::new(), until: None };
    let skip = |first, last, count| Decision::Skip { fires: Fires { first, last, count }, reason: Reason::TooMany };
    let mut account = Account::default();
    assert_eq!(account.take(&hourly, hour, &fire(hour)), Ok(()));
    assert!(account.take(&hourly, hour, &fire(hour)).is_err(), "a second time");
    assert!(account.take(&hourly, hour, &skip(hour, hour, 1)).is_err(), "left out as well");
    let later = hour.plus(120 * MINUTE);
    let wrong = |now, at| Account::default().take(&hourly, now, &fire(at)).is_err();
    assert!(wrong(hour, later), "before its time");
    assert!(wrong(later.plus(61 * MINUTE), later), "too late");
    let mark = |mark| Ledger { mark: Some(mark), ..Ledger::default() };
    assert_eq!(account.complete(&hourly, &mark(hour)), Ok(()));
    assert!(account.complete(&hourly, &mark(later)).is_err(), "two are lost");
    assert_eq!(account.take(&hourly, later, &skip(hour.plus(60 * MINUTE), later, 2)), Ok(()));
    assert_eq!(account.complete(&hourly, &mark(later)), Ok(()));
}
