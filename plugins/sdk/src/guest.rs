//! The component's side of the interface: generated code, and the conversions
//! between it and this crate's types. Exists on wasm only.

use crate::host as own;
use crate::{Host, Report};
use std::time::Duration;

#[doc(hidden)]
pub mod imports {
    #![allow(unsafe_code, unused_qualifications, clippy::all, reason = "generated")]
    wit_bindgen::generate!({
        path: "../../wit/1.0",
        inline: "package sdk:imports; world imports {
            import hostler:host/types@1.0.0; import hostler:host/log@1.0.0; import hostler:host/clock@1.0.0;
            import hostler:host/random@1.0.0; import hostler:host/config@1.0.0; import hostler:host/metrics@1.0.0;
            import hostler:host/kv@1.0.0; import hostler:host/secrets@1.0.0;
            import hostler:host/secrets-reveal@1.0.0; import hostler:host/http@1.0.0;
            import hostler:host/tcp@1.0.0; import hostler:host/tls@1.0.0; import hostler:host/dns@1.0.0;
            import hostler:host/icmp@1.0.0; import hostler:host/files@1.0.0;
            import hostler:host/commands@1.0.0; import hostler:host/system@1.0.0;
            import hostler:host/processes@1.0.0; import hostler:host/units@1.0.0;
            import hostler:host/containers@1.0.0;
        }",
        world: "sdk:imports/imports",
        generate_all,
    });
}

/// The exports of one world.
macro_rules! exports {
    ($module:ident, $world:literal, $inline:literal, {$($with:tt)*}) => {
        #[doc(hidden)]
        pub mod $module {
            #![allow(unsafe_code, unused_qualifications, clippy::all, reason = "generated")]
            wit_bindgen::generate!({
                path: "../../wit/1.0",
                inline: $inline,
                world: $world,
                pub_export_macro: true,
                with: { $($with)* },
            });
        }
    };
}
// What all worlds export has a module of its own: its macro's name may be there
// only once.
exports!(
    lifecycle,
    "sdk:lifecycle/lifecycle-exports",
    "package sdk:lifecycle; world lifecycle-exports { export hostler:plugin/lifecycle@1.0.0; }",
    {}
);
exports!(
    check,
    "sdk:check/check-exports",
    "package sdk:check; world check-exports { export hostler:plugin/check-api@1.0.0; }",
    { "hostler:host/types@1.0.0": crate::guest::imports::hostler::host::types }
);
exports!(
    collector,
    "sdk:collector/collector-exports",
    "package sdk:collector; world collector-exports { export hostler:plugin/collector-api@1.0.0; }",
    {}
);
exports!(
    notifier,
    "sdk:notifier/notifier-exports",
    "package sdk:notifier; world notifier-exports { export hostler:plugin/notifier-api@1.0.0; }",
    { "hostler:host/types@1.0.0": crate::guest::imports::hostler::host::types }
);
exports!(
    action,
    "sdk:action/action-exports",
    "package sdk:action; world action-exports { export hostler:plugin/action-api@1.0.0; }",
    { "hostler:host/types@1.0.0": crate::guest::imports::hostler::host::types }
);

use imports::hostler::host as wit;

pub struct RealHost;

/// Without this a panic is a bare trap: the message is worth a log line.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| wit::log::write(wit::log::Level::Error, &panic.to_string(), &[])));
}

pub fn configure<T: serde::de::DeserializeOwned>(
    config_json: &str,
    problems: impl FnOnce(&T) -> Vec<crate::ConfigError>,
) -> Result<(), Vec<lifecycle::exports::hostler::plugin::lifecycle::ConfigError>> {
    report_panics();
    let problems = match crate::read_options::<T>(config_json) {
        Ok(options) => problems(&options),
        Err(problem) => vec![problem],
    };
    if problems.is_empty() {
        return Ok(());
    }
    let convert = |one: crate::ConfigError| lifecycle::exports::hostler::plugin::lifecycle::ConfigError {
        pointer: one.pointer,
        message: one.message,
    };
    Err(problems.into_iter().map(convert).collect())
}

/// This run's own.
pub fn options<T: serde::de::DeserializeOwned>() -> Result<T, String> {
    report_panics();
    crate::read_options(&wit::config::json()).map_err(|error| format!("options: {}: {}", error.pointer, error.message))
}

/// An action's parameters.
pub fn parameters<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, String> {
    crate::read_options(json).map_err(|error| format!("parameters: {}: {}", error.pointer, error.message))
}

