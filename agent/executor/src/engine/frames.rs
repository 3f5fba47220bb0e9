//! What a container printed: frames of its output and its errors, each after eight
//! bytes that say which and how long.

use std::collections::VecDeque;

/// An answer to the agent has at most 2 MiB, and a byte of text up to six of JSON.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;
const HEADER_BYTES: usize = 8;

/// Keeps the end of it.
#[derive(Debug, Default)]
pub struct Frames {
    header: Vec<u8>,
    left: usize,
    text: VecDeque<u8>,
}

impl Frames {
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left == 0 {
                let (header, rest) = bytes.split_at(bytes.len().min(HEADER_BYTES - self.header.len()));
                self.header.extend_from_slice(header);
                bytes = rest;
                if let [_, _, _, _, length @ ..] = self.header.as_slice()
                    && let Ok(length) = <[u8; 4]>::try_from(length)
                {
                    self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                    self.header.clear();
                }
                continue;
            }
            let (part, rest) = bytes.split_at(bytes.len().min(self.left));
            self.text.extend(part);
            self.left -= part.len();
            bytes = rest;
            let over = self.text.len().saturating_sub(TEXT_BYTES_MAX);
            self.text.drain(..over);
        }
    }

    pub fn text(self) -> String {
        let cut = self.text.len() == TEXT_BYTES_MAX;
        let text = String::from_utf8_lossy(&Vec::from(self.text)).into_owned();
        // The first line may be the end of one.
        match text.split_once('\n').filter(|_| cut) {
            Some((_, whole)) => whole.to_owned(),
            None => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, text: &str) -> Vec<u8> {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        [[stream, 0, 0, 0].as_slice(), &length, text.as_bytes()].concat()
    }

    #[test]
    fn both_streams_in_their_order_and_in_any_pieces() {
        let bytes = [frame(1, "one\n"), frame(2, ""), frame(2, "oops\n"), frame(1, "two")].concat();
        for size in [1, 5, 8, bytes.len()] {
            let mut frames = Frames::default();
            bytes.chunks(size).for_each(|piece| frames.feed(piece));
            assert_eq!(frames.text(), "one\noops\ntwo", "in pieces of {size}");
        }
    }

    #[test]
    fn of_much_the_end_is_kept() {
        let mut frames = Frames::default();
        for line in 0..50_000 {
            frames.feed(&frame(1, &format!("line {line}\n")));
        }
        let text = frames.text();
        assert!(text.len() <= TEXT_BYTES_MAX && text.ends_with("line 49999\n"));
        let first = text.lines().next().unwrap();
        assert!(first.strip_prefix("line ").is_some_and(|number| number.len() == 5), "{first}");
    }
}
