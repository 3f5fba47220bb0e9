//! Looking all of a control plane's folder over: the store, and everything that
//! the store names.

use crate::pki::Pki;
use crate::vault::{self, KeyError, Source};
use crate::{clock, records};
use anyhow::Result;
use hostler_proto::store as rest;
use hostler_store::{Finding, Verdict};
use std::fs;
use std::path::Path;

/// Secrets that damage is told of; the rest is counted.
const NAMED_MAX: usize = 5;

/// Changes nothing. Secrets are tried where it is known what they are sealed under.
pub fn verify(data: &Path, secrets_key: Option<Source>) -> Result<Vec<Finding>> {
    let (mut named, mut sealed) = (Named::new(), Vec::new());
    let mut findings = hostler_store::inspect(&data.join("store"), &mut |key, value| {
        named.extend(names(key, value));
        if key.starts_with(records::SECRETS) {
            sealed.extend(records::decode::<rest::Secret>(key, value).ok());
        }
    })?;
    findings.push(keys(&data.join("pki")));
    // Only a state that can be read says what else must be there.
    if findings.iter().any(|finding| finding.what == hostler_store::WHOLE && finding.verdict != Verdict::Bad) {
        for part in ["blobs", "documents"] {
            findings.push(content(&data.join(part), part, &named));
        }
        findings.extend(secrets_key.map(|source| secrets(data, source, &sealed)));
    }
    Ok(findings)
}

/// Whether the key that there is opens every value that is sealed.
fn secrets(data: &Path, source: Source, sealed: &[rest::Secret]) -> Finding {
    const WHAT: &str = "secrets";
    const HELP: &str = "put the key of their time back (secrets.key, which sealed backups hold too), or give them \
                        values anew: hostlerctl secret set NAME";
    let values: usize = sealed.iter().map(|secret| secret.versions.len()).sum();
    if values == 0 {
        return Finding::good(WHAT, "none".to_owned());
    }
    match vault::unopened(source, data, sealed) {
        Ok(wrong) if wrong.is_empty() => Finding::good(WHAT, format!("{values} values of {}", sealed.len())),
        Ok(wrong) => {
            let mut told: Vec<String> = wrong.iter().take(NAMED_MAX).cloned().collect();
            if wrong.len() > NAMED_MAX {
                told.push(format!("and {} more", wrong.len() - NAMED_MAX));
            }
            Finding::bad(WHAT, told.join("; "), HELP)
        }
        // Who runs this by hand has neither at hand always.
        Err(error @ (KeyError::NoPassphrase | KeyError::NoCredential(_))) => {
            Finding::good(WHAT, format!("{values} values, not tried: {error}"))
        }
        Err(error) => Finding::bad(WHAT, format!("{values} values can't be opened: {error}"), HELP),
    }
}

fn keys(folder: &Path) -> Finding {
    if !folder.exists() {
        let text = format!("{} is gone; without it no node trusts this control plane", folder.display());
        return Finding::bad("keys", text, "restore it from a backup");
    }
    match Pki::look(folder, clock::wall()) {
        Ok(_) => Finding::good("keys", "authority, server and signing key".to_owned()),
        Err(error) => Finding::bad("keys", error.to_string(), "restore that file from a backup"),
    }
}