pub fn attrs(attrs: Vec<crate::Attr>) -> Vec<wit::types::Attr> {
    attrs.into_iter().map(|one| wit::types::Attr { key: one.key, value: one.value }).collect()
}

impl From<Report> for check::exports::hostler::plugin::check_api::Report {
    fn from(report: Report) -> Self {
        Self {
            status: match report.status {
                crate::Status::Ok => wit::types::Status::Ok,
                crate::Status::Warning => wit::types::Status::Warning,
                crate::Status::Critical => wit::types::Status::Critical,
                crate::Status::Unknown => wit::types::Status::Unknown,
            },
            summary: report.summary,
            details: report.details,
            attrs: attrs(report.attrs),
        }
    }
}

impl From<notifier::exports::hostler::plugin::notifier_api::Notice> for crate::Notice {
    fn from(notice: notifier::exports::hostler::plugin::notifier_api::Notice) -> Self {
        Self {
            id: notice.id,
            title: notice.title,
            body: notice.body,
            state: notice.state,
            at: notice.at.seconds,
            attrs: notice.attrs.into_iter().map(|one| crate::Attr { key: one.key, value: one.value }).collect(),
        }
    }
}

impl From<crate::Outcome> for notifier::exports::hostler::plugin::notifier_api::Outcome {
    fn from(outcome: crate::Outcome) -> Self {
        match outcome {
            crate::Outcome::Delivered(id) => Self::Delivered(id),
            crate::Outcome::RetryAfter(pause) => Self::RetryAfter(u32::try_from(pause.as_secs()).unwrap_or(u32::MAX)),
            crate::Outcome::Rejected(why) => Self::Rejected(why),
        }
    }
}

impl From<crate::Step> for action::exports::hostler::plugin::action_api::Step {
    fn from(step: crate::Step) -> Self {
        Self { id: step.id, summary: step.summary, reversible: step.reversible }
    }
}

impl From<wit::types::Error> for own::Error {
    fn from(error: wit::types::Error) -> Self {
        match error {
            wit::types::Error::Denied(grant) => own::Error::Denied(grant),
            wit::types::Error::Invalid(what) => own::Error::Invalid(what),
            wit::types::Error::Timeout => own::Error::Timeout,
            wit::types::Error::Unreachable(why) => own::Error::Unreachable(why),
            wit::types::Error::Limit(which) => own::Error::Limit(which),
            wit::types::Error::Other(attr) => own::Error::Other { key: attr.key, value: attr.value },
        }
    }
}

/// Only whole seconds are of use to a check.
impl From<wit::types::Instant> for u64 {
    fn from(instant: wit::types::Instant) -> u64 {
        instant.seconds
    }
}

macro_rules! same_fields {
    ($($wit:path => $own:path { $($field:ident),+ })+) => {$(
        impl From<$wit> for $own {
            fn from(wit: $wit) -> Self {
                Self { $($field: wit.$field.into()),+ }
            }
        }
    )+};
}

same_fields! {
    wit::http::Timings => own::Timings { dns, connect, tls, first_byte, total }
    wit::tls::Certificate => own::Certificate { subject, issuer, names, not_before, not_after, sha256, der }
    wit::dns::AnswerRecord => own::DnsRecord { name, rrtype, ttl, data }
    wit::icmp::Echo => own::Echo { sent, received, min_micros, mean_micros, max_micros }
    wit::commands::Output => own::Output { exit_code, signal, stdout, stderr, truncated }
    wit::system::Cpu => own::Cpu { user, system, iowait, steal, idle, load1, load5, load15, cores }
    wit::system::Memory => own::Memory { total, available, used, swap_total, swap_used }
    wit::system::Filesystem => own::Filesystem {
        mount, device, fstype, total, free, available, inodes, inodes_free, read_only, hung
    }
    wit::system::Network => own::Network {
        name, up, received_bytes, received_packets, received_errors, received_dropped,
        sent_bytes, sent_packets, sent_errors, sent_dropped
    }
    wit::system::Disk => own::Disk {
        name, reads, read_bytes, read_millis, writes, written_bytes, write_millis, busy_millis
    }
    wit::system::Machine => own::Machine { hostname, kernel, booted, cores }
    wit::processes::Process => own::Process {
        pid, ppid, name, command, user, state, threads, resident_bytes, cpu_seconds, open_files, started, cgroup
    }
    wit::units::Unit => own::Unit { name, load, active, sub, result, main_pid, restarts }
    wit::containers::Container => own::Container {
        id, name, image, state, health, exit_code, restarts, started
    }
}

