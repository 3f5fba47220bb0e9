//! What is applied now: every object, and whose it is.

use hostler_types::spec::{Body, CheckSpec, Kind, NodeSpec, Object, PluginSpec, ServiceSpec, TaskSpec, Zone};
use hostler_types::{Name, Selector};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// What is applied without a system belongs to this one, from which nothing is
/// removed by being absent.
pub const LOOSE: &str = "default";

#[derive(Clone, Debug)]
pub struct Owned {
    pub system: Name,
    pub object: Arc<Object>,
}

#[derive(Clone, Debug, Default)]
pub struct Applied {
    objects: BTreeMap<(Kind, Name), Owned>,
}

impl Applied {
    pub fn get(&self, kind: Kind, name: &Name) -> Option<&Owned> {
        self.objects.get(&(kind, name.clone()))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Owned> {
        self.objects.values()
    }

    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Owned> {
        // No name sorts before "0".
        let first = Name::new("0").map_or(Bound::Unbounded, |name| Bound::Included((kind, name)));
        self.objects
            .range((first, Bound::Unbounded))
            .take_while(move |((found, _), _)| *found == kind)
            .map(|(_, one)| one)
    }

    pub fn of_system<'a>(&'a self, system: &'a Name) -> impl Iterator<Item = &'a Arc<Object>> {
        self.objects.values().filter(move |one| one.system == *system).map(|one| &one.object)
    }

    /// Puts a system's objects in the place of those that it had.
    pub fn set_system(&mut self, system: &Name, objects: impl IntoIterator<Item = Arc<Object>>) {
        self.objects.retain(|_, one| one.system != *system);
        for object in objects {
            let key = (object.kind(), object.name.clone());
            self.objects.insert(key, Owned { system: system.clone(), object });
        }
    }

    pub fn checks(&self) -> impl Iterator<Item = (&Name, &CheckSpec)> {
        self.of_kind(Kind::Check).filter_map(|one| match &one.object.body {
            Body::Check(spec) => Some((&one.object.name, &**spec)),
            _ => None,
        })
    }

    pub fn tasks(&self) -> impl Iterator<Item = &TaskSpec> {
        self.of_kind(Kind::Task).filter_map(|one| match &one.object.body {
            Body::Task(spec) => Some(&**spec),
            _ => None,
        })
    }

    /// Those with a step that this plugin does.
    pub fn tasks_by<'a>(&'a self, plugin: &'a Name) -> impl Iterator<Item = &'a TaskSpec> {
        self.tasks().filter(|task| task.actions().any(|(_, action)| action.plugin == *plugin))
    }

    pub fn plugin(&self, name: &Name) -> Option<&PluginSpec> {
        match &self.get(Kind::Plugin, name)?.object.body {
            Body::Plugin(spec) => Some(spec),
            _ => None,
        }
    }

    pub fn node(&self, name: &Name) -> Option<&NodeSpec> {
        match &self.get(Kind::Node, name)?.object.body {
            Body::Node(spec) => Some(spec),
            _ => None,
        }
    }

    pub fn service(&self, name: &Name) -> Option<&ServiceSpec> {
        match &self.get(Kind::Service, name)?.object.body {
            Body::Service(spec) => Some(spec),
            _ => None,
        }
    }

    /// What the cron lines of a system mean that say nothing else.
    pub fn zone_of(&self, system: &Name) -> Zone {
        match self.get(Kind::System, system).map(|one| &one.object.body) {
            Some(Body::System(spec)) => spec.zone.clone(),
            _ => Zone::utc(),
        }
    }

    /// The nodes that a check runs on: its own, or those of its service.
    pub fn selector_of<'a>(&'a self, check: &'a CheckSpec) -> Option<&'a Selector> {
        use hostler_types::spec::CheckTarget;
        match check.target() {
            CheckTarget::Nodes(selector) => Some(selector),
            CheckTarget::Service(service) => self.service(service).map(|service| &service.where_),
            CheckTarget::Nowhere => None,
        }
    }
}
