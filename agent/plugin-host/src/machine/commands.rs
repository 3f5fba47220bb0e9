//! Granted programs.

use crate::answer::Output;
use crate::call::CallError;
use hostler_types::plugin::Grants;

pub(super) async fn run(
    _command: &str,
    _args: &[String],
    _stdin: Vec<u8>,
    _grants: &Grants,
) -> Result<Output, CallError> {
    Err(CallError::other("command", "not offered yet"))
}
