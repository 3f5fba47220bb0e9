//! What schedules do: each fire comes to one thing, and happens on each host once.

use super::Judge;
use crate::plan::{Ms, SECOND};
use crate::store::Became;
use crate::timers::Timer;
use crate::world::World;
use hostler_agent_core::alone::{LOOK, ON_TIME};
use hostler_core::schedules::Decision;
use hostler_types::spec::Overlap;
use hostler_types::{TaskId, Timestamp};
use std::time::Duration;

/// From then on all that was wrong is known to be well: clocks are measured, hosts are back.
pub const WELL_AFTER: Ms = 60 * SECOND;
const TICK: Duration = Duration::from_millis(1);

impl Judge {
    /// Before its time nothing runs, and later than it may nothing does.
    pub fn decides(&mut self, timer: &Timer, wall: Timestamp, decision: &Decision) -> Vec<String> {
        let Decision::Fire { at, .. } = decision else { return Vec::new() };
        self.tally.fires += 1;
        let late = wall.since(*at) > timer.deadline.max(hostler_core::schedules::ON_TIME);
        let wrong = *at > wall || late;
        wrong.then(|| format!("{} of {at} is to run at {wall}", timer.name)).into_iter().collect()
    }
}

impl World {
    /// It is about to begin that by itself.
    pub fn begins_alone(&mut self, index: usize, id: &TaskId) {
        self.judge.tally.alone += 1;
        self.judge.alone.insert((index, id.clone()));
        let Some((name, due)) = id.fire() else { return self.fail(format!("{id} is of no schedule")) };
        let Some(timer) = self.timers.iter().find(|timer| timer.name == name) else { return };
        let (at, now) = (due.plus(timer.place(index)), self.corrected(index).wall);
        if self.hosts[index].by_itself.linked || !timer.alone {
            self.fail(format!("web{index} begins {id} by itself, and has not to"));
        } else if now < at || now > at.plus(ON_TIME) {
            self.fail(format!("web{index} begins {id} by itself at {now}"));
        }
    }

    /// What it was to do since it is cut off it has done. It is not watched any more.
    pub fn unwatch(&mut self, index: usize) {
        let Some(watched) = self.hosts[index].by_itself.watched.take() else { return };
        let now = self.corrected(index).wall;
        let from = now.minus(Duration::from_millis(self.now - watched));
        let own = |timer: &&Timer| timer.alone && timer.hosts.contains(&index);
        let wrong = self.timers.iter().filter(own).find_map(|timer| {
            let missed = self.missed(index, timer, from, now)?;
            Some(format!("web{index} was cut off since {from}, and did not do {} of {missed}", timer.name))
        });
        wrong.into_iter().for_each(|what| self.fail(what));
    }

    fn missed(&self, index: usize, timer: &Timer, from: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let (place, host) = (timer.place(index), &self.hosts[index]);
        let to = now.minus(place).minus(ON_TIME).minus(TICK);
        // A clock that was set is seen at the next look; and where it was put back, what is
        // newer was done already.
        let from = from.plus(LOOK).minus(place).max(timer.schedule(false).since);
        let from = from.max(host.by_itself.newest.get(&timer.name).copied().unwrap_or_default());
        let fires = timer.recurrence.between(from, to, usize::MAX).into_iter().map(|fire| fire.at);
        let is_known = |due: &Timestamp| host.disk.contains_key(&TaskId::of_fire(&timer.name, *due));
        fires.filter(|due| !is_known(due)).min()
    }

    /// Nothing that was due by a schedule's mark is forgotten, and what was due when all was
    /// well happened once on each host.
    pub fn judge_fires(&self) -> Result<(), String> {
        let control = &self.controls[self.main];
        for (number, timer) in self.timers.iter().enumerate() {
            let Some(ledger) = control.store.ledgers.get(&number) else { continue };
            let Some(mark) = ledger.mark else { continue };
            for fire in timer.recurrence.between(timer.schedule(false).since, mark, usize::MAX) {
                let became = control.store.fires.contains_key(&(number, fire.at));
                if !became && !ledger.waiting.contains(&fire.at) {
                    return Err(format!("{} of {} is lost: nobody says what it came to", timer.name, fire.at));
                }
            }
            if timer.overlap == Overlap::Allow {
                self.judge_well(number, timer)?;
            }
        }
        Ok(())
    }

    fn judge_well(&self, number: usize, timer: &Timer) -> Result<(), String> {
        let store = &self.controls[self.main].store;
        for ((_, due), became) in
            store.fires.range((number, Timestamp::default())..=(number, Timestamp::from_millis(u64::MAX)))
        {
            let Became::Run { number: run, at, asks: false } = became else { continue };
            if *at < self.heals + WELL_AFTER {
                continue;
            }
            for (_, node) in store.tasks.keys().filter(|(of, _)| of == run) {
                let host = self.places[node];
                let id = TaskId::of_fire(&timer.name, *due);
                let times = self.judge.effects.get(&(host, (id.clone(), 0))).copied().unwrap_or_default();
                // It may have said so to another control plane, long ago.
                let ended = self.judge.ended.get(&(host, id)).map(|(ended, _)| *ended);
                let known = ended.is_some_and(|ended| ended < *at);
                // Another run may have rebooted the host before it came to that.
                let cut = |ended: Ms| self.judge.cuts.range((host, *at)..=(host, ended.max(*at))).next().is_some();
                let cut = times == 0 && ended.is_some_and(cut);
                if times != 1 && !known && !cut && !self.removed.contains(&host) {
                    return Err(format!(
                        "{} of {due} happened {times} times on web{host}, and all was well",
                        timer.name
                    ));
                }
            }
        }
        Ok(())
    }
}
