//! Good components with something wrong in them.

use crate::random::Rng;

/// Bytes that mean something to the format: opcodes, types, lengths.
const BYTES: [u8; 14] = [0x00, 0x01, 0x0b, 0x10, 0x20, 0x40, 0x41, 0x60, 0x6a, 0x7e, 0x7f, 0x80, 0xc0, 0xff];

pub fn mutated(materials: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = rng.pick(materials).clone();
    if rng.chance(15) {
        bytes = sections_moved(&bytes, materials[rng.below(materials.len())].as_slice(), rng);
    }
    // One wrong byte is found by what reads it; several are found by the first.
    for _ in 0..*rng.pick(&[0, 1, 1, 1, 1, 2, 4]) {
        let at = rng.below(bytes.len() + 1);
        let end = at + rng.below((bytes.len() - at).min(40) + 1);
        match rng.below(10) {
            0..4 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            4..7 if at < bytes.len() => bytes[at] = *rng.pick(&BYTES),
            7 => drop(bytes.splice(at..end, [])),
            8 => drop(bytes.splice(at..at, rng.next().to_le_bytes().into_iter().take(1 + at % 8))),
            _ => {
                let other = rng.pick(materials);
                let from = rng.below(other.len());
                let to = from + rng.below((other.len() - from).min(40) + 1);
                bytes.splice(at..end, other[from..to].iter().copied());
            }
        }
    }
    bytes
}

/// The outermost sections in another order, twice, not at all, or another's.
fn sections_moved(component: &[u8], other: &[u8], rng: &mut Rng) -> Vec<u8> {
    let (Some(mut sections), Some(others)) = (sections(component), sections(other)) else { return component.to_vec() };
    for _ in 0..1 + rng.below(3) {
        let (from, to) = (rng.below(sections.len()), rng.below(sections.len()));
        match rng.below(4) {
            0 => sections.swap(from, to),
            1 => sections.insert(to, sections[from]),
            2 => sections.insert(to, others[rng.below(others.len())]),
            _ if sections.len() > 1 => drop(sections.remove(from)),
            _ => {}
        }
    }
    [&component[..8], &sections.concat()].concat()
}

/// As they stand, each with its head.
pub fn sections(binary: &[u8]) -> Option<Vec<&[u8]>> {
    let mut all = Vec::new();
    let mut rest = binary.get(8..)?;
    while !rest.is_empty() {
        let (size, head) = number(rest.get(1..)?)?;
        let end = size.checked_add(head + 1)?;
        all.push(rest.get(..end)?);
        rest = &rest[end..];
    }
    (!all.is_empty()).then_some(all)
}

/// The number at the start, and how many bytes it takes.
pub fn number(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        number |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, at + 1));
        }
    }
    None
}
