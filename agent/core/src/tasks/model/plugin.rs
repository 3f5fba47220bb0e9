//! A plugin that keeps its word: what it is asked under a key that it knows it has done.

use super::*;

/// One of them, of one step of one task.
type PartOf = (Place, String);

#[derive(Debug, Default)]
pub struct Plugin {
    /// Done under these keys.
    keys: BTreeSet<String>,
    /// How often each took effect, whatever the key.
    effects: BTreeMap<PartOf, u32>,
    undone: BTreeSet<PartOf>,
}

/// The third fails.
pub const FAILS: &str = "fails";
const ANSWERS_MS: u64 = 300;

pub fn step(fails: bool) -> TaskStep {
    let with_json = if fails { r#"{"third": "fails"}"# } else { r#"{"third": "wait"}"# };
    TaskStep::Action(Box::new(Action { plugin: name("haproxy-server"), with_json: with_json.to_owned() }))
}

fn plan(action: &Action) -> Vec<Part> {
    let third = if action.with_json.contains(FAILS) { FAILS } else { "wait" };
    let part = |(id, reversible): (&str, bool)| Part { id: id.into(), summary: id.into(), reversible };
    [("drain", true), ("mark", false), (third, true)].map(part).into()
}

impl World {
    pub fn plugin(&mut self, place: Place, action: &Action, ask: PluginAsk) {
        let acting = match self.disk.get(&place.0) {
            Some(Kept::Open(record)) if record.report.done == place.1 => record.acting.clone(),
            other => panic!("{place:?} is asked of a plugin, and on the disk is {other:?}"),
        };
        let said = match &ask {
            PluginAsk::Plan => PluginSaid::Planned(plan(action)),
            PluginAsk::Apply { part, key } => {
                self.acts(&place, false);
                let acting = acting.expect("its plan is kept");
                let next = usize::try_from(acting.done).ok().and_then(|done| acting.plan.get(done));
                assert!(acting.back.is_none() && next.is_some_and(|one| one.id == *part), "{acting:?}, and {part}");
                self.apply((place.clone(), part.clone()), key)
            }
            PluginAsk::Undo { part, .. } => {
                let back = acting.and_then(|acting| acting.back).expect("it is kept that it goes back");
                assert!(back.left > 0 && part != FAILS && part != "mark", "{back:?}, and {part}");
                self.plugins.undone.insert((place.clone(), part.clone()));
                PluginSaid::Undone
            }
        };
        let lost = std::mem::take(&mut self.lose);
        let said = if lost { PluginSaid::NotYet("it is not ready".into()) } else { said };
        let (id, step) = place;
        self.later(ANSWERS_MS, Coming::ToAgent(Input::PluginSaid { id, step, ask, said }));
    }

    fn apply(&mut self, part: PartOf, key: &str) -> PluginSaid {
        let plugins = &mut self.plugins;
        assert!(!plugins.undone.contains(&part), "{part:?} is done after it was undone");
        if part.1 == FAILS {
            return PluginSaid::Failed("it can't".into());
        }
        if plugins.keys.insert(key.to_owned()) {
            let count = plugins.effects.entry(part.clone()).or_default();
            *count += 1;
            assert_eq!(*count, 1, "{part:?} took effect twice: its key is another, {key}");
        }
        PluginSaid::Applied(vec![("key".into(), key.into())])
    }

    /// What is well was done whole; what failed by itself left nothing that can be undone
    /// and was not, unless it says so.
    pub fn judge_actions(&self, report: &TaskReport, steps: &[TaskStep]) {
        for (index, step) in (0u32..).zip(steps) {
            let TaskStep::Action(action) = step else { continue };
            let place = (report.id.clone(), index);
            for part in plan(action) {
                let at = (place.clone(), part.id.clone());
                let (done, undone) = (self.plugins.effects.contains_key(&at), self.plugins.undone.contains(&at));
                if index < report.done {
                    assert!(done && !undone, "{at:?} is told as done: {report:?}");
                } else if report.state == TaskState::Failed && report.done == index && part.reversible {
                    let told = report.words.contains("not undone: ") && report.words.contains(&part.id);
                    assert!(!done || undone || told, "{at:?} stays: {report:?}");
                }
            }
        }
    }
}
