//! The component's side of the interface: generated code, and the conversions
//! between it and this crate's types. Exists on wasm only.

use crate::{Check, Host, Report};
use std::time::Duration;

#[doc(hidden)]
pub mod bindings {
    #![allow(unsafe_code, unused_qualifications, clippy::all, reason = "generated")]
    wit_bindgen::generate!({
        path: "../../wit/0.1",
        world: "check",
        pub_export_macro: true,
        generate_all,
    });
}

pub use bindings::export;
pub use bindings::exports::hostler::plugin::{check_api, lifecycle};
use bindings::hostler::host::{clock, config, http, log, system, types};

struct RealHost;

/// Without this a panic is a bare trap: the message is worth a log line.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| log::write(log::Level::Error, &panic.to_string(), &[])));
}

pub fn configure<C: Check>(config_json: &str) -> Result<(), Vec<lifecycle::ConfigError>> {
    report_panics();
    let problems = match crate::read_options::<C::Options>(config_json) {
        Ok(options) => C::problems(&options),
        Err(problem) => vec![problem],
    };
    if problems.is_empty() {
        return Ok(());
    }
    let convert = |one: crate::ConfigError| lifecycle::ConfigError { pointer: one.pointer, message: one.message };
    Err(problems.into_iter().map(convert).collect())
}

pub fn run<C: Check>() -> Result<check_api::Report, String> {
    report_panics();
    let options = crate::read_options::<C::Options>(&config::json())
        .map_err(|error| format!("options: {}: {}", error.pointer, error.message))?;
    C::run(&options, &RealHost).map(Into::into)
}

impl From<Report> for check_api::Report {
    fn from(report: Report) -> Self {
        let attr = |one: crate::Attr| types::Attr { key: one.key, value: one.value };
        check_api::Report {
            status: match report.status {
                crate::Status::Ok => types::Status::Ok,
                crate::Status::Warning => types::Status::Warning,
                crate::Status::Critical => types::Status::Critical,
                crate::Status::Unknown => types::Status::Unknown,
            },
            summary: report.summary,
            details: report.details,
            attrs: report.attrs.into_iter().map(attr).collect(),
        }
    }
}

impl From<types::Error> for crate::Error {
    fn from(error: types::Error) -> Self {
        match error {
            types::Error::Denied(grant) => crate::Error::Denied(grant),
            types::Error::Invalid(what) => crate::Error::Invalid(what),
            types::Error::Timeout => crate::Error::Timeout,
            types::Error::Unreachable(why) => crate::Error::Unreachable(why),
            types::Error::Limit(which) => crate::Error::Limit(which),
            types::Error::Other(attr) => crate::Error::Other { key: attr.key, value: attr.value },
        }
    }
}

impl Host for RealHost {
    fn log(&self, level: crate::Level, message: &str, fields: &[(&str, &str)]) {
        let level = match level {
            crate::Level::Trace => log::Level::Trace,
            crate::Level::Debug => log::Level::Debug,
            crate::Level::Info => log::Level::Info,
            crate::Level::Warn => log::Level::Warn,
            crate::Level::Error => log::Level::Error,
        };
        let fields: Vec<(String, String)> =
            fields.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        log::write(level, message, &fields);
    }

    fn remaining(&self) -> Duration {
        Duration::from_nanos(clock::remaining())
    }

    fn wall(&self) -> u64 {
        clock::now().seconds
    }

    fn http(&self, request: &crate::Request) -> Result<crate::Response, crate::Error> {
        let builder = http::Request::new(&request.method, &request.url);
        for (name, value) in &request.headers {
            builder.header(name, value);
        }
        if !request.body.is_empty() {
            builder.body(&request.body);
        }
        if let Some(timeout) = request.timeout {
            builder.timeout_ms(u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX));
        }
        builder.redirects(request.redirects_max);
        builder.max_body(request.body_bytes_max);
        let response = builder.send()?;
        let timings = response.timings();
        Ok(crate::Response {
            status: response.status(),
            headers: response.headers(),
            body: response.body(),
            truncated: response.truncated(),
            peer_certificates: response.peer_certificates(),
            timings: crate::Timings {
                dns: timings.dns,
                connect: timings.connect,
                tls: timings.tls,
                first_byte: timings.first_byte,
                total: timings.total,
            },
        })
    }

    fn cpu(&self) -> Result<crate::Cpu, crate::Error> {
        let cpu = system::get_cpu()?;
        Ok(crate::Cpu {
            user: cpu.user,
            system: cpu.system,
            iowait: cpu.iowait,
            steal: cpu.steal,
            idle: cpu.idle,
            load1: cpu.load1,
            load5: cpu.load5,
            load15: cpu.load15,
            cores: cpu.cores,
        })
    }

    fn memory(&self) -> Result<crate::Memory, crate::Error> {
        let memory = system::get_memory()?;
        Ok(crate::Memory {
            total: memory.total,
            available: memory.available,
            used: memory.used,
            swap_total: memory.swap_total,
            swap_used: memory.swap_used,
        })
    }

    fn filesystems(&self) -> Result<Vec<crate::Filesystem>, crate::Error> {
        let convert = |one: system::Filesystem| crate::Filesystem {
            mount: one.mount,
            device: one.device,
            fstype: one.fstype,
            total: one.total,
            free: one.free,
            available: one.available,
            inodes: one.inodes,
            inodes_free: one.inodes_free,
            read_only: one.read_only,
            hung: one.hung,
        };
        Ok(system::get_filesystems()?.into_iter().map(convert).collect())
    }
}
