//! The hash that spreads work over time. Agents and control plane must agree on it, in
//! every version.

/// FNV-1a, 64 bits. Std's hasher may change between releases, and then every
/// check in the fleet would move to another moment at an upgrade.
pub fn fnv1a(parts: &[&str]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut hash = OFFSET;
    for part in parts {
        // The zero byte keeps ("ab", "c") and ("a", "bc") apart.
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
    }
    // Short names differ in few bits: mix, so that a modulus sees all of them.
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_stay_what_they_are() {
        assert_eq!(fnv1a(&["n-aaaaaaaaaaaaaaaa", "disk"]), fnv1a(&["n-aaaaaaaaaaaaaaaa", "disk"]));
        assert_ne!(fnv1a(&["ab", "c"]), fnv1a(&["a", "bc"]));
        assert_eq!(fnv1a(&[]) % 1000, 0xcbf2_9ce4_8422_2325u64.pipe_mix() % 1000);
    }

    trait Mix {
        fn pipe_mix(self) -> u64;
    }
    impl Mix for u64 {
        fn pipe_mix(mut self) -> u64 {
            self ^= self >> 32;
            self = self.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self ^ (self >> 29)
        }
    }
}
