//! Files below what was granted.

use crate::answer::Stat;
use crate::call::CallError;
use hostler_types::plugin::Grants;

pub(super) async fn stat(_path: &str, _grants: &Grants) -> Result<Stat, CallError> {
    Err(CallError::other("file", "not offered yet"))
}

pub(super) async fn read(_path: &str, _offset: u64, _max: u32, _grants: &Grants) -> Result<Vec<u8>, CallError> {
    Err(CallError::other("file", "not offered yet"))
}

pub(super) async fn glob(_pattern: &str, _max: u32, _grants: &Grants) -> Result<Vec<String>, CallError> {
    Err(CallError::other("file", "not offered yet"))
}
