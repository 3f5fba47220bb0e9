//! The two hashes the agent depends on staying the same for ever: one spreads
//! checks over time, one guards records on disk.

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

const CRC32C_TABLE: [u32; 256] = crc32c_table();

const fn crc32c_table() -> [u32; 256] {
    // Castagnoli's polynomial, reflected.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut table = [0u32; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        #[allow(clippy::indexing_slicing, reason = "evaluated by the compiler: out of bounds would not build")]
        {
            table[index] = value;
        }
        index += 1;
    }
    table
}

/// CRC-32C over the parts in order, as if they were one.
pub fn crc32c(parts: &[&[u8]]) -> u32 {
    let mut crc = u32::MAX;
    for byte in parts.iter().copied().flatten() {
        let index = (crc ^ u32::from(*byte)) & 0xff;
        let value = CRC32C_TABLE.get(index as usize).copied().unwrap_or_default();
        crc = (crc >> 8) ^ value;
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_standard() {
        assert_eq!(crc32c(&[b"123456789"]), 0xe306_9283);
        assert_eq!(crc32c(&[b"1234", b"", b"56789"]), 0xe306_9283);
    }

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
