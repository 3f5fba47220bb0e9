//! From what the state is made at a start. Pure.

use crate::Revision;

/// What was found on the disk.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Revisions the journal holds, as ranges without a gap.
    pub journal: Vec<(Revision, Revision)>,
    /// Start and end of each checkpoint, newest first.
    pub checkpoints: Vec<(Revision, Revision)>,
    /// Where the state stands, if it opened and is what it says it is.
    pub state: Option<Revision>,
    /// The newest revision that anything spoke of which turned out unusable since.
    pub seen: Revision,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    State,
    /// Which one, in the order in which they were listed.
    Checkpoint(usize),
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub base: Base,
    /// The journal is applied after this revision.
    pub after: Revision,
    /// Where the state stands then.
    pub newest: Revision,
    /// Whether the journal lacks something it should hold: then what follows must
    /// not rest on it.
    pub journal_lacks: bool,
}

/// Acknowledged revisions that nothing here holds any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    pub first: Revision,
    pub newest: Revision,
}

impl Evidence {
    /// The newest revision of which anything was seen.
    fn newest(&self) -> Revision {
        let journal = self.journal.iter().map(|range| range.1).max();
        let checkpoint = self.checkpoints.iter().map(|one| one.1).max();
        journal.max(checkpoint).max(self.state).unwrap_or(0).max(self.seen)
    }

    /// How far the journal leads from a revision on.
    fn reach(&self, from: Revision) -> Revision {
        self.journal.iter().find(|range| range.0 <= from + 1 && from < range.1).map_or(from, |range| range.1)
    }

    /// What lies before the older of the two newest checkpoints is not needed, and
    /// may be there in parts: a removal need not survive a power cut.
    fn journal_lacks(&self, newest: Revision) -> bool {
        let covered = self.checkpoints.iter().map(|one| one.1).max().unwrap_or(0);
        let from = self.checkpoints.get(1).or(self.checkpoints.first()).map_or(0, |one| one.0);
        let mut reached = from;
        for range in self.journal.iter().filter(|range| range.1 > from) {
            if range.0 > reached + 1 {
                return true;
            }
            reached = range.1;
        }
        newest > reached.max(covered)
    }
}

