//! A stream closed with a passphrase: Argon2id for the key, then ChaCha20-Poly1305
//! over pieces, each bound to its place and the last one to being the last (the
//! STREAM construction). Whoever cuts, changes or reorders it is found out.

use argon2::{Algorithm, Argon2, Params, Version};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use std::io::{self, Read, Write};

pub const MAGIC: &[u8; 16] = b"hostler-sealed 1";
const SALT_BYTES: usize = 16;
const PREFIX_BYTES: usize = 7;
/// Of the magic, the salt, the cost and the nonces' prefix.
const HEADER_BYTES: usize = MAGIC.len() + SALT_BYTES + 8 + PREFIX_BYTES;
const PIECE_BYTES: usize = 64 * 1024;
const TAG_BYTES: usize = 16;
/// Half a second of one core, and 64 MiB: dear to guess, cheap to know.
const COST: Cost = Cost { kibibytes: 64 * 1024, passes: 3 };
/// What a file may ask for, so that a wrong one can't take all memory.
const COST_MAX: Cost = Cost { kibibytes: 1024 * 1024, passes: 64 };

#[derive(Clone, Copy)]
struct Cost {
    kibibytes: u32,
    passes: u32,
}

fn wrong(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn key(passphrase: &[u8], salt: &[u8], cost: Cost) -> io::Result<LessSafeKey> {
    let params = Params::new(cost.kibibytes, cost.passes, 1, Some(32)).map_err(|_| wrong("its header is damaged"))?;
    let mut key = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, salt, &mut key)
        .map_err(|error| io::Error::other(error.to_string()))?;
    let key = UnboundKey::new(&CHACHA20_POLY1305, &key).map_err(|_| wrong("no key can be made of it"))?;
    Ok(LessSafeKey::new(key))
}

struct Nonces {
    prefix: [u8; PREFIX_BYTES],
    next: u32,
}

impl Nonces {
    fn take(&mut self, is_last: bool) -> io::Result<Nonce> {
        let mut nonce = [0; NONCE_LEN];
        let parts = self.prefix.iter().copied().chain(self.next.to_be_bytes()).chain([u8::from(is_last)]);
        for (to, from) in nonce.iter_mut().zip(parts) {
            *to = from;
        }
        self.next = self.next.checked_add(1).ok_or_else(|| wrong("it is too large to be sealed"))?;
        Ok(Nonce::assume_unique_for_key(nonce))
    }
}

pub struct Sealer<W: Write> {
    out: W,
    key: LessSafeKey,
    nonces: Nonces,
    header: Vec<u8>,
    piece: Vec<u8>,
}

