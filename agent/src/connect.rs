//! The short calls to the control plane, join and renewal, and what each way of
//! failing means for trying again.

use crate::VERSION;
use crate::identity::{Identity, IdentityError, KeyRequest};
use crate::logging::whole;
use hostler_agent_core::session::Trouble;
use hostler_proto::agent::enrollment_client::EnrollmentClient;
use hostler_proto::agent::{RenewRequest, RenewResponse};
use hostler_proto::transport::{self, ConnectError, MESSAGE_BYTES_MAX};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// One small question and its answer, with the control plane's disk in between.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(15);

pub fn trouble_of_dial(error: &ConnectError) -> Trouble {
    let message = whole(error);
    match error {
        ConnectError::Unreachable { .. }
        | ConnectError::TimedOut { .. }
        | ConnectError::NotTls { .. }
        | ConnectError::Protocol { .. } => Trouble::Passing(message),
        ConnectError::Address { .. }
        | ConnectError::WrongServer { .. }
        | ConnectError::Refused { .. }
        | ConnectError::Identity(_) => Trouble::Refused(message),
    }
}

pub fn trouble_of_status(status: &Status) -> Trouble {
    let message = status_text(status);
    match status.code() {
        // We always show a certificate: what is wrong with it is its age.
        Code::Unauthenticated => Trouble::Expired(message),
        Code::PermissionDenied | Code::FailedPrecondition | Code::InvalidArgument | Code::Unimplemented => {
            Trouble::Refused(message)
        }
        _ => Trouble::Passing(message),
    }
}

/// The server's own words; where there are none, what broke.
pub fn status_text(status: &Status) -> String {
    match (std::error::Error::source(status), status.message()) {
        // Made up on this side, from an error of the connection.
        (Some(source), _) => format!("the connection broke: {}", whole(source)),
        (None, "") => format!("the control plane answered {:?}", status.code()),
        (None, message) => message.to_owned(),
    }
}

pub fn enrollment(channel: Channel) -> EnrollmentClient<Channel> {
    EnrollmentClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

/// Whether a new connection stands, whatever becomes of those that do already.
pub async fn reach(address: &str, identity: &Identity) -> Result<(), String> {
    let (trust, client) = identity.credentials().ok_or("this host's certificate or key cannot be read")?;
    match tokio::time::timeout(CALL_TIMEOUT, transport::connect(address, &trust, Some(client))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(whole(&error)),
        Err(_) => Err(format!("{address} did not answer in time")),
    }
}

/// Asks for a new certificate with the present one, over a connection of its own,
/// so that the stream goes on.
pub async fn renew(address: String, identity: Identity) -> Result<(KeyRequest, RenewResponse), Trouble> {
    let refused = |error: IdentityError| Trouble::Refused(whole(&error));
    let request = KeyRequest::make().map_err(refused)?;
    let unusable = || Trouble::Refused("this host's certificate or key cannot be read".to_owned());
    let (trust, client) = identity.credentials().ok_or_else(unusable)?;
    let channel = transport::connect(&address, &trust, Some(client)).await.map_err(|e| trouble_of_dial(&e))?;
    let ask = RenewRequest { csr_der: request.csr_der.clone(), agent_version: VERSION.to_owned() };
    let mut client = enrollment(channel);
    let answer = tokio::time::timeout(CALL_TIMEOUT, client.renew(ask))
        .await
        .map_err(|_| Trouble::Passing(format!("{address} did not answer the renewal in time")))?
        .map_err(|status| trouble_of_status(&status))?;
    Ok((request, answer.into_inner()))
}
