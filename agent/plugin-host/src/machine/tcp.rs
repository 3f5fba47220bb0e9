//! Connections of a run.

use super::network::Tls;
use crate::call::CallError;
use hostler_types::plugin::Grants;

pub(super) struct Connection;

impl Connection {
    pub(super) async fn connect(_host: &str, _port: u16, _grants: &Grants) -> Result<Connection, CallError> {
        Err(CallError::other("tcp", "not offered yet"))
    }

    pub(super) async fn connect_unix(_path: &str, _grants: &Grants) -> Result<Connection, CallError> {
        Err(CallError::other("tcp", "not offered yet"))
    }

    pub(super) async fn start_tls(&mut self, _server_name: &str, _tls: &Tls) -> Result<(), CallError> {
        Err(CallError::other("tcp", "not offered yet"))
    }

    pub(super) async fn send(&mut self, _bytes: &[u8]) -> Result<(), CallError> {
        Err(CallError::other("tcp", "not offered yet"))
    }

    pub(super) async fn receive(&mut self, _max: u32) -> Result<Vec<u8>, CallError> {
        Err(CallError::other("tcp", "not offered yet"))
    }
}
