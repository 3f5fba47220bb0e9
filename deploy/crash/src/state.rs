//! A store's whole state, and how a child tells its parent.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::time::Duration;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub value: Vec<u8>,
    pub created: u64,
    pub modified: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub revision: u64,
    pub entries: BTreeMap<String, Entry>,
    /// How long the store took to open.
    pub opened_in: Duration,
}

/// After the last entry: what stops short of it was cut off.
const END: u64 = u64::MAX;

impl State {
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let micros = u64::try_from(self.opened_in.as_micros()).unwrap_or(u64::MAX);
        for number in [self.revision, micros, self.entries.len() as u64] {
            out.write_all(&number.to_le_bytes())?;
        }
        for (key, entry) in &self.entries {
            for number in [entry.created, entry.modified] {
                out.write_all(&number.to_le_bytes())?;
            }
            write_bytes(out, key.as_bytes())?;
            write_bytes(out, &entry.value)?;
        }
        out.write_all(&END.to_le_bytes())?;
        out.flush()
    }

    pub fn read(from: &mut impl Read) -> io::Result<Self> {
        let revision = read_number(from)?;
        let opened_in = Duration::from_micros(read_number(from)?);
        let mut entries = BTreeMap::new();
        for _ in 0..read_number(from)? {
            let (created, modified) = (read_number(from)?, read_number(from)?);
            let key = String::from_utf8(read_bytes(from)?).map_err(io::Error::other)?;
            entries.insert(key, Entry { value: read_bytes(from)?, created, modified });
        }
        if read_number(from)? != END {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self { revision, entries, opened_in })
    }
}

fn write_bytes(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(&(bytes.len() as u64).to_le_bytes())?;
    out.write_all(bytes)
}

fn read_number(from: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn read_bytes(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let length = read_number(from)?;
    let mut bytes = Vec::new();
    from.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_written_and_a_cut_one_is_not() {
        let entry = Entry { value: vec![7; 300], created: 3, modified: 9 };
        let state = State { revision: 9, opened_in: Duration::from_micros(5), entries: [("/a".into(), entry)].into() };
        let mut bytes = Vec::new();
        state.write(&mut bytes).unwrap();
        assert_eq!(State::read(&mut bytes.as_slice()).unwrap(), state);
        for length in 0..bytes.len() {
            assert!(State::read(&mut &bytes[..length]).is_err());
        }
    }
}