/// The state if it can be used, then the newest checkpoint that can.
pub fn decide(evidence: &Evidence) -> Result<Decision, Loss> {
    let newest = evidence.newest();
    let checkpoints = evidence.checkpoints.iter().enumerate();
    let checkpoints = checkpoints
        .filter(|(_, (start, end))| evidence.reach(*start) >= *end)
        .map(|(index, (start, _))| (Base::Checkpoint(index), *start));
    let state = evidence.state.map(|revision| (Base::State, revision));
    let bases: Vec<(Base, Revision)> = state.into_iter().chain(checkpoints).chain([(Base::Nothing, 0)]).collect();
    let leads = |from: Revision| evidence.reach(from);
    match bases.iter().find(|(_, from)| leads(*from) == newest) {
        Some((base, after)) => {
            Ok(Decision { base: *base, after: *after, newest, journal_lacks: evidence.journal_lacks(newest) })
        }
        None => {
            let best = bases.iter().map(|(_, from)| leads(*from)).max().unwrap_or(0);
            Err(Loss { first: best + 1, newest })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decided(
        journal: &[(u64, u64)],
        checkpoints: &[(u64, u64)],
        state: Option<u64>,
    ) -> Result<(Base, u64, bool), (u64, u64)> {
        let evidence = Evidence { journal: journal.to_vec(), checkpoints: checkpoints.to_vec(), state, seen: 0 };
        match decide(&evidence) {
            Ok(decision) => Ok((decision.base, decision.after, decision.journal_lacks)),
            Err(loss) => Err((loss.first, loss.newest)),
        }
    }

    #[test]
    fn a_new_store_is_empty() {
        assert_eq!(decided(&[], &[], Some(0)), Ok((Base::State, 0, false)));
        assert_eq!(decided(&[], &[], None), Ok((Base::Nothing, 0, false)));
    }

    #[test]
    fn a_state_that_is_behind_is_brought_on() {
        assert_eq!(decided(&[(1, 90)], &[], Some(40)), Ok((Base::State, 40, false)));
        assert_eq!(decided(&[(30, 90)], &[(50, 60), (29, 33)], Some(29)), Ok((Base::State, 29, false)));
    }

    #[test]
    fn a_state_too_far_behind_is_built_anew() {
        assert_eq!(decided(&[(30, 90)], &[(50, 60), (29, 33)], Some(0)), Ok((Base::Checkpoint(0), 50, false)));
        assert_eq!(decided(&[(30, 90)], &[(50, 60), (29, 33)], None), Ok((Base::Checkpoint(0), 50, false)));
    }

    #[test]
    fn damage_is_passed_over_where_something_lies_beyond_it() {
        assert_eq!(decided(&[(1, 40), (43, 90)], &[], Some(90)), Ok((Base::State, 90, true)));
        assert_eq!(decided(&[(1, 40), (43, 90)], &[(42, 50)], None), Ok((Base::Checkpoint(0), 42, false)));
        assert_eq!(decided(&[(1, 40), (43, 90)], &[(41, 50)], None), Err((41, 90)), "a fuzzy one needs its commits");
        assert_eq!(decided(&[(1, 40), (43, 90)], &[], Some(41)), Err((42, 90)));
    }

    #[test]
    fn a_journal_that_lost_its_end_is_noticed() {
        assert_eq!(decided(&[(1, 40)], &[], Some(44)), Ok((Base::State, 44, true)));
        assert_eq!(decided(&[], &[(50, 60)], Some(77)), Ok((Base::State, 77, true)));
        assert_eq!(decided(&[(1, 40)], &[(30, 50)], Some(20)), Err((41, 50)));
    }

    #[test]
    fn what_was_seen_and_is_unusable_is_not_forgotten() {
        let evidence = Evidence { seen: 44, ..Evidence::default() };
        assert_eq!(decide(&evidence), Err(Loss { first: 1, newest: 44 }));
        let evidence = Evidence { journal: vec![(1, 40)], seen: 40, ..Evidence::default() };
        assert!(decide(&evidence).is_ok());
    }

    #[test]
    fn old_segments_that_came_back_are_no_damage() {
        assert_eq!(decided(&[(1, 9), (20, 90)], &[(50, 60), (30, 33)], Some(90)), Ok((Base::State, 90, false)));
        assert_eq!(decided(&[(20, 90)], &[(50, 60), (30, 33), (5, 6)], Some(90)), Ok((Base::State, 90, false)));
        assert_eq!(decided(&[(1, 9), (34, 90)], &[(50, 60), (30, 33)], Some(90)), Ok((Base::State, 90, true)));
    }

    #[test]
    fn what_checkpoints_cover_need_not_be_in_the_journal() {
        assert_eq!(decided(&[], &[(60, 60), (60, 60)], Some(60)), Ok((Base::State, 60, false)));
        assert_eq!(decided(&[], &[(60, 60)], None), Ok((Base::Checkpoint(0), 60, false)));
    }

    proptest! {
        /// Whatever is found: the decision leads to the newest, or a loss is told.
        #[test]
        fn nothing_is_lost_silently(
            cuts in proptest::collection::vec((1u64..40, 1u64..10), 0..4),
            checkpoints in proptest::collection::vec((0u64..60, 0u64..10), 0..3),
            state in proptest::option::of(0u64..60),
        ) {
            let mut journal = Vec::new();
            let mut at = 1;
            for (length, gap) in cuts {
                journal.push((at, at + length));
                at += length + gap + 1;
            }
            let mut checkpoints: Vec<_> = checkpoints.into_iter().map(|(start, more)| (start, start + more)).collect();
            checkpoints.sort();
            checkpoints.reverse();
            let evidence = Evidence { journal, checkpoints, state, seen: 0 };
            match decide(&evidence) {
                Ok(decision) => {
                    let held = |revision| evidence.journal.iter().any(|range| range.0 <= revision && revision <= range.1);
                    prop_assert!((decision.after + 1..=decision.newest).all(held));
                    prop_assert_eq!(decision.newest, evidence.newest());
                }
                Err(loss) => prop_assert!(loss.first <= loss.newest && loss.newest == evidence.newest()),
            }
        }
    }
}
