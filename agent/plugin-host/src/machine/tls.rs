//! A TLS handshake and nothing more.

use super::network::Tls;
use crate::answer::Probe;
use crate::call::CallError;
use hostler_types::plugin::Grants;

pub(super) async fn inspect(
    _host: &str,
    _port: u16,
    _server_name: &str,
    _starttls: Option<&str>,
    _grants: &Grants,
    _tls: &Tls,
) -> Result<Probe, CallError> {
    Err(CallError::other("tls", "not offered yet"))
}
