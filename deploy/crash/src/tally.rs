//! What a run found: counts, and a table of them at the end.

use crate::child::Closed;
use crate::history::Wrongs;
use crate::state::State;
use std::fmt;

#[derive(Debug, Default)]
pub struct Tally {
    pub rounds: usize,
    pub acked: usize,
    pub refused: usize,
    pub wrongs: Wrongs,
    pub unopenable: usize,
    /// The worker ended, or fell silent, where it should have gone on.
    pub died: usize,
    /// On a full disk.
    pub reads: usize,
    /// From there being room again to the next acknowledgement, at most.
    pub back_ms: u128,
    reopen_ms: Vec<f64>,
    /// What a mode counts beside.
    pub notes: Vec<String>,
}

/// What one round came to.
pub type Outcome = Result<(), String>;

impl Tally {
    /// Counts what a check of a folder showed.
    pub fn judge(&mut self, opened: Result<State, Closed>, check: impl FnOnce(&State) -> Wrongs) -> Outcome {
        let state = match opened {
            Ok(state) => state,
            Err(Closed::Refused(text) | Closed::Crashed(text)) => {
                self.unopenable += 1;
                return Err(format!("does not open: {text}"));
            }
        };
        self.reopen_ms.push(state.opened_in.as_secs_f64() * 1000.0);
        let wrongs = check(&state);
        self.wrongs.add(&wrongs);
        if wrongs.any() { Err(wrongs.to_string()) } else { Ok(()) }
    }

    pub fn died(&mut self, text: String) -> Outcome {
        self.died += 1;
        Err(text)
    }

    pub fn clean(&self) -> bool {
        !self.wrongs.any() && self.unopenable + self.died == 0
    }

    fn reopen_ms_median(&self) -> f64 {
        let mut sorted = self.reopen_ms.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wrongs { lost, torn, invented, order, revision, .. } = &self.wrongs;
        let rows: [(&str, &usize); 10] = [
            ("rounds", &self.rounds),
            ("acknowledged", &self.acked),
            ("refused", &self.refused),
            ("lost", lost),
            ("torn", torn),
            ("invented", invented),
            ("out of order", order),
            ("misnumbered", revision),
            ("unopenable", &self.unopenable),
            ("died", &self.died),
        ];
        for (name, count) in rows {
            writeln!(f, "{name:<18}{count:>10}")?;
        }
        write!(f, "{:<18}{:>10.1}", "ms to reopen", self.reopen_ms_median())?;
        self.notes.iter().try_for_each(|note| write!(f, "\n{note}"))
    }
}
