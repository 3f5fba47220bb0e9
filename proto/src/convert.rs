//! The only conversions between wire and domain. Whatever arrives is checked
//! here, with an error that names the field; behind this line all is typed.

mod agent;
mod schedule;
mod service;
mod signing;
mod task;

pub use agent::*;
pub use schedule::*;
pub use service::*;
pub use signing::*;
pub use task::*;

/// A field that does not say what it must.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct WireError {
    pub field: &'static str,
    pub problem: String,
}

impl WireError {
    pub fn new(field: &'static str, problem: impl std::fmt::Display) -> Self {
        Self { field, problem: problem.to_string() }
    }
}

impl From<WireError> for tonic::Status {
    fn from(error: WireError) -> Self {
        tonic::Status::invalid_argument(error.to_string())
    }
}