impl<W: Write> Sealer<W> {
    pub fn new(mut out: W, passphrase: &[u8]) -> io::Result<Self> {
        let random = SystemRandom::new();
        let (mut salt, mut prefix) = ([0; SALT_BYTES], [0; PREFIX_BYTES]);
        random.fill(&mut salt).and_then(|()| random.fill(&mut prefix)).map_err(|_| wrong("there is no randomness"))?;
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&salt);
        header.extend_from_slice(&COST.kibibytes.to_le_bytes());
        header.extend_from_slice(&COST.passes.to_le_bytes());
        header.extend_from_slice(&prefix);
        out.write_all(&header)?;
        let key = key(passphrase, &salt, COST)?;
        Ok(Self { out, key, nonces: Nonces { prefix, next: 0 }, header, piece: Vec::with_capacity(PIECE_BYTES) })
    }

    fn put(&mut self, is_last: bool) -> io::Result<()> {
        let nonce = self.nonces.take(is_last)?;
        self.key
            .seal_in_place_append_tag(nonce, Aad::from(&self.header), &mut self.piece)
            .map_err(|_| wrong("a piece can't be sealed"))?;
        self.out.write_all(&self.piece)?;
        self.piece.clear();
        Ok(())
    }

    /// Must be called: without its last piece, nobody opens it.
    pub fn finish(mut self) -> io::Result<W> {
        self.put(true)?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Only when more comes: the last piece is closed differently.
        if self.piece.len() == PIECE_BYTES {
            self.put(false)?;
        }
        let count = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

pub struct Opener<R: Read> {
    input: R,
    key: LessSafeKey,
    nonces: Nonces,
    header: Vec<u8>,
    /// Read and not opened yet: one piece, and a byte of the next if there is one.
    sealed: Vec<u8>,
    open: Vec<u8>,
    at: usize,
    is_over: bool,
}

impl<R: Read> Opener<R> {
    pub fn new(mut input: R, passphrase: &[u8]) -> io::Result<Self> {
        let mut header = vec![0; HEADER_BYTES];
        input.read_exact(&mut header)?;
        let rest = header.strip_prefix(MAGIC.as_slice()).ok_or_else(|| wrong("it is not sealed"))?;
        let (salt, rest) = rest.split_at(SALT_BYTES);
        let (cost, prefix) = rest.split_at(8);
        let number = |at: usize| {
            cost.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |four| u32::from_le_bytes(*four))
        };
        let cost = Cost { kibibytes: number(0), passes: number(4) };
        if cost.kibibytes > COST_MAX.kibibytes || cost.passes > COST_MAX.passes {
            return Err(wrong("its header is damaged"));
        }
        let key = key(passphrase, salt, cost)?;
        let prefix = prefix.first_chunk().copied().unwrap_or_default();
        let (sealed, open) = (Vec::new(), Vec::new());
        Ok(Self { input, key, nonces: Nonces { prefix, next: 0 }, header, sealed, open, at: 0, is_over: false })
    }

    fn open_piece(&mut self) -> io::Result<()> {
        let wanted = PIECE_BYTES + TAG_BYTES + 1;
        let more = (wanted - self.sealed.len()) as u64;
        self.input.by_ref().take(more).read_to_end(&mut self.sealed)?;
        let is_last = self.sealed.len() < wanted;
        let ahead = if is_last { None } else { self.sealed.pop() };
        let is_first = self.nonces.next == 0;
        let nonce = self.nonces.take(is_last)?;
        let opened = self.key.open_in_place(nonce, Aad::from(&self.header), &mut self.sealed);
        let opened = opened.map_err(|_| {
            wrong(if is_first {
                "the passphrase is wrong, or the file is damaged"
            } else {
                "it is damaged or cut short"
            })
        })?;
        self.open.clear();
        self.open.extend_from_slice(opened);
        self.at = 0;
        self.sealed.clear();
        self.sealed.extend(ahead);
        self.is_over = is_last;
        Ok(())
    }
}

impl<R: Read> Read for Opener<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.open.len() && !self.is_over {
            self.open_piece()?;
        }
        let ready = self.open.get(self.at..).unwrap_or_default();
        let count = ready.len().min(into.len());
        for (to, from) in into.iter_mut().zip(ready) {
            *to = *from;
        }
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(content: &[u8]) -> Vec<u8> {
        let mut sealer = Sealer::new(Vec::new(), b"correct horse").expect("begins");
        sealer.write_all(content).expect("writes");
        sealer.finish().expect("ends")
    }

    fn opened(sealed: &[u8], passphrase: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        Opener::new(sealed, passphrase)?.read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn what_is_sealed_opens_with_its_passphrase_alone() {
        for size in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES] {
            let content: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            let sealed = sealed(&content);
            assert_eq!(opened(&sealed, b"correct horse").expect("opens"), content);
            let error = opened(&sealed, b"battery staple").expect_err("another passphrase");
            assert!(error.to_string().contains("the passphrase is wrong"), "{error}");
        }
    }

    #[test]
    fn changes_and_cuts_are_found_out() {
        let sealed = sealed(&vec![5; 2 * PIECE_BYTES + 10]);
        let piece = PIECE_BYTES + TAG_BYTES;
        for at in [3, 20, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + piece + 7, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(opened(&changed, b"correct horse").is_err(), "changed at {at}");
        }
        for end in [HEADER_BYTES, HEADER_BYTES + piece, HEADER_BYTES + 2 * piece, sealed.len() - 1] {
            assert!(opened(&sealed[..end], b"correct horse").is_err(), "cut at {end}");
        }
        let (head, body) = sealed.split_at(HEADER_BYTES);
        let swapped = [head, &body[piece..2 * piece], &body[..piece], &body[2 * piece..]].concat();
        assert!(opened(&swapped, b"correct horse").is_err(), "pieces in another order");
    }
}
