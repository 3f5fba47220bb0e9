//! types, log, clock and config: what needs no grant.

use super::{State, wit};
use crate::limits;
use crate::report;
use crate::run::{LogLevel, LogLine};
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

impl wit::types::Host for State {}

impl wit::log::Host for State {
    fn write(
        &mut self,
        level: wit::log::Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        self.charge()?;
        let level = match level {
            wit::log::Level::Trace => LogLevel::Trace,
            wit::log::Level::Debug => LogLevel::Debug,
            wit::log::Level::Info => LogLevel::Info,
            wit::log::Level::Warn => LogLevel::Warn,
            wit::log::Level::Error => LogLevel::Error,
        };
        let message = report::cap(message, limits::LOG_LINE_BYTES_MAX, &mut false);
        if level == LogLevel::Error {
            self.last_error_line = Some(message.clone());
        }
        let mut size = message.len();
        let mut kept = Vec::new();
        for (key, value) in fields {
            let field = key.len() + value.len();
            if size + field > limits::LOG_LINE_BYTES_MAX {
                break;
            }
            size += field;
            kept.push((key, value));
        }
        if self.log_lines >= limits::LOG_LINES_MAX || self.log_bytes + size > limits::LOG_BYTES_MAX {
            self.tally.log_lines_dropped.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        self.log_lines += 1;
        self.log_bytes += size;
        if let Some(sink) = &self.request.log {
            sink(LogLine { level, message, fields: kept });
        }
        Ok(())
    }
}

impl wit::clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<wit::types::Instant> {
        self.charge()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(wit::types::Instant { seconds: now.as_secs(), nanoseconds: now.subsec_nanos() })
    }

    fn monotonic(&mut self) -> wasmtime::Result<u64> {
        self.charge()?;
        Ok(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn remaining(&mut self) -> wasmtime::Result<u64> {
        self.charge()?;
        Ok(u64::try_from(State::remaining(self).as_nanos()).unwrap_or(u64::MAX))
    }
}

impl wit::config::Host for State {
    fn json(&mut self) -> wasmtime::Result<String> {
        self.charge()?;
        Ok(self.request.config_json.to_string())
    }
}
