//! Who vouches for a plugin.
//!
//! A signature travels inside the component, as a custom section of its own, and
//! covers all the other bytes, the manifest among them. It says itself which
//! plugin and version it is for, and until when. The cryptography is the
//! caller's: what is here only says what must be signed and what must match.

use super::Manifest;
use super::component::{ComponentError, Sections, push_section};
use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// The custom section that holds the signature, as JSON.
pub const SIGNATURE_SECTION: &str = "hostler:signature";

/// What is signed begins with it, so that no other signature of the same key
/// can be taken for one of these.
const PURPOSE: &str = "hostler-plugin-signature-v1";

/// A key is told by the first half of its public half, in hex.
const KEY_ID_BYTES: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Of the key, see [`key_id`].
    pub key: String,
    pub name: String,
    pub version: String,
    /// Absent: it never expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// Ed25519, in hex.
    pub signature: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("it is not signed, and only signed plugins are taken here: hostlerctl plugin sign --key FILE PLUGIN")]
    Unsigned,
    #[error("it is signed by key {key}, which is not trusted here: hostlerctl plugin trust add NAME FILE.pub")]
    UnknownKey { key: String },
    #[error("its signature expired on {at}: sign it again")]
    Expired { at: Timestamp },
    #[error("its signature is for {signed}, and it is {found}: somebody mixed two plugins up")]
    MixedUp { signed: String, found: String },
    #[error("it is not as it was signed by key {key}: it was changed since")]
    Tampered { key: String },
}

