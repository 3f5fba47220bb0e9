//! The one string that lets a host in: where the control plane is, by which key
//! it is known, and a secret that works a few times for a few minutes.

use data_encoding::BASE64URL_NOPAD;
use std::fmt;

pub const SECRET_BYTES: usize = 32;
pub const PIN_BYTES: usize = 32;
const PREFIX: &str = "hj1_";
const ADDRESSES_MAX: usize = 16;

#[derive(Clone, PartialEq, Eq)]
pub struct JoinCode {
    /// `host:port`, tried in order.
    pub addresses: Vec<String>,
    /// SHA-256 over the authority's public key (its SubjectPublicKeyInfo).
    pub authority_pin: [u8; PIN_BYTES],
    pub secret: [u8; SECRET_BYTES],
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinCodeError {
    #[error("a join code begins with {PREFIX}: make one with `hostlerctl token create`")]
    Prefix,
    #[error("the join code is damaged (copied in part?): copy the whole of it, or make a new one")]
    Damaged,
}

impl fmt::Debug for JoinCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinCode").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl JoinCode {
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(96);
        bytes.extend_from_slice(&self.authority_pin);
        bytes.extend_from_slice(&self.secret);
        bytes.extend_from_slice(self.addresses.join(",").as_bytes());
        bytes.push(checksum(&bytes));
        format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
    }

    pub fn decode(text: &str) -> Result<Self, JoinCodeError> {
        let body = text.trim().strip_prefix(PREFIX).ok_or(JoinCodeError::Prefix)?;
        let bytes = BASE64URL_NOPAD.decode(body.as_bytes()).map_err(|_| JoinCodeError::Damaged)?;
        let (sum, bytes) = bytes.split_last().ok_or(JoinCodeError::Damaged)?;
        if checksum(bytes) != *sum {
            return Err(JoinCodeError::Damaged);
        }
        let (authority_pin, rest) = bytes.split_first_chunk().ok_or(JoinCodeError::Damaged)?;
        let (secret, rest) = rest.split_first_chunk().ok_or(JoinCodeError::Damaged)?;
        let addresses = std::str::from_utf8(rest).map_err(|_| JoinCodeError::Damaged)?;
        let addresses: Vec<String> = addresses.split(',').map(str::to_owned).collect();
        if addresses.len() > ADDRESSES_MAX || addresses.iter().any(|one| !one.contains(':')) {
            return Err(JoinCodeError::Damaged);
        }
        Ok(Self { addresses, authority_pin: *authority_pin, secret: *secret })
    }
}

/// One byte, against slips of copying only: the secret is what is checked.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0x5a, |sum: u8, byte| sum.rotate_left(1) ^ byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code() -> JoinCode {
        JoinCode {
            addresses: vec!["10.77.0.1:7443".into(), "[::1]:7443".into()],
            authority_pin: [1; 32],
            secret: [2; 32],
        }
    }

    #[test]
    fn a_code_says_all_a_host_needs() {
        assert_eq!(JoinCode::decode(&code().encode()), Ok(code()));
        assert_eq!(JoinCode::decode(&format!("  {}\n", code().encode())), Ok(code()));
    }

    #[test]
    fn slips_of_copying_are_named() {
        let text = code().encode();
        assert_eq!(JoinCode::decode("abc"), Err(JoinCodeError::Prefix));
        assert_eq!(JoinCode::decode(&text[..text.len() - 1]), Err(JoinCodeError::Damaged));
        assert_eq!(JoinCode::decode("hj1_"), Err(JoinCodeError::Damaged));
        assert_eq!(JoinCode::decode("hj1_!!"), Err(JoinCodeError::Damaged));
    }

    #[test]
    fn a_code_is_not_printed_by_accident() {
        assert!(!format!("{:?}", code()).contains("secret"));
    }
}