/// What the state names: the folder, the digest, and what it is of.
type Named = Vec<(&'static str, String, String)>;

fn names(key: &str, value: &[u8]) -> Option<(&'static str, String, String)> {
    if let Some(id) = key.strip_prefix(records::APPROVALS) {
        let one: rest::Approval = records::decode(key, value).ok()?;
        return (!one.body.is_empty()).then(|| ("documents", one.body, format!("what waits as {id}")));
    }
    if let Some(name) = key.strip_prefix(records::ARTIFACTS) {
        let one: rest::Artifact = records::decode(key, value).ok()?;
        return Some(("blobs", one.digest, format!("plugin {name}")));
    }
    let name = key.strip_prefix(records::SYSTEM_VERSIONS)?;
    let one: rest::SystemVersion = records::decode(key, value).ok()?;
    let system = name.split('/').next().unwrap_or(name);
    let what = format!("version {} of system {system}", one.number);
    (!one.digest.is_empty()).then_some(("documents", one.digest, what))
}

fn content(folder: &Path, part: &'static str, named: &Named) -> Finding {
    let mut bad = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !crate::blobs::is_digest(&name) {
            continue;
        }
        count += 1;
        let is = fs::read(entry.path()).map(|bytes| crate::pki::sha256_hex(&bytes));
        if is.ok().as_ref() != Some(&name) {
            bad.push(format!("{} is not what its name says", entry.path().display()));
        }
    }
    let missing = named.iter().filter(|(of, digest, _)| *of == part && !folder.join(digest).exists());
    bad.extend(missing.map(|(_, digest, what)| format!("{} is gone ({what})", folder.join(digest).display())));
    match bad.first() {
        None => Finding::good(part, format!("{count} files")),
        Some(first) => {
            let more = if bad.len() == 1 { String::new() } else { format!(", and {} more", bad.len() - 1) };
            Finding::bad(
                part,
                format!("{first}{more}"),
                "restore these files from a backup; a plugin may be pushed again",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::Blobs;
    use hostler_store::Txn;
    use std::path::PathBuf;

    fn filled(data: &Path) {
        Pki::open(&data.join("pki"), clock::wall()).expect("keys");
        let digest = Blobs::open(&data.join("blobs")).and_then(|blobs| blobs.put(b"a plugin")).expect("a blob");
        Blobs::open(&data.join("documents")).and_then(|blobs| blobs.put(b"a version")).expect("a blob");
        let artifact = rest::Artifact { plugin: "disk".into(), digest, ..rest::Artifact::default() };
        let store = hostler_store::open_embedded(&data.join("store")).expect("opens");
        let key = format!("{}disk/0.1.0", records::ARTIFACTS);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(store.commit(Txn::new().put(key, records::encode(&artifact)))).expect("commits");
        drop(store);
        hostler_store::wait_closed(&data.join("store")).expect("closes");
    }

    fn bad(data: &Path) -> Vec<String> {
        let findings = verify(data, Some(Source::File)).expect("looks").into_iter();
        findings
            .filter(|finding| !finding.is_good())
            .map(|finding| format!("{}: {}", finding.what, finding.said))
            .collect()
    }

    fn files(folder: PathBuf) -> Vec<PathBuf> {
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
    }

    #[test]
    fn any_change_to_a_key_or_a_blob_is_seen_and_named() {
        let dir = tempfile::tempdir().expect("a folder");
        filled(dir.path());
        assert_eq!(bad(dir.path()), Vec::<String>::new());
        let parts = ["pki", "blobs", "documents"].map(|part| files(dir.path().join(part)));
        for file in parts.into_iter().flatten() {
            let content = fs::read(&file).expect("reads");
            for at in 0..content.len() {
                let mut changed = content.clone();
                changed[at] ^= 1 << (at % 8);
                fs::write(&file, changed).expect("writes");
                let found = bad_outside_the_store(dir.path());
                let name = file.file_name().expect("a name").to_string_lossy().into_owned();
                assert!(found.iter().any(|said| said.contains(&name)), "{name}, byte {at}: {found:?}");
            }
            fs::write(&file, content).expect("writes");
        }
        assert_eq!(bad(dir.path()), Vec::<String>::new());
    }

    /// The store need not be read for each byte.
    fn bad_outside_the_store(data: &Path) -> Vec<String> {
        let parts = ["blobs", "documents"].map(|part| content(&data.join(part), part, &Named::new()));
        let findings = [keys(&data.join("pki"))].into_iter().chain(parts);
        findings.filter(|finding| !finding.is_good()).map(|finding| finding.said).collect()
    }

    #[test]
    fn what_the_key_does_not_open_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        filled(dir.path());
        let vault = vault::Vault::open(Source::File, dir.path(), true).expect("a key");
        let name = hostler_types::Name::new("smtp").expect("a name");
        let record = vault.add(None, &name, b"hunter2", "anna").expect("seals");
        let store = hostler_store::open_embedded(&dir.path().join("store")).expect("opens");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let txn = Txn::new().put(records::secret_key(&name), records::encode(&record));
        runtime.block_on(store.commit(txn)).expect("commits");
        drop(store);
        hostler_store::wait_closed(&dir.path().join("store")).expect("closes");
        assert_eq!(bad(dir.path()), Vec::<String>::new());
        let key = dir.path().join(vault::KEY_FILE);
        let kept = fs::read(&key).expect("reads");
        fs::remove_file(&key).expect("removes");
        assert!(bad(dir.path()).join("").contains("1 values can't be opened"), "{:?}", bad(dir.path()));
        assert!(!key.exists(), "no other one is made in its place");
        let mut other = kept.clone();
        other[0] = if other[0] == b'0' { b'1' } else { b'0' };
        crate::files::write_private(&key, &other).expect("writes");
        assert!(bad(dir.path()).join("").contains("secret smtp, version 1: it was sealed under the key"));
        crate::files::write_private(&key, &kept).expect("writes");
        assert_eq!(bad(dir.path()), Vec::<String>::new());
    }

    #[test]
    fn what_is_gone_is_named_with_what_it_was() {
        let dir = tempfile::tempdir().expect("a folder");
        filled(dir.path());
        let blob = files(dir.path().join("blobs")).remove(0);
        fs::remove_file(&blob).expect("removes");
        fs::remove_file(dir.path().join("pki/authority.key")).expect("removes");
        let found = bad(dir.path()).join("\n");
        assert!(found.contains("plugin disk/0.1.0"), "{found}");
        assert!(found.contains("pki/authority.key is damaged or gone"), "{found}");
        assert!(Pki::open(&dir.path().join("pki"), clock::wall()).is_err(), "no other one is made in its place");
    }
}
