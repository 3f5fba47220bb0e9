//! What runs leave for later runs.

use crate::call::CallError;
use std::path::PathBuf;

pub(super) struct Store;

impl Store {
    pub(super) fn new(_folder: Option<PathBuf>) -> Store {
        Store
    }

    pub(super) fn get(&self, _instance: &str, _key: &str) -> Result<Option<Vec<u8>>, CallError> {
        Err(CallError::other("kv", "not offered yet"))
    }

    pub(super) fn set(
        &self,
        _instance: &str,
        _key: &str,
        _value: Vec<u8>,
        _ttl_seconds: Option<u32>,
    ) -> Result<(), CallError> {
        Err(CallError::other("kv", "not offered yet"))
    }

    pub(super) fn delete(&self, _instance: &str, _key: &str) -> Result<(), CallError> {
        Err(CallError::other("kv", "not offered yet"))
    }

    pub(super) fn compare_and_set(
        &self,
        _instance: &str,
        _key: &str,
        _old: Option<Vec<u8>>,
        _new: Vec<u8>,
    ) -> Result<bool, CallError> {
        Err(CallError::other("kv", "not offered yet"))
    }
}
