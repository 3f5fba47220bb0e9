//! Who may begin a run, and what a second person is asked about it.

use super::{Draft, draft};
use crate::access::{Caller, in_system, on_node, require};
use crate::app::App;
use crate::approvals::Weighed;
use crate::world::World;
use hostler_core::access::{Ask, Noun, Verb};
use hostler_proto::admin as wire;
use hostler_types::{Labels, Name};
use tonic::Status;

/// Something to be done on one node, that its like has to be allowed for.
#[derive(Clone, Debug)]
pub struct Right {
    noun: Noun,
    system: Option<Name>,
    name: Name,
    labels: Labels,
}

impl Right {
    pub fn of(noun: Noun, system: Option<&Name>, name: &Name, labels: &Labels) -> Self {
        Self { noun, system: system.cloned(), name: name.clone(), labels: labels.clone() }
    }

    pub fn require(&self, world: &World, caller: &Caller) -> Result<(), Status> {
        let ask = Ask::new(Verb::Act, self.noun);
        let ask = match &self.system {
            Some(system) => in_system(ask, system),
            None => ask,
        };
        require(world, caller, &on_node(ask, self.name.as_str(), &self.labels))
    }
}

/// What a second person is asked.
pub struct Weight {
    pub weighed: Weighed,
    /// What is done, as it is printed.
    pub title: String,
    pub system: String,
    pub rights: Vec<Right>,
}

pub async fn weigh(app: &App, world: &World, request: &wire::StartRunRequest) -> Result<Weight, Status> {
    let draft = draft(app, world, request).await?;
    let weighed = weighed(&draft, request);
    Ok(Weight { weighed, title: draft.title, system: draft.system, rights: draft.rights })
}

/// Whatever of it makes a difference: another second later it must be the same.
pub(super) fn weighed(draft: &Draft, request: &wire::StartRunRequest) -> Weighed {
    let nodes = draft.hosts.iter().map(|(_, name)| name.clone()).collect();
    let ids: Vec<String> = draft.hosts.iter().map(|(id, _)| id.to_string()).collect();
    // Of a script its digest stands in the steps.
    let request = wire::StartRunRequest { script: Vec::new(), ..request.clone() };
    let basis = format!("run {:?} on {ids:?} but {:?}, of {request:?}", draft.steps, draft.absent);
    Weighed { nodes, basis }
}