impl From<wit::files::Stat> for own::Stat {
    fn from(stat: wit::files::Stat) -> Self {
        let kind = match stat.kind {
            wit::files::Kind::File => own::FileKind::File,
            wit::files::Kind::Directory => own::FileKind::Directory,
            wit::files::Kind::Symlink => own::FileKind::Symlink,
            wit::files::Kind::Other => own::FileKind::Other,
        };
        Self { kind, size: stat.size, mode: stat.mode, uid: stat.uid, gid: stat.gid, modified: stat.modified.seconds }
    }
}

fn all<A: Into<B>, B>(list: Vec<A>) -> Vec<B> {
    list.into_iter().map(Into::into).collect()
}

fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

pub struct RealConnection(wit::tcp::Connection);
pub struct RealCursor(wit::files::Cursor);

impl Host for RealHost {
    type Connection = RealConnection;
    type Cursor = RealCursor;

    fn log(&self, level: own::Level, message: &str, fields: &[(&str, &str)]) {
        let level = match level {
            own::Level::Trace => wit::log::Level::Trace,
            own::Level::Debug => wit::log::Level::Debug,
            own::Level::Info => wit::log::Level::Info,
            own::Level::Warn => wit::log::Level::Warn,
            own::Level::Error => wit::log::Level::Error,
        };
        let fields: Vec<(String, String)> =
            fields.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        wit::log::write(level, message, &fields);
    }

    fn remaining(&self) -> Duration {
        Duration::from_nanos(wit::clock::remaining())
    }

    fn wall(&self) -> Duration {
        let now = wit::clock::now();
        Duration::new(now.seconds, now.nanoseconds)
    }

    fn random(&self, count: u32) -> Vec<u8> {
        wit::random::bytes(count)
    }

    fn report(&self, samples: &[own::Sample]) -> Result<(), own::Error> {
        let sample = |one: &own::Sample| wit::metrics::Sample {
            name: one.name.clone(),
            kind: match one.kind {
                own::SampleKind::Gauge => wit::metrics::Kind::Gauge,
                own::SampleKind::Counter => wit::metrics::Kind::Counter,
            },
            attrs: one
                .attrs
                .iter()
                .map(|(key, value)| wit::types::Attr { key: key.clone(), value: value.clone() })
                .collect(),
            value: one.value,
        };
        Ok(wit::metrics::report(&samples.iter().map(sample).collect::<Vec<_>>())?)
    }

    fn kv_get(&self, key: &str) -> Result<Option<Vec<u8>>, own::Error> {
        Ok(wit::kv::get(key)?)
    }

    fn kv_set(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<(), own::Error> {
        let ttl = ttl.map(|ttl| u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX));
        Ok(wit::kv::set(key, value, ttl)?)
    }

    fn kv_delete(&self, key: &str) -> Result<(), own::Error> {
        Ok(wit::kv::delete(key)?)
    }

    fn kv_compare_and_set(&self, key: &str, old: Option<&[u8]>, new: &[u8]) -> Result<bool, own::Error> {
        Ok(wit::kv::compare_and_set(key, old, new)?)
    }

    fn reveal(&self, secret: &str) -> Result<String, own::Error> {
        Ok(wit::secrets_reveal::reveal(&wit::secrets::get(secret)?)?)
    }

    fn http(&self, request: &own::Request) -> Result<own::Response, own::Error> {
        let builder = wit::http::Request::new(&request.method, &request.url);
        for (name, value) in &request.headers {
            builder.header(name, value);
        }
        for (name, prefix, secret) in &request.secret_headers {
            builder.secret_header(name, prefix, &wit::secrets::get(secret)?);
        }
        if !request.body.is_empty() {
            builder.body(&request.body);
        }
        if let Some(timeout) = request.timeout {
            builder.timeout_ms(millis(timeout));
        }
        builder.redirects(request.redirects_max);
        builder.max_body(request.body_bytes_max);
        let response = builder.send()?;
        Ok(own::Response {
            status: response.status(),
            headers: response.headers(),
            body: response.body(),
            truncated: response.truncated(),
            timings: response.timings().into(),
            peer_certificates: response.peer_certificates(),
        })
    }

    fn connect(&self, host: &str, port: u16, timeout: Duration) -> Result<RealConnection, own::Error> {
        Ok(RealConnection(wit::tcp::Connection::connect(host, port, millis(timeout))?))
    }

    fn connect_unix(&self, path: &str, timeout: Duration) -> Result<RealConnection, own::Error> {
        Ok(RealConnection(wit::tcp::Connection::connect_unix(path, millis(timeout))?))
    }

