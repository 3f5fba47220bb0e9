//! Looking all of a control plane's folder over: the store, and everything that
//! the store names.

use crate::pki::Pki;
use crate::{clock, records};
use anyhow::Result;
use hostler_proto::store as rest;
use hostler_store::{Finding, Verdict};
use std::fs;
use std::path::Path;

/// Changes nothing.
pub fn verify(data: &Path) -> Result<Vec<Finding>> {
    let mut named = Named::new();
    let mut findings = hostler_store::inspect(&data.join("store"), &mut |key, value| named.extend(names(key, value)))?;
    findings.push(keys(&data.join("pki")));
    // Only a state that can be read says what else must be there.
    if findings.iter().any(|finding| finding.what == hostler_store::WHOLE && finding.verdict != Verdict::Bad) {
        for part in ["blobs", "documents"] {
            findings.push(content(&data.join(part), part, &named));
        }
    }
    Ok(findings)
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
        let findings = verify(data).expect("looks").into_iter();
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
