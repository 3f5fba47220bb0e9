//! What the writers write: transactions that follow from a seed, so that the
//! checker knows each of them without having been told.

/// How many write at once: enough for groups to form behind one sync.
pub const WRITERS: u32 = 16;
const KEYS_OF_ONE: u64 = 60;
const KEYS_SHARED: u64 = 100;
const VALUE_SMALL_BYTES: std::ops::RangeInclusive<u64> = 50..=1000;
const VALUE_LARGE_BYTES: std::ops::RangeInclusive<u64> = 4097..=60 * 1024;

/// Splitmix64: small, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream for one thing of many: a round, a writer, a transaction.
    pub fn of(seed: u64, parts: &[u64]) -> Self {
        let mix = |seed, part: &u64| Self(seed ^ part.wrapping_mul(0xd6e8_feb8_6659_fd93)).draw();
        Self(parts.iter().fold(seed, mix))
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.draw() % limit.max(1)
    }

    pub fn within(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// One key's part of a transaction; no value deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    pub key: String,
    pub value: Option<Vec<u8>>,
}

/// The writer's newest transaction: every transaction of its writes it.
pub fn last_key(writer: u32) -> String {
    format!("/w/{writer}/last")
}

/// The `seq`th transaction of a writer, counted from 1.
pub fn txn(seed: u64, writer: u32, seq: u64) -> Vec<Op> {
    let mut random = Random::of(seed, &[u64::from(writer), seq]);
    let count = if random.one_in(3) { random.within(2..=8) } else { 1 };
    let mut ops: Vec<Op> = Vec::new();
    for _ in 0..count {
        let key = pick_key(&mut random, writer);
        let value = (!random.one_in(5)).then(|| pick_value(&mut random, writer, seq));
        if !ops.iter().any(|op| op.key == key) {
            ops.push(Op { key, value });
        }
    }
    // Anywhere among the others: the half of a torn one is not always the same.
    let at = usize::try_from(random.below(ops.len() as u64 + 1)).unwrap_or(0);
    ops.insert(at, Op { key: last_key(writer), value: Some(seq.to_string().into_bytes()) });
    ops
}

fn pick_key(random: &mut Random, writer: u32) -> String {
    if random.one_in(4) {
        format!("/shared/{}", random.below(KEYS_SHARED))
    } else {
        format!("/w/{writer}/key/{}", random.below(KEYS_OF_ONE))
    }
}

/// Begins with whose it is, so that a value found can be traced.
fn pick_value(random: &mut Random, writer: u32, seq: u64) -> Vec<u8> {
    let sizes = if random.one_in(25) { VALUE_LARGE_BYTES } else { VALUE_SMALL_BYTES };
    let size = usize::try_from(random.within(sizes)).unwrap_or(0);
    let mut value = format!("{writer} {seq} ").into_bytes();
    while value.len() < size {
        value.extend_from_slice(&random.draw().to_le_bytes());
    }
    value.truncate(size);
    value
}

/// Which transaction put this value under this key; none if nobody did.
pub fn origin(seed: u64, key: &str, value: &[u8]) -> Option<(u32, u64)> {
    let (writer, seq) = if let Some(writer) = key.strip_prefix("/w/").and_then(|rest| rest.strip_suffix("/last")) {
        (writer.parse().ok()?, std::str::from_utf8(value).ok()?.parse().ok()?)
    } else {
        let mut words = value.splitn(3, |byte| *byte == b' ').map(|word| std::str::from_utf8(word).ok());
        (words.next()??.parse().ok()?, words.next()??.parse().ok()?)
    };
    let wrote = |op: &Op| op.key == key && op.value.as_deref() == Some(value);
    (seq > 0 && txn(seed, writer, seq).iter().any(wrote)).then_some((writer, seq))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many() -> impl Iterator<Item = (u32, u64, Vec<Op>)> {
        (0..WRITERS).flat_map(|writer| (1..=100).map(move |seq| (writer, seq, txn(7, writer, seq))))
    }

    #[test]
    fn the_same_seed_gives_the_same_transactions() {
        assert_eq!(txn(1, 2, 3), txn(1, 2, 3));
        assert_ne!(txn(1, 2, 3), txn(2, 2, 3));
        assert_ne!(txn(1, 2, 3), txn(1, 3, 2));
    }

    #[test]
    fn a_transaction_writes_each_key_once_and_its_own_number() {
        for (writer, seq, ops) in many() {
            let mut keys: Vec<&str> = ops.iter().map(|op| op.key.as_str()).collect();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), ops.len());
            let last = ops.iter().find(|op| op.key == last_key(writer)).unwrap();
            assert_eq!(last.value.as_deref(), Some(seq.to_string().as_bytes()));
        }
    }

    #[test]
    fn the_mix_is_what_was_asked_for() {
        let all: Vec<_> = many().collect();
        let share = |count: usize| count * 100 / all.len();
        assert!((20..40).contains(&share(all.iter().filter(|(_, _, ops)| ops.len() > 2).count())));
        let ops = || all.iter().flat_map(|(_, _, ops)| ops);
        assert!(ops().filter(|op| op.value.is_none()).count() > 300);
        assert!(ops().filter(|op| op.key.starts_with("/shared/")).count() > 300);
        let sizes = || ops().filter_map(|op| op.value.as_ref().map(Vec::len));
        assert!(sizes().filter(|size| *size > 4096).count() > 50);
        assert!(sizes().all(|size| size <= 60 * 1024));
    }

    #[test]
    fn a_value_is_traced_to_its_transaction_and_a_damaged_one_to_none() {
        for (writer, seq, ops) in many().take(200) {
            for op in ops {
                let Some(mut value) = op.value else { continue };
                assert_eq!(origin(7, &op.key, &value), Some((writer, seq)));
                assert_eq!(origin(7, "/shared/none", &value), None);
                let at = value.len() - 1;
                value[at] ^= 0x40;
                assert_eq!(origin(7, &op.key, &value), None);
            }
        }
    }
}
