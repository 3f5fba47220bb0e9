//! How a file stands, so that whoever put it there knows whether it still does.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LookAt {
    pub path: PathBuf,
    /// As it was answered last: as long as it is the same, nothing is read again.
    #[serde(default)]
    pub mark: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFound {
    /// It could not be looked at.
    #[default]
    Unknown,
    /// As at the look before.
    Same,
    Gone,
    /// A symlink, a folder, a device.
    NoFile,
    There(Stands),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stands {
    /// Without one it is too young: what is written within one tick of the file
    /// system's clock looks the same.
    pub mark: Option<u64>,
    /// Of its content: [`print_of`].
    pub print: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// When its content, mode or owner changed last, by the host's clock.
    pub changed_ms: u64,
}

/// By which a content is known again: FNV-1a, which stays what it is, since it is
/// remembered across upgrades. It tells of changes, and proves nothing.
pub fn print_of(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_print_stays_what_it_is() {
        assert_eq!(print_of(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(print_of(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
