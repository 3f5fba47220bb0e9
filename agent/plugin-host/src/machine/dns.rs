//! Questions to a name server.

use crate::answer::DnsAnswer;
use crate::call::CallError;
use hostler_types::plugin::Grants;

pub(super) async fn query(
    _name: &str,
    _rrtype: &str,
    _server: Option<&str>,
    _grants: &Grants,
) -> Result<DnsAnswer, CallError> {
    Err(CallError::other("dns", "not offered yet"))
}
