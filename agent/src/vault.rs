//! The secrets that this host was given: sealed on the wire and on its disk, open
//! in memory alone, and taken out of whatever text leaves.

use crate::files;
use anyhow::{Context, Result};
use hostler_plugin_host::{Done, Fault, Given, Report, Run};
use hostler_proto::seal::SealingKey;
use hostler_types::spec::with_secrets;
use hostler_types::{NodeId, SealedSecret};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use zeroize::Zeroizing;

const FILE: &str = "sealing.key";
/// Shorter ones stand in every other word.
const REDACTED_FROM: usize = 5;
const REDACTED: &str = "(secret)";

type Values = BTreeMap<String, Zeroizing<Vec<u8>>>;

pub struct Vault {
    key: SealingKey,
    values: RwLock<Arc<Values>>,
}

impl Vault {
    /// With this host's key, made the first time.
    pub fn open(state_dir: &Path) -> Result<Arc<Self>> {
        let path = state_dir.join(FILE);
        let held = files::read_if_there(&path).with_context(|| format!("read {}", path.display()))?;
        let key = match held.map(Zeroizing::new) {
            Some(bytes) => SealingKey::from_bytes(&bytes)
                .with_context(|| format!("{} is damaged: remove it, and secrets are sent anew", path.display()))?,
            None => {
                let key = SealingKey::generate();
                files::replace(&path, &key.to_bytes(), files::PRIVATE)
                    .with_context(|| format!("write {}", path.display()))?;
                key
            }
        };
        Ok(Arc::new(Self { key, values: RwLock::default() }))
    }

    pub fn public_key(&self) -> Vec<u8> {
        self.key.public_key()
    }

    fn values(&self) -> Arc<Values> {
        Arc::clone(&self.values.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// In the place of those before.
    pub fn take(&self, node: &NodeId, sealed: &[SealedSecret]) {
        let open = |one: &SealedSecret| match self
            .key
            .open(&SealedSecret::purpose(node, &one.name, one.version), &one.sealed)
        {
            Ok(value) => Some((one.name.to_string(), value)),
            Err(error) => {
                tracing::error!(secret = %one.name, version = one.version, error = %error, "a secret can't be opened");
                None
            }
        };
        let values: Values = sealed.iter().filter_map(open).collect();
        *self.values.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(values);
    }

    /// For the plugin host.
    pub fn given(self: &Arc<Self>) -> Given {
        let vault = Arc::clone(self);
        Arc::new(move |name| vault.values().get(name).cloned())
    }

    /// A check's configuration with its secrets in place.
    pub fn configure(&self, config_json: &Arc<str>) -> Result<Arc<str>, String> {
        if !config_json.contains("${secret:") {
            return Ok(Arc::clone(config_json));
        }
        let unreadable = |error: serde_json::Error| format!("its configuration is no JSON: {error}");
        let value = serde_json::from_str(config_json).map_err(unreadable)?;
        let values = self.values();
        let lookup = |name: &str| String::from_utf8(values.get(name)?.to_vec()).ok();
        with_secrets(&value, &lookup).map(|value| value.to_string().into()).map_err(|name| match values.get(&name) {
            Some(_) => format!("secret {name} is no text, and can't stand in a configuration"),
            None => format!("this host has no secret {name}: hostlerctl secret set {name}"),
        })
    }

    /// One secret, where text is needed.
    pub fn text(&self, name: &str) -> Result<String, String> {
        let values = self.values();
        let value = values.get(name).ok_or_else(|| format!("this host has no secret {name}"))?;
        String::from_utf8(value.to_vec()).map_err(|_| format!("secret {name} is no text"))
    }

    /// The text without any of the values, nor any line of one.
    pub fn redact(&self, text: String) -> String {
        redact(&self.values(), text)
    }

    /// What a run says, on its way out.
    pub fn redact_run(&self, run: Run) -> Run {
        let values = self.values();
        if values.is_empty() {
            return run;
        }
        let clean = |text: String| redact(&values, text);
        let outcome = match run.outcome {
            Ok(Done::Report(report)) => Ok(Done::Report(Report {
                summary: clean(report.summary),
                details: clean(report.details),
                attrs: report.attrs.into_iter().map(|(key, value)| (clean(key), clean(value))).collect(),
                ..report
            })),
            Err(Fault::Broke(text)) => Err(Fault::Broke(clean(text))),
            Err(Fault::Trapped(text)) => Err(Fault::Trapped(clean(text))),
            Err(Fault::ConfigInvalid(mut problems)) => {
                for problem in &mut problems {
                    problem.message = clean(std::mem::take(&mut problem.message));
                }
                Err(Fault::ConfigInvalid(problems))
            }
            other => other,
        };
        let mut samples = run.samples;
        for sample in &mut samples {
            sample.name = clean(std::mem::take(&mut sample.name));
            for (_, value) in &mut sample.attrs {
                *value = clean(std::mem::take(value));
            }
        }
        Run { outcome, samples, ..run }
    }
}

fn redact(values: &Values, text: String) -> String {
    let mut clean = text;
    for value in values.values() {
        let Ok(value) = std::str::from_utf8(value) else { continue };
        let lines = value.lines().map(str::trim).filter(|line| line.len() >= REDACTED_FROM);
        for part in std::iter::once(value).filter(|value| value.len() >= REDACTED_FROM).chain(lines) {
            if clean.contains(part) {
                clean = clean.replace(part, REDACTED);
            }
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_proto::seal::seal;
    use hostler_types::Name;

    fn given(vault: &Vault, node: &NodeId, name: &str, value: &str) -> SealedSecret {
        let name = Name::new(name).expect("a name");
        let purpose = SealedSecret::purpose(node, &name, 1);
        let sealed = seal(&vault.public_key(), &purpose, value.as_bytes()).expect("seals");
        SealedSecret { name, version: 1, sealed }
    }

    #[test]
    fn what_was_sealed_for_this_host_is_put_in_place_and_taken_out_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let vault = Vault::open(folder.path()).expect("opens");
        let node = NodeId::from_random([1; 10]);
        let secrets =
            [given(&vault, &node, "db", "hunter2!"), given(&vault, &node, "key", "--BEGIN--\nabcdef\n--END--")];
        vault.take(&node, &secrets);
        let config = r#"{"password":"${secret:db}"}"#.into();
        assert_eq!(vault.configure(&config).as_deref(), Ok(r#"{"password":"hunter2!"}"#));
        let none = vault.configure(&r#"{"x":"${secret:other}"}"#.into()).expect_err("not given");
        assert_eq!(none, "this host has no secret other: hostlerctl secret set other");
        let said = "login hunter2! refused; read abcdef";
        assert_eq!(vault.redact(said.to_owned()), "login (secret) refused; read (secret)");

        // The key stays, and another host's opens nothing.
        let again = Vault::open(folder.path()).expect("opens");
        again.take(&node, &secrets);
        assert!(again.configure(&config).is_ok());
        again.take(&NodeId::from_random([2; 10]), &secrets);
        assert!(again.configure(&config).is_err());
    }
}
