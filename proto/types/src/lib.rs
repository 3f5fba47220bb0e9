//! The words of the domain: names, states, selectors, specs, facts.
//!
//! Everything here is pure: no async, no wire format, no files, no clock. Time
//! and randomness come in as arguments, so that every rule built on these types
//! can be tested by calling it.

pub mod calendar;
pub mod cron;
pub mod desired;
pub mod event;
pub mod facts;
pub mod fetch;
pub mod hash;
pub mod join_code;
pub mod name;
pub mod notice;
pub mod notifier;
pub mod plugin;
pub mod selector;
pub mod service;
pub mod spec;
pub mod state;
pub mod task;
pub mod terminal;
pub mod time;
pub mod units;
pub mod version;

pub use desired::{
    CheckAssignment, DesiredState, NotifierAssignment, PluginAssignment, ScheduleAssignment, SealedSecret, Stamp,
    WatchAssignment, WindowAssignment,
};
pub use event::{Event, EventKind, Transition};
pub use facts::Facts;
pub use fetch::{FetchPath, TaskFile};
pub use name::{Name, NameError, NodeId};
pub use selector::{Labels, Selector};
pub use service::{Act, Brake, BrakeKind, Deed, ServiceAssignment, ServiceState, ServiceVerb};
pub use state::{CheckState, NodeState, Policy, Status};
pub use task::{TaskId, TaskOffer, TaskReport, TaskState, TaskStep};
pub use time::{Now, Timestamp};
