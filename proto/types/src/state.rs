//! The states that nodes and checks can be in, and the words for them.

use serde::{Deserialize, Serialize};

/// Declares an enum whose variants each have one word, used everywhere: on the
/// command line, in JSON, in the store.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.pad(self.word()) }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::state::UnknownWord;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|one| one.word() == text).ok_or_else(|| $crate::state::UnknownWord {
                    found: text.to_owned(),
                    expected: Self::ALL.iter().map(|one| one.word()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}

pub(crate) use words;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is none of {expected}")]
pub struct UnknownWord {
    pub found: String,
    pub expected: String,
}

words! {
    /// What the control plane knows of a node.
    NodeState {
        /// It redeemed a join code and has not connected yet.
        Joining = "joining",
        /// Its stream is open and it is heard from.
        Ready = "ready",
        /// Its stream ended; its lease still runs.
        Disconnected = "disconnected",
        /// Not heard from for the whole of its lease.
        Lost = "lost",
        /// An operator shut it out.
        Revoked = "revoked",
    }
}

words! {
    /// What is known of a check on one node, after thresholds.
    CheckState {
        /// No result has counted yet.
        Starting = "starting",
        Passing = "passing",
        Warning = "warning",
        Critical = "critical",
        /// The check itself could not find out.
        Unknown = "unknown",
    }
}

words! {
    /// What one run of a check says about its target.
    Status {
        Ok = "ok",
        Warning = "warning",
        Critical = "critical",
        Unknown = "unknown",
    }
}

words! {
    /// What a host lets its control plane do, chosen when it joins.
    Policy {
        /// Observe only.
        Watch = "watch",
        /// Also restart, deploy and back up what the specs name.
        Operate = "operate",
        /// Also run free commands.
        Full = "full",
    }
}

impl From<Status> for CheckState {
    fn from(status: Status) -> Self {
        match status {
            Status::Ok => CheckState::Passing,
            Status::Warning => CheckState::Warning,
            Status::Critical => CheckState::Critical,
            Status::Unknown => CheckState::Unknown,
        }
    }
}

impl CheckState {
    /// Higher needs attention sooner: the order in which listings count.
    pub const fn severity(self) -> u8 {
        match self {
            CheckState::Passing => 0,
            CheckState::Starting => 1,
            CheckState::Warning => 2,
            CheckState::Unknown => 3,
            CheckState::Critical => 4,
        }
    }
}