    fn inspect_tls(&self, target: &own::TlsTarget) -> Result<own::Probe, own::Error> {
        let own::TlsTarget { host, port, server_name, starttls, timeout } = target;
        let probe = wit::tls::inspect(host, *port, server_name, starttls.as_deref(), millis(*timeout))?;
        Ok(own::Probe {
            version: probe.version,
            cipher: probe.cipher,
            alpn: probe.alpn,
            chain: all(probe.chain),
            verify_error: probe.verify_error,
        })
    }

    fn dns(
        &self,
        name: &str,
        rrtype: &str,
        server: Option<&str>,
        timeout: Duration,
    ) -> Result<own::DnsAnswer, own::Error> {
        let answer = wit::dns::query(name, rrtype, server, millis(timeout))?;
        Ok(own::DnsAnswer {
            rcode: answer.rcode,
            records: all(answer.records),
            authority: answer.authority,
            authenticated: answer.authenticated,
            micros: answer.micros,
        })
    }

    fn ping(&self, host: &str, count: u32, timeout: Duration) -> Result<own::Echo, own::Error> {
        Ok(wit::icmp::ping(host, count, millis(timeout))?.into())
    }

    fn stat(&self, path: &str) -> Result<own::Stat, own::Error> {
        Ok(wit::files::stat_path(path)?.into())
    }

    fn read(&self, path: &str, offset: u64, max: u32) -> Result<Vec<u8>, own::Error> {
        Ok(wit::files::read(path, offset, max)?)
    }

    fn glob(&self, pattern: &str, max: u32) -> Result<Vec<String>, own::Error> {
        Ok(wit::files::glob(pattern, max)?)
    }

    fn cursor(&self, name: &str, path: &str, from_end: bool) -> Result<RealCursor, own::Error> {
        Ok(RealCursor(wit::files::Cursor::open(name, path, from_end)?))
    }

    fn command(&self, name: &str, args: &[&str], stdin: &[u8], timeout: Duration) -> Result<own::Output, own::Error> {
        let args: Vec<String> = args.iter().map(|one| (*one).to_owned()).collect();
        Ok(wit::commands::run(name, &args, stdin, millis(timeout))?.into())
    }

    fn cpu(&self) -> Result<own::Cpu, own::Error> {
        Ok(wit::system::get_cpu()?.into())
    }

    fn memory(&self) -> Result<own::Memory, own::Error> {
        Ok(wit::system::get_memory()?.into())
    }

    fn filesystems(&self) -> Result<Vec<own::Filesystem>, own::Error> {
        Ok(all(wit::system::get_filesystems()?))
    }

    fn networks(&self) -> Result<Vec<own::Network>, own::Error> {
        Ok(all(wit::system::get_networks()?))
    }

    fn disks(&self) -> Result<Vec<own::Disk>, own::Error> {
        Ok(all(wit::system::get_disks()?))
    }

    fn machine(&self) -> Result<own::Machine, own::Error> {
        Ok(wit::system::get_machine()?.into())
    }

    fn processes(&self, name: &str, max: u32) -> Result<Vec<own::Process>, own::Error> {
        Ok(all(wit::processes::find(name, max)?))
    }

    fn units(&self, name: &str, max: u32) -> Result<Vec<own::Unit>, own::Error> {
        Ok(all(wit::units::find(name, max)?))
    }

    fn containers(&self, name: &str, max: u32) -> Result<Vec<own::Container>, own::Error> {
        Ok(all(wit::containers::find(name, max)?))
    }
}

impl own::Connection for RealConnection {
    fn start_tls(&self, server_name: &str, timeout: Duration) -> Result<(), own::Error> {
        Ok(self.0.start_tls(server_name, millis(timeout))?)
    }

    fn send(&self, bytes: &[u8]) -> Result<(), own::Error> {
        Ok(self.0.send(bytes)?)
    }

    fn send_secret(&self, secret: &str) -> Result<(), own::Error> {
        Ok(self.0.send_secret(&wit::secrets::get(secret)?)?)
    }

    fn receive(&self, max: u32, timeout: Duration) -> Result<Vec<u8>, own::Error> {
        Ok(self.0.receive(max, millis(timeout))?)
    }
}

impl own::Cursor for RealCursor {
    fn lines(&self, max_lines: u32, max_bytes: u32) -> Result<Vec<String>, own::Error> {
        Ok(self.0.lines(max_lines, max_bytes)?)
    }

    fn commit(&self) -> Result<(), own::Error> {
        Ok(self.0.commit()?)
    }
}
