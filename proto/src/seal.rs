//! Sealed to one receiver: HPKE (RFC 9180) with X25519, HKDF-SHA256 and
//! ChaCha20-Poly1305. Whoever has the receiver's public key can seal; who did is
//! for the message around it to say.

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use zeroize::Zeroizing;

/// Of the public key and of what is made for each sealing.
pub const KEY_BYTES: usize = 32;
const INFO: &[u8] = b"hostler seal 1";

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SealError {
    #[error("the receiver's key is none")]
    Key,
    #[error("it was sealed for another key or another purpose, or is damaged")]
    Damaged,
}

/// A receiver's own key. Neither shown nor printed.
pub struct SealingKey(<X25519HkdfSha256 as Kem>::PrivateKey);

impl SealingKey {
    pub fn generate() -> Self {
        Self(X25519HkdfSha256::gen_keypair().0)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        Deserializable::from_bytes(bytes).map(Self).map_err(|_| SealError::Key)
    }

    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0.to_bytes().to_vec())
    }

    pub fn public_key(&self) -> Vec<u8> {
        X25519HkdfSha256::sk_to_pk(&self.0).to_bytes().to_vec()
    }

    /// `purpose` as it was given to [`seal`].
    pub fn open(&self, purpose: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (key, text) = sealed.split_at_checked(KEY_BYTES).ok_or(SealError::Damaged)?;
        let key = Deserializable::from_bytes(key).map_err(|_| SealError::Damaged)?;
        let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &self.0,
            &key,
            INFO,
            text,
            purpose,
        );
        opened.map(Zeroizing::new).map_err(|_| SealError::Damaged)
    }
}

/// Opens for the holder of that key and for the same purpose alone.
pub fn seal(public_key: &[u8], purpose: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let receiver = Deserializable::from_bytes(public_key).map_err(|_| SealError::Key)?;
    let (key, text) = hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &receiver,
        INFO,
        plain,
        purpose,
    )
    .map_err(|_| SealError::Key)?;
    Ok([key.to_bytes().as_slice(), &text].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_for_its_receiver_and_purpose_alone() {
        let (key, other) = (SealingKey::generate(), SealingKey::generate());
        let sealed = seal(&key.public_key(), b"secret smtp 3", b"hunter2").expect("seals");
        assert_eq!(*key.open(b"secret smtp 3", &sealed).expect("opens"), b"hunter2");
        let again = SealingKey::from_bytes(&key.to_bytes()).expect("reads");
        assert_eq!(*again.open(b"secret smtp 3", &sealed).expect("opens"), b"hunter2");
        assert_eq!(key.open(b"secret smtp 4", &sealed), Err(SealError::Damaged));
        assert_eq!(other.open(b"secret smtp 3", &sealed), Err(SealError::Damaged));
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert_eq!(key.open(b"secret smtp 3", &bent), Err(SealError::Damaged), "byte {at}");
        }
        assert_eq!(key.open(b"", b"short"), Err(SealError::Damaged));
        assert_eq!(seal(b"short", b"", b"x"), Err(SealError::Key));
        assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
    }
}
