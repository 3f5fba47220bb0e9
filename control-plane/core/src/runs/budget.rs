//! How many nodes may be down by our hand at once, whoever asks.

use super::Held;
use hostler_types::spec::LabelKey;
use hostler_types::{Labels, Name, NodeId};
use std::collections::BTreeMap;

/// One budget as it stands now, or the part of it that has one value of its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    pub name: String,
    /// Where it is written.
    pub origin: String,
    pub max_down: usize,
    pub nodes: BTreeMap<NodeId, Name>,
}

/// Who is down, or will be by what was begun.
pub type Holders = BTreeMap<NodeId, Holder>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub why: String,
    /// It is seen to be down, whoever did it: whatever is done to it takes nobody away.
    pub is_down: bool,
}

/// What the part of a budget is called that a node with these labels belongs to.
pub fn part(budget: &Name, per: Option<&LabelKey>, labels: &Labels) -> String {
    match per {
        // Those without the label are counted together.
        Some(LabelKey(key)) => format!("{budget} ({key} {})", labels.get(key).map_or("none", String::as_str)),
        None => budget.to_string(),
    }
}

impl Budget {
    /// Why this node may not be taken away now. One that is down already costs its
    /// budget whatever is done to it; one of which nobody knows does not.
    pub fn refuses(&self, node: &NodeId, holders: &Holders) -> Option<Held> {
        if !self.nodes.contains_key(node) || holders.get(node).is_some_and(|one| one.is_down) {
            return None;
        }
        let others = self.nodes.iter().filter(|(other, _)| *other != node);
        let down = others.filter_map(|(other, name)| Some((name, holders.get(other)?)));
        let down: Vec<String> = down.map(|(name, one)| format!("{name} {}", one.why)).collect();
        (down.len() >= self.max_down).then(|| {
            let who = if down.is_empty() { String::new() } else { format!(": {}", down.join(", ")) };
            let words = format!("budget {}: {} of {} down{who}", self.name, down.len(), self.max_down);
            Held { words, origin: self.origin.clone() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> (NodeId, Name) {
        (NodeId::from_random([number; 10]), Name::new(format!("web{number}")).expect("a name"))
    }

    #[test]
    fn zones_are_counted_apart() {
        let (app, zone) = (Name::new("app").expect("a name"), LabelKey("zone".into()));
        let labels = |value: &str| Labels::from([("zone".to_owned(), value.to_owned())]);
        assert_eq!(part(&app, Some(&zone), &labels("b")), "app (zone b)");
        assert_eq!(part(&app, Some(&zone), &Labels::new()), "app (zone none)");
        assert_eq!(part(&app, None, &labels("b")), "app");
    }

    #[test]
    fn what_is_down_costs_and_may_be_restarted() {
        let nodes: BTreeMap<_, _> = (1..=3).map(node).collect();
        let budget = Budget { name: "web".into(), origin: "system.yaml:4".into(), max_down: 1, nodes };
        let mut holders = Holders::new();
        assert_eq!(budget.refuses(&node(1).0, &holders), None);
        let mut holder = Holder { why: "in run/7".into(), is_down: false };
        holders.insert(node(2).0, holder.clone());
        let held = budget.refuses(&node(1).0, &holders).expect("refused");
        assert_eq!(held.words, "budget web: 1 of 1 down: web2 in run/7");
        assert_eq!(held.origin, "system.yaml:4");
        assert_eq!(budget.refuses(&node(2).0, &holders), None, "it holds it itself");
        holder.is_down = true;
        holders.insert(node(1).0, holder);
        assert_eq!(budget.refuses(&node(1).0, &holders), None, "it is down already");
        assert!(budget.refuses(&node(2).0, &holders).is_some(), "nobody knows how it is");
        assert_eq!(budget.refuses(&node(9).0, &holders), None, "another's");
    }
}
