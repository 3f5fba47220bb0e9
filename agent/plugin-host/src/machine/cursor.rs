//! Files that grow.

use super::kv::Store;
use crate::call::CallError;
use hostler_types::plugin::Grants;

pub(super) struct Cursor;

impl Cursor {
    pub(super) async fn open(
        _name: &str,
        _path: &str,
        _from_end: bool,
        _grants: &Grants,
        _kv: &Store,
        _instance: &str,
    ) -> Result<Cursor, CallError> {
        Err(CallError::other("file", "not offered yet"))
    }

    pub(super) async fn lines(&mut self, _max_lines: u32, _max_bytes: u32) -> Result<Vec<String>, CallError> {
        Err(CallError::other("file", "not offered yet"))
    }

    pub(super) fn commit(&mut self, _kv: &Store, _instance: &str) -> Result<(), CallError> {
        Err(CallError::other("file", "not offered yet"))
    }
}
