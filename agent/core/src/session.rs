//! The link's life: which address to dial and when, how long to wait for what,
//! when to give a connection up, when to renew the certificate.
//!
//! What goes over the link is not here, only that it goes.

mod machine;
mod skew;

pub use machine::Session;
pub use skew::Skew;

use crate::retry::Pace;
use hostler_types::Timestamp;
use std::time::Duration;

/// A fleet must be back within 5 s of its control plane's return: one whole wait
/// of it and a handshake fit.
pub const DIAL_PACE: Pace = Pace { base: Duration::from_millis(200), cap: Duration::from_secs(3) };
/// What a person has to change is asked for again seldom.
pub const REFUSED_PACE: Duration = Duration::from_secs(60);
/// A renewal has days: at most every minute at first, every quarter of an hour later.
pub const RENEWAL_PACE: Pace = Pace { base: Duration::from_secs(30), cap: Duration::from_secs(900) };
pub const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(3);
/// A heartbeat may be early by a half, to share a wake-up with the checks, whose
/// results it carries.
pub const EARLY_MAX: u32 = 2;
/// Nothing is sent more often on its own account, whatever a server asks for.
pub const HEARTBEAT_MIN: Duration = Duration::from_secs(1);
/// As many unanswered heartbeats as the control plane's own lease has.
pub const DEAD_AFTER_HEARTBEATS: u32 = 3;
/// TCP, TLS and the server's first byte have their own, shorter limit.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// From the hello to the welcome.
pub const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);
/// A renewal is one call.
pub const RENEWAL_TIMEOUT: Duration = Duration::from_secs(20);
/// Asked to come back in a while, each comes back at a moment of its own in this span after it.
pub const RETRY_AFTER_SPREAD: Duration = Duration::from_secs(2);
/// A server's wish has an end: it may be a mistake.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// A connection that lived that long was a success, and the back-off begins anew.
pub const SETTLED_AFTER: Duration = Duration::from_secs(5);

/// For how long the certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

impl Validity {
    /// At half of its life: two more tries of days each fit behind it.
    pub fn renew_at(&self) -> Timestamp {
        self.not_before.plus(self.not_after.since(self.not_before) / 2)
    }
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It may well work at the next try.
    Passing(String),
    /// Somebody has to do something: revoked, not a member, another version.
    Refused(String),
    /// The server takes the certificate to be expired, whatever our clock says.
    Expired(String),
}

impl Trouble {
    pub fn message(&self) -> &str {
        match self {
            Self::Passing(message) | Self::Refused(message) | Self::Expired(message) => message,
        }
    }
}

#[derive(Clone, Debug)]
pub enum Input {
    Tick,
    /// A connection stands and the hello is on its way.
    Dialled,
    Welcomed {
        heartbeat: Duration,
        addresses: Vec<String>,
        /// What is offered next is held against that clock, before any heartbeat.
        server_wall: Option<Timestamp>,
    },
    /// Any message at all.
    Heard,
    /// The processor is awake for something else: what is due soon costs less now.
    Awake,
    /// The server answered the heartbeat that was sent at `sent`.
    HeartbeatAcked {
        sent: Duration,
        server_wall: Timestamp,
    },
    /// The server ends the connection in order, and says when to come back.
    Goodbye {
        reason: String,
        retry_after: Duration,
    },
    /// The dial failed, or the stream ended.
    Ended(Trouble),
    Renewed {
        validity: Validity,
        addresses: Vec<String>,
    },
    RenewalFailed(Trouble),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Dial {
        address: String,
    },
    SendHeartbeat,
    /// Drop the connection, or the attempt to make one.
    Close,
    Renew {
        address: String,
    },
    /// For the log and the status, each only once until it changes.
    Connected {
        address: String,
    },
    Disconnected {
        address: String,
        reason: String,
    },
    Refused {
        message: String,
    },
    Unreachable {
        message: String,
    },
    RenewalFailing {
        message: String,
    },
}

#[cfg(test)]
mod tests;
