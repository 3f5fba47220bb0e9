//! `hostler-plugin keygen` and `sign`, and what others make of it.

use super::{folder, holds, hostler_plugin};
use hostler_types::Timestamp;
use hostler_types::plugin::{SignatureError, TrustedKey, embedded_manifest, split_signature, verify_signature};
use ring::signature::{ED25519, UnparsedPublicKey};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn trusted(public: &Path) -> TrustedKey {
    let text = std::fs::read_to_string(public).expect("reads");
    let words: Vec<&str> = text.split_whitespace().collect();
    let [word, key, name] = words[..] else { panic!("{text}") };
    assert_eq!(word, "hostler-plugin-key");
    let public_key = data_encoding::BASE64.decode(key.as_bytes()).expect("base64");
    assert_eq!(public_key.len(), 32);
    TrustedKey { name: name.to_owned(), public_key }
}

/// As the control plane judges what it is pushed.
fn judged(component: &[u8], keys: &[TrustedKey], now: Timestamp) -> Result<String, SignatureError> {
    let (rest, signature) = split_signature(component).expect("splits");
    let manifest = embedded_manifest(component).expect("has a manifest");
    let digest = ring::digest::digest(&ring::digest::SHA256, &rest);
    let valid =
        |key: &[u8], message: &[u8], made: &[u8]| UnparsedPublicKey::new(&ED25519, key).verify(message, made).is_ok();
    verify_signature(signature.as_ref(), &manifest, digest.as_ref(), keys, now, valid).map(str::to_owned)
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    Timestamp::from_millis(u64::try_from(since.as_millis()).expect("a time"))
}

#[test]
fn a_signature_counts_until_a_byte_changes_or_it_expires() {
    let folder = folder("disk");
    let file = folder.path().join("disk.wasm");
    let said = hostler_plugin(folder.path(), &["inspect", "disk.wasm"]).exits(0);
    holds(&said.out, "signed   no\n");

    let said = hostler_plugin(folder.path(), &["keygen", "ci"]).exits(0);
    holds(&said.out, "`hostlerctl plugin trust add ci ci.pub`");
    let keys = [trusted(&folder.path().join("ci.pub"))];
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("chmod");
    let said = hostler_plugin(folder.path(), &["sign", "disk.wasm", "--key", "ci.key", "--expires", "365d"]).exits(0);
    assert!(said.out.starts_with("disk 0.2.0  signed by key ") && said.out.contains(", expires 20"), "{}", said.out);
    assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o640);
    let said = hostler_plugin(folder.path(), &["inspect", "disk.wasm"]).exits(0);
    holds(&said.out, "signed   by key ");

    let good = std::fs::read(&file).expect("reads");
    assert_eq!(judged(&good, &keys, now()), Ok("ci".to_owned()));
    let year = std::time::Duration::from_secs(366 * 86_400);
    assert!(matches!(judged(&good, &keys, now().plus(year)), Err(SignatureError::Expired { .. })));
    assert!(matches!(judged(&good, &[], now()), Err(SignatureError::UnknownKey { .. })));
    for at in [100, good.len() / 2] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        // One that can't be read any more is refused before its signature counts.
        if split_signature(&bad).is_ok() && embedded_manifest(&bad).is_ok() {
            assert!(matches!(judged(&bad, &keys, now()), Err(SignatureError::Tampered { .. })), "byte {at}");
        }
    }
    let mut longer = good.clone();
    let text = b"name = \"disk\"";
    let at = longer.windows(text.len()).position(|found| found == text).expect("its manifest");
    longer[at + 8] = b'k';
    assert!(matches!(judged(&longer, &keys, now()), Err(SignatureError::Tampered { .. })));

    // Again: the new one replaces the old.
    hostler_plugin(folder.path(), &["sign", "disk.wasm", "--key", "ci.key"]).exits(0);
    let again = std::fs::read(&file).expect("reads");
    assert_eq!(judged(&again, &keys, now().plus(year)), Ok("ci".to_owned()));
    assert!(again.len() < good.len() + 100);
}

#[test]
fn what_can_not_be_signed_stays_as_it_is() {
    let folder = folder("disk");
    hostler_plugin(folder.path(), &["keygen", "ci", "--out", "."]).exits(0);
    std::fs::write(folder.path().join("x.wasm"), "no component").expect("write");
    let before = std::fs::read(folder.path().join("disk.wasm")).expect("reads");
    for (arguments, says) in [
        (&["sign", "x.wasm", "--key", "ci.key"][..], "x.wasm: this is not WebAssembly"),
        (&["sign", "disk.wasm", "--key", "ci.pub"], "ci.pub is a public key"),
        (&["sign", "disk.wasm", "--key", "plugin.toml"], "plugin.toml can be read by others"),
        (&["sign", "none.wasm", "--key", "ci.key"], "find none.wasm"),
        (&["keygen", "ci"], "is already there"),
        (&["keygen", "C I"], "the key's name: "),
    ] {
        let said = hostler_plugin(folder.path(), arguments).exits(1);
        holds(&said.err, says);
    }
    let said = hostler_plugin(folder.path(), &["sign", "disk.wasm", "--key", "ci.key", "--expires", "5"]).exits(2);
    holds(&said.err, "has no unit");
    std::fs::set_permissions(folder.path().join("ci.key"), std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let said = hostler_plugin(folder.path(), &["sign", "disk.wasm", "--key", "ci.key"]).exits(1);
    holds(&said.err, "ci.key can be read by others (mode 0644)");
    assert_eq!(std::fs::read(folder.path().join("disk.wasm")).expect("reads"), before);
}
