//! What a plugin can be, and the macros that make a type one.

use crate::Host;
use crate::options::ConfigError;
use crate::report::{Attr, Report};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A check: a type without values, its options, and how it runs.
pub trait Check {
    /// Give it `#[serde(deny_unknown_fields)]`: a misspelt option is an error.
    type Options: DeserializeOwned;

    /// What serde cannot see, such as one option that rules out another. Each
    /// error names its option by JSON pointer.
    fn problems(_options: &Self::Options) -> Vec<ConfigError> {
        Vec::new()
    }

    /// What is wrong with the target is a report. `Err` means that the check
    /// itself broke.
    fn run(options: &Self::Options, host: &impl Host) -> Result<Report, String>;
}

/// Reports metrics by [`Host::report`].
pub trait Collector {
    type Options: DeserializeOwned;

    fn problems(_options: &Self::Options) -> Vec<ConfigError> {
        Vec::new()
    }

    fn collect(options: &Self::Options, host: &impl Host) -> Result<(), String>;
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// The same id is the same notice.
    pub id: String,
    pub title: String,
    pub body: String,
    pub state: String,
    /// Seconds since 1970.
    pub at: u64,
    pub attrs: Vec<Attr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What the receiver calls it.
    Delivered(String),
    RetryAfter(Duration),
    /// It will never be taken: why.
    Rejected(String),
}

/// Delivers notices.
pub trait Notifier {
    type Options: DeserializeOwned;

    fn problems(_options: &Self::Options) -> Vec<ConfigError> {
        Vec::new()
    }

    fn notify(options: &Self::Options, notice: &Notice, host: &impl Host) -> Outcome;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub id: String,
    pub summary: String,
    pub reversible: bool,
}

/// Changes something, in steps that are told before they are done. In a task, options and
/// parameters are both what stands under `with`: they may be one type.
pub trait Action {
    type Options: DeserializeOwned;
    type Parameters: DeserializeOwned;

    fn problems(_options: &Self::Options) -> Vec<ConfigError> {
        Vec::new()
    }

    /// Changes nothing.
    fn plan(options: &Self::Options, parameters: &Self::Parameters, host: &impl Host) -> Result<Vec<Step>, String>;

    /// With a key that was seen before it does nothing again.
    fn apply(
        options: &Self::Options,
        parameters: &Self::Parameters,
        step: &str,
        key: &str,
        host: &impl Host,
    ) -> Result<Vec<Attr>, String>;

    /// What was applied under this key; once more it does nothing again.
    fn undo(
        options: &Self::Options,
        parameters: &Self::Parameters,
        step: &str,
        key: &str,
        host: &impl Host,
    ) -> Result<(), String>;
}

/// `configure`, which all worlds export.
#[doc(hidden)]
#[macro_export]
macro_rules! export_lifecycle {
    ($plugin:ty, $trait:ident) => {
        use $crate::guest::lifecycle::exports::hostler::plugin::lifecycle;
        impl lifecycle::Guest for Component {
            fn configure(config_json: String) -> Result<(), Vec<lifecycle::ConfigError>> {
                $crate::guest::configure(&config_json, <$plugin as $crate::$trait>::problems)
            }
        }
        $crate::guest::lifecycle::export!(Component with_types_in $crate::guest::lifecycle);
    };
}

/// Makes a [`Check`] the component's exports. Does nothing on a native target.
#[macro_export]
macro_rules! export_check {
    ($check:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Component;
            $crate::export_lifecycle!($check, Check);
            use $crate::guest::check::exports::hostler::plugin::check_api;
            impl check_api::Guest for Component {
                fn run() -> Result<check_api::Report, String> {
                    let options = $crate::guest::options()?;
                    <$check as $crate::Check>::run(&options, &$crate::guest::RealHost).map(Into::into)
                }
            }
    $crate::guest::check::export!(Component with_types_in $crate::guest::check);
        };
    };
}

/// Makes a [`Collector`] the component's exports.
#[macro_export]
macro_rules! export_collector {
    ($collector:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Component;
            $crate::export_lifecycle!($collector, Collector);
            use $crate::guest::collector::exports::hostler::plugin::collector_api;
            impl collector_api::Guest for Component {
                fn collect() -> Result<(), String> {
                    let options = $crate::guest::options()?;
                    <$collector as $crate::Collector>::collect(&options, &$crate::guest::RealHost)
                }
            }
    $crate::guest::collector::export!(Component with_types_in $crate::guest::collector);
        };
    };
}

/// Makes a [`Notifier`] the component's exports.
#[macro_export]
macro_rules! export_notifier {
    ($notifier:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Component;
            $crate::export_lifecycle!($notifier, Notifier);
            use $crate::guest::notifier::exports::hostler::plugin::notifier_api;
            impl notifier_api::Guest for Component {
                fn notify(notice: notifier_api::Notice) -> notifier_api::Outcome {
                    let options = match $crate::guest::options() {
                        Ok(options) => options,
                        Err(wrong) => return notifier_api::Outcome::Rejected(wrong),
                    };
                    let host = $crate::guest::RealHost;
                    <$notifier as $crate::Notifier>::notify(&options, &notice.into(), &host).into()
                }
            }
    $crate::guest::notifier::export!(Component with_types_in $crate::guest::notifier);
        };
    };
}

/// Makes an [`Action`] the component's exports.
#[macro_export]
macro_rules! export_action {
    ($action:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Component;
            $crate::export_lifecycle!($action, Action);
            use $crate::guest::action::exports::hostler::plugin::action_api;
            use $crate::guest::{RealHost, options, parameters};
            impl action_api::Guest for Component {
                fn plan(json: String) -> Result<Vec<action_api::Step>, String> {
                    let steps = <$action as $crate::Action>::plan(&options()?, &parameters(&json)?, &RealHost)?;
                    Ok(steps.into_iter().map(Into::into).collect())
                }
                fn apply(json: String, step: String, key: String) -> Result<Vec<action_api::Attr>, String> {
                    let parameters = parameters(&json)?;
                    let done = <$action as $crate::Action>::apply(&options()?, &parameters, &step, &key, &RealHost);
                    done.map($crate::guest::attrs)
                }
                fn undo(json: String, step: String, key: String) -> Result<(), String> {
                    let parameters = parameters(&json)?;
                    <$action as $crate::Action>::undo(&options()?, &parameters, &step, &key, &RealHost)
                }
            }
    $crate::guest::action::export!(Component with_types_in $crate::guest::action);
        };
    };
}
