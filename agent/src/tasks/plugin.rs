//! Asks a plugin of world action, as a step does: within its grants, under the limits of
//! any other run, and only where the host's policy lets it change something.

use super::hands::Hands;
use crate::checks::log_sink;
use crate::logging::whole;
use crate::orders::Orders;
use crate::plugins::{Readiness, Running, Table};
use crate::vault::Vault;
use hostler_agent_core::tasks::{Fate, Part, PluginAsk, PluginSaid};
use hostler_executor::protocol::Act;
use hostler_plugin_host::{Done, Fault, RunContext, RunRequest, Step, Work, World};
use hostler_types::Name;
use hostler_types::task::Action;
use hostler_types::units::format_duration;
use std::sync::Arc;
use tokio::sync::watch;

/// What this host has of plugins.
#[derive(Clone)]
pub struct Plugins {
    pub table: watch::Receiver<Table>,
    pub orders: watch::Receiver<Option<Arc<Orders>>>,
}

impl Plugins {
    fn running(&self, plugin: &Name) -> Result<Running, PluginSaid> {
        let table = Arc::clone(&self.table.borrow());
        let Some(slot) = table.get(plugin) else {
            let orders = self.orders.borrow();
            let wanted = orders.as_ref().is_some_and(|all| all.desired.plugins.iter().any(|one| one.name == *plugin));
            return Err(PluginSaid::NotYet(if wanted {
                format!("plugin {plugin} is about to come here")
            } else {
                format!("plugin {plugin} is not assigned to this host: apply a task of this host that has this step")
            }));
        };
        match (slot.running(false), &slot.readiness) {
            (Some(running), _) if running.plugin.world() == World::Action => Ok(running),
            (Some(running), _) => {
                let world = running.plugin.world();
                Err(PluginSaid::Failed(format!("plugin {plugin} is of world {world}, and not of world action")))
            }
            (None, Readiness::Failed(why)) => {
                Err(PluginSaid::NotYet(format!("plugin {plugin} cannot be used on this host: {why}")))
            }
            (None, _) => Err(PluginSaid::NotYet(format!("plugin {plugin} is not ready here yet"))),
        }
    }
}

impl Hands {
    /// Nothing: the executor is gone, and the agent with it.
    pub async fn ask_plugin(&self, action: Action, ask: PluginAsk) -> Option<PluginSaid> {
        let Action { plugin, with_json } = action;
        match self.done(Act::LetPlugin { plugin: plugin.to_string() }).await {
            Ok(_) => {}
            Err(None) => return None,
            Err(Some(Fate::Refused(words))) => return Some(PluginSaid::Refused(words)),
            // It has too much to do, or had.
            Err(Some(Fate::Unknown(words) | Fate::Failed(words))) => return Some(PluginSaid::NotYet(words)),
            Err(Some(_)) => return Some(PluginSaid::Failed("the executor gave no answer".to_owned())),
        }
        let running = match self.plugins.running(&plugin) {
            Ok(running) => running,
            Err(said) => return Some(said),
        };
        let with = match self.vault.configure(&with_json.into()) {
            Ok(with) => with,
            Err(why) => return Some(PluginSaid::Failed(why)),
        };
        let request = RunRequest {
            context: RunContext { instance: instance_of(&plugin).into(), grants: Arc::clone(&running.grants) },
            log: Some(log_sink(&plugin, &self.vault)),
            ..RunRequest::new(Arc::clone(&with))
        };
        let run = Box::pin(running.plugin.run(work(&with, ask), request)).await;
        Some(said(run.outcome, &self.vault))
    }
}

/// Whose state it keeps: none of a check's, whose names have no slash.
fn instance_of(plugin: &Name) -> String {
    format!("action/{plugin}")
}

fn work(with: &str, ask: PluginAsk) -> Work {
    let parameters_json = with.to_owned();
    match ask {
        PluginAsk::Plan => Work::Plan { parameters_json },
        PluginAsk::Apply { part: step, key: idempotency_key } => Work::Apply { parameters_json, step, idempotency_key },
        PluginAsk::Undo { part: step, key: idempotency_key } => Work::Undo { parameters_json, step, idempotency_key },
    }
}

fn said(outcome: Result<Done, Fault>, vault: &Vault) -> PluginSaid {
    let part = |Step { id, summary, reversible }: Step| Part { id, summary: vault.redact(summary), reversible };
    match outcome {
        Ok(Done::Planned(plan)) => PluginSaid::Planned(plan.into_iter().map(part).collect()),
        Ok(Done::Applied(attributes)) => {
            let clean = |(key, value)| (vault.redact(key), vault.redact(value));
            PluginSaid::Applied(attributes.into_iter().map(clean).collect())
        }
        Ok(Done::Undone) => PluginSaid::Undone,
        Ok(_) => PluginSaid::Failed("the plugin gave no answer".to_owned()),
        // It says so itself.
        Err(Fault::Broke(why)) => PluginSaid::Failed(vault.redact(why)),
        Err(fault @ Fault::ConfigInvalid(_)) => PluginSaid::Failed(vault.redact(whole(&fault))),
        Err(Fault::TimedOut { after }) => {
            let longest = format_duration(after);
            PluginSaid::Failed(format!("it took longer than {longest} and was stopped; some of it may be done"))
        }
        Err(fault) => PluginSaid::Failed(format!("{}; some of it may be done", vault.redact(whole(&fault)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plugin_says_is_told_without_secrets() {
        let folder = tempfile::tempdir().expect("a folder");
        let vault = Vault::open(folder.path()).expect("opens");
        let of = |outcome| said(outcome, &vault);
        assert_eq!(of(Err(Fault::Broke("no server web1".into()))), PluginSaid::Failed("no server web1".into()));
        let PluginSaid::Failed(stopped) = of(Err(Fault::CpuExhausted)) else { panic!("it failed") };
        assert!(stopped.ends_with("; some of it may be done"), "{stopped}");
        assert_eq!(of(Ok(Done::Undone)), PluginSaid::Undone);
        assert!(matches!(of(Ok(Done::Collected)), PluginSaid::Failed(_)));
    }
}
