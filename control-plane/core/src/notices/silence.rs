//! Times in which nobody is told of some things.

use super::Subject;
use hostler_types::{Labels, Name, Selector, Timestamp};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq)]
pub struct Silence {
    pub id: String,
    /// Labels only, `name` among them: facts are a host's own claims.
    pub selector: Selector,
    /// Without it, any check and the nodes themselves.
    pub check: Option<Name>,
    pub reason: String,
    pub by: String,
    pub created_at: Timestamp,
    pub ends_at: Timestamp,
}

impl Silence {
    pub fn takes(&self, subject: &Subject, labels: Option<&Labels>) -> bool {
        if self.check.as_ref().is_some_and(|wanted| subject.check() != Some(wanted)) {
            return false;
        }
        let Some(node) = subject.node() else {
            // It is about many nodes: only who silenced all of them meant that.
            return self.selector == Selector::all();
        };
        let mut labels = labels.cloned().unwrap_or_default();
        labels.entry("name".to_owned()).or_insert_with(|| node.to_string());
        self.selector.matches(&labels, &BTreeMap::new())
    }
}
