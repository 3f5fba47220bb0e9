//! What needs no grant, and secrets.

use super::{State, take, wit};
use crate::answer::{Bytes, Sample, SampleKind};
use crate::call::Call;
use crate::limits;
use crate::report;
use crate::run::{LogLevel, LogLine};
use std::sync::atomic::Ordering;
use wasmtime::component::Resource;
use wit::types::Error;

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
    async fn now(&mut self) -> wasmtime::Result<wit::types::Instant> {
        let asked = self.ask(Call::Now).await?;
        Ok(take!(asked, Instant).unwrap_or(wit::types::Instant { seconds: 0, nanoseconds: 0 }))
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

impl wit::random::Host for State {
    async fn bytes(&mut self, count: u32) -> wasmtime::Result<Vec<u8>> {
        match take!(self.ask(Call::Random { count }).await?, Bytes) {
            Ok(bytes) => Ok(bytes),
            // A key made of nothing is worse than no run.
            Err::<Vec<u8>, Error>(error) => Err(wasmtime::Error::msg(format!("no randomness: {error:?}"))),
        }
    }
}

impl wit::config::Host for State {
    fn json(&mut self) -> wasmtime::Result<String> {
        self.charge()?;
        Ok(self.request.config_json.to_string())
    }
}

impl wit::metrics::Host for State {
    fn report(&mut self, samples: Vec<wit::metrics::Sample>) -> wasmtime::Result<Result<(), Error>> {
        self.charge()?;
        Ok(self.take_samples(samples))
    }
}

impl State {
    fn take_samples(&mut self, samples: Vec<wit::metrics::Sample>) -> Result<(), Error> {
        if self.configuring {
            return Err(Error::Denied("configure may not report metrics".to_owned()));
        }
        if self.samples.len() + samples.len() > limits::SERIES_MAX {
            return Err(Error::Limit(format!("{} series in one run", limits::SERIES_MAX)));
        }
        let read: Result<Vec<Sample>, String> = samples.into_iter().map(sample).collect();
        self.samples.extend(read.map_err(Error::Invalid)?);
        Ok(())
    }
}

fn sample(one: wit::metrics::Sample) -> Result<Sample, String> {
    let kind = match one.kind {
        wit::metrics::Kind::Gauge => SampleKind::Gauge,
        wit::metrics::Kind::Counter => SampleKind::Counter,
    };
    let shown = report::cap(one.name.clone(), limits::SERIES_WORD_BYTES_MAX, &mut false);
    let wrong = |why: &str| format!("metric {shown:?}: {why}");
    if !is_word(&one.name) {
        return Err(wrong("a name has letters, digits and _, begins with a letter and is not longer than 128"));
    }
    if kind == SampleKind::Counter && !one.name.ends_with("_total") {
        return Err(wrong("a counter's name ends in _total"));
    }
    if !one.value.is_finite() {
        return Err(wrong("its value is no number"));
    }
    if one.attrs.len() > limits::SERIES_ATTRS_MAX {
        return Err(wrong("it has too many attributes"));
    }
    let mut attrs: Vec<(String, String)> = Vec::with_capacity(one.attrs.len());
    for attr in one.attrs {
        if !is_word(&attr.key) || attr.value.len() > limits::SERIES_WORD_BYTES_MAX {
            return Err(wrong("an attribute's name is none, or its value is longer than 128 bytes"));
        }
        attrs.push((attr.key, attr.value));
    }
    attrs.sort();
    if attrs.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
        return Err(wrong("it has an attribute twice"));
    }
    Ok(Sample { name: one.name, kind, attrs, value: one.value })
}

/// As Prometheus reads it.
fn is_word(text: &str) -> bool {
    text.len() <= limits::SERIES_WORD_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl wit::kv::Host for State {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        Ok(take!(self.ask(Call::KvGet { key }).await?, Value))
    }

    async fn set(
        &mut self,
        key: String,
        value: Vec<u8>,
        ttl_seconds: Option<u32>,
    ) -> wasmtime::Result<Result<(), Error>> {
        Ok(take!(self.ask(Call::KvSet { key, value: Bytes(value), ttl_seconds }).await?))
    }

    async fn delete(&mut self, key: String) -> wasmtime::Result<Result<(), Error>> {
        Ok(take!(self.ask(Call::KvDelete { key }).await?))
    }

    async fn compare_and_set(
        &mut self,
        key: String,
        old: Option<Vec<u8>>,
        new: Vec<u8>,
    ) -> wasmtime::Result<Result<bool, Error>> {
        Ok(take!(self.ask(Call::KvCompareAndSet { key, old: old.map(Bytes), new: Bytes(new) }).await?, Flag))
    }
}

/// A handle is the secret's name: its bytes are read when they are sent, and
/// are never here.
pub struct SecretName(pub(crate) String);

impl wit::secrets::Host for State {
    async fn get(&mut self, name: String) -> wasmtime::Result<Result<Resource<SecretName>, Error>> {
        match take!(self.ask(Call::SecretGet { name: name.clone() }).await?) {
            Ok(()) => Ok(Ok(self.table.push(SecretName(name))?)),
            Err(error) => Ok(Err(error)),
        }
    }
}

impl wit::secrets::HostSecret for State {
    fn drop(&mut self, of: Resource<SecretName>) -> wasmtime::Result<()> {
        self.table.delete(of)?;
        Ok(())
    }
}

impl wit::secrets_reveal::Host for State {
    async fn reveal(&mut self, of: Resource<SecretName>) -> wasmtime::Result<Result<String, Error>> {
        let name = self.table.get(&of)?.0.clone();
        Ok(take!(self.ask(Call::SecretReveal { name }).await?, Text))
    }
}
