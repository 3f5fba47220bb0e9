//! When all is over: what is written down is what hosts did.

use crate::world::World;
use hostler_core::runs::RunState;
use hostler_types::TaskState;

impl World {
    /// All is over: what is written down is what hosts did.
    pub fn judge_the_end(&mut self) -> Result<(), String> {
        let (store, one) = (&self.controls[self.main].store, self.controls.len() == 1);
        let mut tally = self.judge.tally.clone();
        for (number, head) in &store.heads {
            if !head.state.is_over() {
                return Err(format!("run/{number} is kept as {}", head.state.word()));
            }
            *tally.runs.entry(head.state.word()).or_default() += 1;
            let id = &head.order.task;
            if self.judge.aborted.contains(&(self.main, id.clone())) && head.state != RunState::Aborted {
                return Err(format!("run/{number} was aborted, and is {}", head.state.word()));
            }
        }
        for ((number, node), row) in &store.tasks {
            let Some(head) = store.heads.get(number) else { continue };
            let (host, state, id) = (self.places[node], row.report.state, &head.order.task);
            *tally.tasks.entry(state).or_default() += 1;
            if !state.is_over() {
                return Err(format!("run/{number} is over, and web{host} is {state}"));
            }
            if self.removed.contains(&host) {
                continue;
            }
            let real = self.hosts[host].end_of(id).map(|report| report.state);
            let wrong = match real {
                Some(real) => state != real && (one || state == TaskState::Succeeded),
                None => {
                    let touched = (0..3).any(|step| self.judge.effects.contains_key(&(host, (id.clone(), step))));
                    let nothing = matches!(
                        state,
                        TaskState::Undelivered | TaskState::Skipped | TaskState::Lost | TaskState::Refused
                    );
                    touched || !nothing
                }
            };
            if wrong {
                let real = real.map_or("nothing", TaskState::word);
                return Err(format!("run/{number} says that web{host} is {state}, and the host says {real}"));
            }
        }
        self.judge.tally = tally;
        self.judge_fires()
    }
}
