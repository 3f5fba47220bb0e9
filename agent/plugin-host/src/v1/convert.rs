//! Answers in the interface's own types. Field by field: a field that one side
//! lacks does not compile.

use super::wit;
use crate::answer as own;
use crate::call::CallError;
use wit::types::{Attr, Error};

pub(super) fn all<A, B: From<A>>(list: impl IntoIterator<Item = A>) -> Vec<B> {
    list.into_iter().map(B::from).collect()
}

macro_rules! same_fields {
    ($($own:path => $wit:path { $($field:ident),+ })+) => {$(
        impl From<$own> for $wit {
            fn from(own: $own) -> Self {
                Self { $($field: own.$field.into()),+ }
            }
        }
    )+};
}

same_fields! {
    own::Instant => wit::types::Instant { seconds, nanoseconds }
    own::Cpu => wit::system::Cpu { user, system, iowait, steal, idle, load1, load5, load15, cores }
    own::Memory => wit::system::Memory { total, available, used, swap_total, swap_used }
    own::Filesystem => wit::system::Filesystem {
        mount, device, fstype, total, free, available, inodes, inodes_free, read_only, hung
    }
    own::Network => wit::system::Network {
        name, up, received_bytes, received_packets, received_errors, received_dropped,
        sent_bytes, sent_packets, sent_errors, sent_dropped
    }
    own::Disk => wit::system::Disk {
        name, reads, read_bytes, read_millis, writes, written_bytes, write_millis, busy_millis
    }
    own::Machine => wit::system::Machine { hostname, kernel, booted, cores }
    own::Process => wit::processes::Process {
        pid, ppid, name, command, user, state, threads, resident_bytes, cpu_seconds, open_files, started, cgroup
    }
    own::Unit => wit::units::Unit { name, load, active, sub, result, main_pid, restarts }
    own::Container => wit::containers::Container {
        id, name, image, state, health, exit_code, restarts, started
    }
    own::Echo => wit::icmp::Echo { sent, received, min_micros, mean_micros, max_micros }
    own::DnsRecord => wit::dns::AnswerRecord { name, rrtype, ttl, data }
    own::Stat => wit::files::Stat { kind, size, mode, uid, gid, modified }
    own::Output => wit::commands::Output { exit_code, signal, stdout, stderr, truncated }
    own::Certificate => wit::tls::Certificate { subject, issuer, names, not_before, not_after, sha256, der }
}

impl From<own::Bytes> for Vec<u8> {
    fn from(bytes: own::Bytes) -> Self {
        bytes.0
    }
}

impl From<own::DnsAnswer> for wit::dns::Answer {
    fn from(own: own::DnsAnswer) -> Self {
        Self {
            rcode: own.rcode,
            records: all(own.records),
            authority: own.authority,
            authenticated: own.authenticated,
            micros: own.micros,
        }
    }
}

impl From<own::Probe> for wit::tls::Probe {
    fn from(own: own::Probe) -> Self {
        Self {
            version: own.version,
            cipher: own.cipher,
            alpn: own.alpn,
            chain: all(own.chain),
            verify_error: own.verify_error,
        }
    }
}

impl From<own::FileKind> for wit::files::Kind {
    fn from(own: own::FileKind) -> Self {
        match own {
            own::FileKind::File => Self::File,
            own::FileKind::Directory => Self::Directory,
            own::FileKind::Symlink => Self::Symlink,
            own::FileKind::Other => Self::Other,
        }
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Denied(grant) => Error::Denied(grant),
            CallError::Invalid(what) => Error::Invalid(what),
            CallError::Timeout => Error::Timeout,
            CallError::Unreachable(why) => Error::Unreachable(why),
            CallError::Limit(which) => Error::Limit(which),
            CallError::Other { key, value } => Error::Other(Attr { key, value }),
        }
    }
}
