//! New versions of plugins on trial, beside the runs that judge them.

use super::Ended;
use crate::plugins::{Readiness, Table};
use hostler_agent_core::trial::{Trial, Verdict};
use hostler_types::Name;
use std::collections::{BTreeMap, BTreeSet};

/// How a trial ended, for whoever keeps the plugins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialEnd {
    pub plugin: Name,
    pub digest: String,
    /// Why the version before runs again; absent: the new one is proved.
    pub back: Option<String>,
}

#[derive(Default)]
pub struct Trials {
    open: BTreeMap<Name, (String, Trial)>,
    /// Versions that broke: what keeps the plugins hears of it a moment later.
    refused: BTreeSet<String>,
}

/// What a run says.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// Of its check, as ever.
    Result,
    /// Nothing: its version broke, and the check runs again at once.
    Again,
}

impl Trials {
    /// Begins what is due to begin, and ends what nobody is left to judge. `worked`
    /// are the checks of a plugin whose last run was fine.
    pub fn follow(&mut self, table: &Table, worked: impl Fn(&Name) -> Vec<Name>) -> Vec<TrialEnd> {
        self.refused.retain(|digest| table.values().any(|slot| slot.assignment.digest == *digest));
        self.open.retain(|plugin, (digest, _)| {
            table.get(plugin).is_some_and(|slot| slot.assignment.digest == *digest && slot.before.is_some())
        });
        let mut ended = Vec::new();
        self.open.retain(|plugin, (digest, trial)| {
            let goes_on = trial.keep_only(&worked(plugin)) == Verdict::GoesOn;
            if !goes_on {
                ended.push(TrialEnd { plugin: plugin.clone(), digest: digest.clone(), back: None });
            }
            goes_on
        });
        for (plugin, slot) in table.iter() {
            let on_trial = slot.before.is_some() && matches!(slot.readiness, Readiness::Ready(_));
            if !on_trial
                || ended.iter().any(|end| end.plugin == *plugin)
                || self.open.contains_key(plugin)
                || self.refused.contains(&slot.assignment.digest)
            {
                continue;
            }
            let worked = worked(plugin);
            let digest = slot.assignment.digest.clone();
            if worked.is_empty() {
                ended.push(TrialEnd { plugin: plugin.clone(), digest, back: None });
            } else {
                self.open.insert(plugin.clone(), (digest, Trial::new(worked)));
            }
        }
        ended
    }

    pub fn is_refused(&self, digest: &str) -> bool {
        self.refused.contains(digest)
    }

    pub fn ran(&mut self, ended: &Ended) -> (Said, Option<TrialEnd>) {
        let Some(ran) = &ended.ran else { return (Said::Result, None) };
        if self.refused.contains(&ran.digest) {
            return (Said::Again, None);
        }
        let open = self.open.get_mut(&ran.plugin).filter(|(digest, _)| *digest == ran.digest);
        let Some((digest, trial)) = open else { return (Said::Result, None) };
        let fault = match &ended.result {
            Ok(run) => run.outcome.as_ref().err().map(ToString::to_string),
            Err(message) => Some(message.clone()),
        };
        let judged = trial.judges(&ended.check);
        let (digest, verdict) = (digest.clone(), trial.ran(&ended.check, fault.is_some()));
        let said = if judged && fault.is_some() { Said::Again } else { Said::Result };
        let end = match verdict {
            Verdict::GoesOn => None,
            Verdict::Proved => Some(TrialEnd { plugin: ran.plugin.clone(), digest, back: None }),
            Verdict::GoBack => {
                self.refused.insert(digest.clone());
                let reason = format!("{} with check {}", fault.unwrap_or_default(), ended.check);
                Some(TrialEnd { plugin: ran.plugin.clone(), digest, back: Some(reason) })
            }
        };
        if end.is_some() {
            self.open.remove(&ran.plugin);
        }
        (said, end)
    }
}
