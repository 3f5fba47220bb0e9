//! Specs: what people write to say how a system should be.
//!
//! `kind: {name: body}`, any kind in any file. Text becomes a tree that knows
//! where each part was written ([`yaml`]), the tree becomes [`Object`]s with one
//! typed body a kind ([`body`]), and whatever is wrong is told all at once, with
//! the line itself ([`problem`]).

pub mod body;
mod fields;
mod problem;
mod read;
mod write;
mod yaml;

pub use body::{Body, CheckSpec, Kind, NodeSpec, PluginSpec};
pub use problem::{Problem, Problems, nearest};
pub use read::{Object, SourceFile, read_files, read_json};
pub use write::{to_value, write_yaml};
