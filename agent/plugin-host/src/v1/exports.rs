//! The four worlds' exports behind one face: instantiate, configure, work.

use super::bindings::{Check, CheckPre};
use super::{State, action, check_api, collector, lifecycle, notifier, wit};
use crate::host::World;
use crate::report::Report;
use crate::run::{Done, Notice, NoticeOutcome, Step, Work};
use hostler_types::Status;
use std::time::Duration;
use wasmtime::Store;
use wasmtime::component::InstancePre;

pub(crate) enum Exports {
    Check(CheckPre<State>),
    Collector(collector::CollectorPre<State>),
    Notifier(notifier::NotifierPre<State>),
    Action(action::ActionPre<State>),
}

pub(crate) enum Instance {
    Check(Check),
    Collector(collector::Collector),
    Notifier(notifier::Notifier),
    Action(action::Action),
}

impl Exports {
    pub(crate) fn new(instance: InstancePre<State>, world: World) -> wasmtime::Result<Exports> {
        Ok(match world {
            World::Check => Exports::Check(CheckPre::new(instance)?),
            World::Collector => Exports::Collector(collector::CollectorPre::new(instance)?),
            World::Notifier => Exports::Notifier(notifier::NotifierPre::new(instance)?),
            World::Action => Exports::Action(action::ActionPre::new(instance)?),
        })
    }

    pub(crate) async fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<Instance> {
        Ok(match self {
            Exports::Check(pre) => Instance::Check(pre.instantiate_async(store).await?),
            Exports::Collector(pre) => Instance::Collector(pre.instantiate_async(store).await?),
            Exports::Notifier(pre) => Instance::Notifier(pre.instantiate_async(store).await?),
            Exports::Action(pre) => Instance::Action(pre.instantiate_async(store).await?),
        })
    }
}

/// A wrong key of the configuration, whichever world told it.
pub(crate) struct ConfigError {
    pub(crate) pointer: String,
    pub(crate) message: String,
}

macro_rules! config_error {
    ($($from:path),+) => {$(
        impl From<$from> for ConfigError {
            fn from(error: $from) -> Self {
                ConfigError { pointer: error.pointer, message: error.message }
            }
        }
    )+};
}
config_error!(
    lifecycle::ConfigError,
    collector::exports::hostler::plugin::lifecycle::ConfigError,
    notifier::exports::hostler::plugin::lifecycle::ConfigError,
    action::exports::hostler::plugin::lifecycle::ConfigError
);

fn problems<E: Into<ConfigError>>(answer: Result<(), Vec<E>>) -> Result<(), Vec<ConfigError>> {
    answer.map_err(|problems| problems.into_iter().map(Into::into).collect())
}

impl Instance {
    pub(crate) async fn configure(
        &self,
        store: &mut Store<State>,
        config: &str,
    ) -> wasmtime::Result<Result<(), Vec<ConfigError>>> {
        Ok(match self {
            Instance::Check(one) => problems(one.hostler_plugin_lifecycle().call_configure(store, config).await?),
            Instance::Collector(one) => problems(one.hostler_plugin_lifecycle().call_configure(store, config).await?),
            Instance::Notifier(one) => problems(one.hostler_plugin_lifecycle().call_configure(store, config).await?),
            Instance::Action(one) => problems(one.hostler_plugin_lifecycle().call_configure(store, config).await?),
        })
    }

    pub(crate) async fn work(&self, store: &mut Store<State>, work: Work) -> wasmtime::Result<Result<Done, String>> {
        Ok(match (self, work) {
            (Instance::Check(one), Work::Check) => {
                one.hostler_plugin_check_api().call_run(store).await?.map(|one| Done::Report(report(one)))
            }
            (Instance::Collector(one), Work::Collect) => {
                one.hostler_plugin_collector_api().call_collect(store).await?.map(|()| Done::Collected)
            }
            (Instance::Notifier(one), Work::Notify(told)) => {
                let outcome = one.hostler_plugin_notifier_api().call_notify(store, &notice(told)).await?;
                Ok(Done::Notified(notified(outcome)))
            }
            (Instance::Action(one), Work::Plan { parameters_json }) => {
                let steps = one.hostler_plugin_action_api().call_plan(store, &parameters_json).await?;
                let step = |one: action::exports::hostler::plugin::action_api::Step| Step {
                    id: one.id,
                    summary: one.summary,
                    reversible: one.reversible,
                };
                steps.map(|steps| Done::Planned(steps.into_iter().map(step).collect()))
            }
            (Instance::Action(one), Work::Apply { parameters_json, step, idempotency_key }) => {
                let api = one.hostler_plugin_action_api();
                let applied = api.call_apply(store, &parameters_json, &step, &idempotency_key).await?;
                applied.map(|attrs| Done::Applied(pairs(attrs)))
            }
            (Instance::Action(one), Work::Undo { parameters_json, step, idempotency_key }) => {
                let api = one.hostler_plugin_action_api();
                api.call_undo(store, &parameters_json, &step, &idempotency_key).await?.map(|()| Done::Undone)
            }
            (_, work) => Err(format!("the plugin is no {}", work.world())),
        })
    }
}

fn pairs(attrs: Vec<wit::types::Attr>) -> Vec<(String, String)> {
    attrs.into_iter().map(|one| (one.key, one.value)).collect()
}

fn report(report: check_api::Report) -> Report {
    use wit::types::Status as Wit;
    let status = match report.status {
        Wit::Ok => Status::Ok,
        Wit::Warning => Status::Warning,
        Wit::Critical => Status::Critical,
        Wit::Unknown => Status::Unknown,
    };
    Report::capped(status, report.summary, report.details, pairs(report.attrs))
}

fn notice(notice: Notice) -> notifier::exports::hostler::plugin::notifier_api::Notice {
    notifier::exports::hostler::plugin::notifier_api::Notice {
        id: notice.id,
        title: notice.title,
        body: notice.body,
        state: notice.state,
        at: notice.at.into(),
        attrs: notice.attrs.into_iter().map(|(key, value)| wit::types::Attr { key, value }).collect(),
    }
}

fn notified(outcome: notifier::exports::hostler::plugin::notifier_api::Outcome) -> NoticeOutcome {
    use notifier::exports::hostler::plugin::notifier_api::Outcome as Wit;
    match outcome {
        Wit::Delivered(id) => NoticeOutcome::Delivered(id),
        Wit::RetryAfter(seconds) => NoticeOutcome::RetryAfter(Duration::from_secs(seconds.into())),
        Wit::Rejected(why) => NoticeOutcome::Rejected(why),
    }
}