pub fn key_id(public_key: &[u8]) -> String {
    public_key.iter().take(KEY_ID_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

impl Signature {
    /// What the key signs: the purpose, the words, and the digest of all other bytes.
    pub fn message(&self, sha256_of_rest: &[u8]) -> Vec<u8> {
        let expires = self.expires_ms.map_or_else(|| "never".to_owned(), |at| at.to_string());
        let digest: String = sha256_of_rest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{PURPOSE}\n{}\n{}\n{expires}\n{digest}\n", self.name, self.version).into_bytes()
    }
}

/// The component without its signature, and the signature.
pub fn split_signature(component: &[u8]) -> Result<(Vec<u8>, Option<Signature>), ComponentError> {
    let sections = Sections::new(component)?;
    let mut rest = sections.header().to_vec();
    let mut found = None;
    for section in sections {
        let section = section?;
        match section.custom(SIGNATURE_SECTION) {
            None => rest.extend_from_slice(section.whole),
            Some(_) if found.is_some() => return Err(ComponentError::Signature("there is more than one".to_owned())),
            Some(data) => {
                let read =
                    serde_json::from_slice(data).map_err(|error| ComponentError::Signature(error.to_string()))?;
                found = Some(read);
            }
        }
    }
    Ok((rest, found))
}

/// `rest` is what [`split_signature`] gave.
pub fn attach_signature(rest: &[u8], signature: &Signature) -> Vec<u8> {
    let mut signed = rest.to_vec();
    let json = serde_json::to_vec(signature).unwrap_or_default();
    push_section(&mut signed, SIGNATURE_SECTION, &json);
    signed
}

/// A key that counts, under the name that somebody gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    pub name: String,
    pub public_key: Vec<u8>,
}

/// The name of the trusted key that signed it. `is_valid` says whether a public
/// key made a signature (the last) of a message.
pub fn verify<'a>(
    signature: Option<&Signature>,
    manifest: &Manifest,
    sha256_of_rest: &[u8],
    keys: &'a [TrustedKey],
    now: Timestamp,
    is_valid: impl Fn(&[u8], &[u8], &[u8]) -> bool,
) -> Result<&'a str, SignatureError> {
    let signature = signature.ok_or(SignatureError::Unsigned)?;
    let key = keys
        .iter()
        .find(|key| key_id(&key.public_key) == signature.key)
        .ok_or_else(|| SignatureError::UnknownKey { key: signature.key.clone() })?;
    let made = from_hex(&signature.signature).unwrap_or_default();
    if !is_valid(&key.public_key, &signature.message(sha256_of_rest), &made) {
        return Err(SignatureError::Tampered { key: key.name.clone() });
    }
    if (signature.name.as_str(), signature.version.as_str()) != (manifest.name.as_str(), manifest.version.as_str()) {
        return Err(SignatureError::MixedUp {
            signed: format!("{} {}", signature.name, signature.version),
            found: format!("{} {}", manifest.name, manifest.version),
        });
    }
    match signature.expires_ms.map(Timestamp::from_millis) {
        Some(at) if at <= now => Err(SignatureError::Expired { at }),
        _ => Ok(&key.name),
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c.to_digit(16)?).ok()).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{embed_manifest, embedded_manifest};

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn packed(name: &str) -> Vec<u8> {
        let manifest = format!("name = \"{name}\"\nversion = \"1\"\nworld = \"check\"\n# its end\n");
        embed_manifest(COMPONENT, &manifest).expect("packs")
    }

    /// A signature that is the sum of what it signs, and the key's first byte.
    fn sum(key: &[u8], message: &[u8]) -> Vec<u8> {
        let total = message.iter().chain(key.first()).fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte));
        vec![total]
    }

    fn digest(rest: &[u8]) -> Vec<u8> {
        sum(&[], rest)
    }

    fn signed(component: &[u8], key: &[u8], name: &str, expires_ms: Option<u64>) -> Vec<u8> {
        let (rest, _) = split_signature(component).expect("splits");
        let mut signature = Signature {
            key: key_id(key),
            name: name.to_owned(),
            version: "1".to_owned(),
            expires_ms,
            signature: String::new(),
        };
        let made = sum(key, &signature.message(&digest(&rest)));
        signature.signature = made.iter().map(|byte| format!("{byte:02x}")).collect();
        attach_signature(&rest, &signature)
    }

    fn judged(component: &[u8]) -> Result<String, SignatureError> {
        let (rest, signature) = split_signature(component).expect("splits");
        let manifest = embedded_manifest(component).expect("has one");
        let keys = [TrustedKey { name: "ci".into(), public_key: vec![7; 32] }];
        let valid = |key: &[u8], message: &[u8], made: &[u8]| sum(key, message) == made;
        let now = Timestamp::from_millis(1_000);
        verify(signature.as_ref(), &manifest, &digest(&rest), &keys, now, valid).map(str::to_owned)
    }

    #[test]
    fn only_what_is_signed_by_a_trusted_key_counts() {
        let key = [7; 32];
        let good = signed(&packed("disk"), &key, "disk", Some(2_000));
        assert_eq!(judged(&good), Ok("ci".to_owned()));
        assert_eq!(judged(&signed(&good, &key, "disk", None)), Ok("ci".to_owned()), "signing again replaces");
        assert_eq!(judged(&packed("disk")), Err(SignatureError::Unsigned));
        let foreign = signed(&packed("disk"), &[8; 32], "disk", None);
        assert!(matches!(judged(&foreign), Err(SignatureError::UnknownKey { .. })));
        let expired = signed(&packed("disk"), &key, "disk", Some(1_000));
        assert!(matches!(judged(&expired), Err(SignatureError::Expired { .. })));
        let mixed = signed(&packed("http"), &key, "disk", None);
        assert!(matches!(judged(&mixed), Err(SignatureError::MixedUp { .. })));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let good = signed(&packed("disk"), &[7; 32], "disk", None);
        let (rest, _) = split_signature(&good).expect("splits");
        let at = rest.len() - 3;
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(judged(&bad).is_err());
        let moved = [&good[..], &good[8..rest.len()]].concat();
        assert!(embedded_manifest(&moved).is_err(), "a second manifest");
        let twice = [&good[..], &good[rest.len()..]].concat();
        assert!(split_signature(&twice).is_err());
    }
}
