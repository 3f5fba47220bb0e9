//! Specs: what people write to say how a system should be.
//!
//! `kind: {name: body}`, any kind in any file of one folder. Text becomes a tree
//! that knows where each part was written ([`yaml`]), trees become one
//! ([`compile`], with an environment's [`overlay`]), and each body is read by its
//! type ([`kinds`]). A type says its own [`form`]: messages, the JSON schema,
//! `explain` and the reference are made from it.

mod collections;
mod compile;
mod explain;
mod filled;
mod form;
mod interpolate;
mod kind;
pub mod kinds;
mod overlay;
mod problem;
mod scalars;
mod schema;
mod shape;
mod traps;
mod words;
mod write;
pub mod yaml;

pub use collections::Config;
pub use compile::{Compiled, EnvSource, Object, Source, SourceFile, compile, read_json};
pub use explain::{ExplainError, explain, reference, schema_text};
pub use filled::{filled, names_in};
pub use form::{Field, Form, Json, Need, Record, Scalar, Word};
pub use interpolate::{names_secret, on_node, secrets_in, with_secrets};
pub use kind::{Body, Kind, Noun};
pub use kinds::{
    ActionStep, AlertSpec, AlertState, CheckSpec, CheckTarget, Drift, FileSpec, FileStep, HealStep, LabelKey, Missed,
    NodeSpec, NotifierSpec, Offline, OnChange, OnNeeds, Overlap, Packages, PluginSpec, Reboot, Restart, Restarter,
    RunStep, ScheduleSpec, ServiceSpec, ServiceType, Severity, Signal, Step, SystemSpec, TaskSpec, UserStep,
    WindowSpec,
};
pub use problem::{Problem, Problems, nearest};
pub use scalars::{Amount, Number, Ref, Setting, Size, Span, Template, Whole, Zone};
pub use schema::{Flavour, json_schema};
pub use shape::{Content, Link, Target};
pub use write::{Detail, write_value, write_yaml};
