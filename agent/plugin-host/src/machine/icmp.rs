//! Pings.

use crate::answer::Echo;
use crate::call::CallError;
use hostler_types::plugin::Grants;

pub(super) async fn ping(_host: &str, _count: u32, _grants: &Grants) -> Result<Echo, CallError> {
    Err(CallError::other("icmp", "not offered yet"))
}
