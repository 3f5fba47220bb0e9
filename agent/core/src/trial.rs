//! A plugin's new version on trial: it takes over from the one before, which
//! stays at hand until the new one has worked wherever the old one did.

use hostler_types::Name;
use std::collections::{BTreeMap, BTreeSet};

/// One may be the host's own hiccup; nobody goes back for that.
pub const FAULTS_TO_GO_BACK: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is decided; a fault says nothing about its check meanwhile.
    GoesOn,
    /// It worked everywhere: the version before is needed no more.
    Proved,
    /// It broke where the version before worked.
    GoBack,
}

/// The trial of one version on this host.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Checks that worked with the version before, and have not yet with this one.
    open: BTreeSet<Name>,
    faults: BTreeMap<Name, u32>,
}

impl Trial {
    /// `worked` are the plugin's checks whose last run was fine. Where there is
    /// none, nothing can be proved: whatever comes is the check's own.
    pub fn new(worked: impl IntoIterator<Item = Name>) -> Self {
        Self { open: worked.into_iter().collect(), faults: BTreeMap::new() }
    }

    pub fn ran(&mut self, check: &Name, fault: bool) -> Verdict {
        if !self.open.contains(check) {
            return self.so_far();
        }
        if !fault {
            self.open.remove(check);
            return self.so_far();
        }
        let faults = self.faults.entry(check.clone()).or_default();
        *faults += 1;
        if *faults >= FAULTS_TO_GO_BACK { Verdict::GoBack } else { Verdict::GoesOn }
    }

    /// A check that went can't prove anything any more.
    pub fn keep_only(&mut self, checks: &[Name]) -> Verdict {
        self.open.retain(|check| checks.contains(check));
        self.so_far()
    }

    /// Whether a fault of this check would be the version's.
    pub fn judges(&self, check: &Name) -> bool {
        self.open.contains(check)
    }

    fn so_far(&self) -> Verdict {
        if self.open.is_empty() { Verdict::Proved } else { Verdict::GoesOn }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect(text)
    }

    #[test]
    fn it_is_proved_when_it_worked_wherever_the_old_one_did() {
        let mut trial = Trial::new([name("a"), name("b")]);
        assert_eq!(trial.ran(&name("a"), false), Verdict::GoesOn);
        assert_eq!(trial.ran(&name("c"), true), Verdict::GoesOn, "it never worked");
        assert_eq!(trial.ran(&name("b"), true), Verdict::GoesOn, "once may be the host's");
        assert_eq!(trial.ran(&name("b"), false), Verdict::Proved);
        assert_eq!(Trial::new([]).ran(&name("a"), true), Verdict::Proved);
    }

    #[test]
    fn two_faults_of_one_check_take_it_back() {
        let mut trial = Trial::new([name("a"), name("b")]);
        assert_eq!(trial.ran(&name("a"), true), Verdict::GoesOn);
        assert_eq!(trial.ran(&name("b"), true), Verdict::GoesOn);
        assert_eq!(trial.ran(&name("a"), true), Verdict::GoBack);
        let mut trial = Trial::new([name("a")]);
        assert_eq!(trial.keep_only(&[name("a")]), Verdict::GoesOn);
        assert_eq!(trial.keep_only(&[name("b")]), Verdict::Proved, "its check is gone");
    }

    proptest! {
        /// Never back without two faults of a check that had worked, and never
        /// proved while one of them is open.
        #[test]
        fn verdicts_follow_from_what_ran(runs in proptest::collection::vec((0usize..4, any::<bool>()), 0..30)) {
            let names = ["a", "b", "c", "d"].map(name);
            let mut trial = Trial::new([names[0].clone(), names[1].clone()]);
            let (mut faults, mut fine) = ([0u32; 4], [false; 4]);
            for (at, fault) in runs {
                let verdict = trial.ran(&names[at], fault);
                if fault && !fine[at] { faults[at] += 1 } else { fine[at] |= !fault }
                match verdict {
                    Verdict::GoBack => { prop_assert!(at < 2 && faults[at] >= FAULTS_TO_GO_BACK); break }
                    Verdict::Proved => { prop_assert!(fine[0] && fine[1]); break }
                    Verdict::GoesOn => prop_assert!(!(fine[0] && fine[1])),
                }
            }
        }
    }
}
