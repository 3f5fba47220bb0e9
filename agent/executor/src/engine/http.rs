//! As much of HTTP as an engine on this host speaks over its socket: a request a
//! connection, and an answer with a length, in chunks, or up to the end.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Engines send a dozen headers.
const HEADERS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// A chunk's length in hexadecimal digits, with an extension that nobody sends.
const CHUNK_HEAD_BYTES_MAX: usize = 256;
const READ_BYTES: usize = 16 * 1024;

pub struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub body: Option<Vec<u8>>,
    pub longest: Duration,
}

#[derive(Debug, PartialEq)]
pub enum Fault {
    /// Nobody listens there.
    Nobody,
    Late,
    Broken(String),
}

/// The status. What comes after the head goes to `sink`, which may say that it has
/// had enough.
pub async fn exchange(
    socket: &Path,
    request: Request<'_>,
    sink: &mut impl FnMut(u16, &[u8]) -> bool,
) -> Result<u16, Fault> {
    let longest = request.longest;
    tokio::time::timeout(longest, spoken(socket, request, sink)).await.unwrap_or(Err(Fault::Late))
}

async fn spoken(socket: &Path, request: Request<'_>, sink: &mut impl FnMut(u16, &[u8]) -> bool) -> Result<u16, Fault> {
    let broken = |verb: &'static str| move |error: std::io::Error| Fault::Broken(format!("{verb}: {error}"));
    let mut stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => Fault::Nobody,
        _ => Fault::Broken(format!("connect: {error}")),
    })?;
    stream.write_all(&written(&request)).await.map_err(broken("ask"))?;
    let (mut decoder, mut bytes) = (Decoder::default(), vec![0; READ_BYTES]);
    loop {
        let length = stream.read(&mut bytes).await.map_err(broken("read its answer"))?;
        if length == 0 {
            return decoder.ended();
        }
        if decoder.feed(bytes.get(..length).unwrap_or_default(), sink)? {
            return decoder.ended();
        }
    }
}

fn written(request: &Request<'_>) -> Vec<u8> {
    let body = request.body.as_deref().unwrap_or_default();
    let kind = if request.body.is_some() { "Content-Type: application/json\r\n" } else { "" };
    let head = format!(
        "{} {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{kind}Content-Length: {}\r\n\r\n",
        request.method,
        request.path,
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// For a path or a value of a query; what is named is known to have no empty parts.
pub fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/');
    text.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Head,
    /// So many bytes are to come.
    Length(u64),
    ChunkHead,
    /// So many, and a line's end.
    Chunk(u64),
    ToTheEnd,
    Over,
}

/// An answer in any pieces.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    status: u16,
    held: Vec<u8>,
}

impl Decoder {
    /// Whether that was all that is wanted of it.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut impl FnMut(u16, &[u8]) -> bool) -> Result<bool, Fault> {
        self.held.extend_from_slice(bytes);
        loop {
            let taken = match self.state {
                State::Over => return Ok(true),
                State::Head => self.head()?,
                State::ChunkHead => self.chunk_head()?,
                State::ToTheEnd => {
                    let held = std::mem::take(&mut self.held);
                    return Ok(!held.is_empty() && !sink(self.status, &held));
                }
                State::Length(left) | State::Chunk(left) => {
                    let now = usize::try_from(left).unwrap_or(usize::MAX).min(self.held.len());
                    let part: Vec<u8> = self.held.drain(..now).collect();
                    let left = left - now as u64;
                    let chunk = matches!(self.state, State::Chunk(_));
                    self.state = match (left, chunk) {
                        (0, false) => State::Over,
                        (0, true) => State::ChunkHead,
                        (left, false) => State::Length(left),
                        (left, true) => State::Chunk(left),
                    };
                    if !part.is_empty() && !sink(self.status, &part) {
                        return Ok(true);
                    }
                    left == 0
                }
            };
            if !taken {
                return Ok(false);
            }
        }
    }

    /// The status, if the answer was a whole one.
    pub fn ended(&self) -> Result<u16, Fault> {
        match self.state {
            State::Head => Err(Fault::Broken("it hung up without an answer".into())),
            _ => Ok(self.status),
        }
    }

    fn head(&mut self) -> Result<bool, Fault> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let parsed =
            response.parse(&self.held).map_err(|error| Fault::Broken(format!("it speaks no HTTP: {error}")))?;
        let httparse::Status::Complete(length) = parsed else {
            let long = self.held.len() > HEAD_BYTES_MAX;
            return if long { Err(Fault::Broken("the head of its answer is too long".into())) } else { Ok(false) };
        };
        let value = |name: &str| {
            let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            header.and_then(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
        };
        let status = response.code.unwrap_or_default();
        let said = value("content-length").and_then(|text| text.parse().ok());
        let chunked = value("transfer-encoding").is_some_and(|text| text.eq_ignore_ascii_case("chunked"));
        self.state = match (status, said) {
            (100..200, _) => State::Head,
            (204 | 304, _) => State::Over,
            _ if chunked => State::ChunkHead,
            (_, Some(0)) => State::Over,
            (_, Some(length)) => State::Length(length),
            _ => State::ToTheEnd,
        };
        self.status = status;
        self.held.drain(..length);
        Ok(true)
    }

    fn chunk_head(&mut self) -> Result<bool, Fault> {
        // The end of the chunk before.
        if self.held.starts_with(b"\r\n") {
            self.held.drain(..2);
        }
        let wrong = || Fault::Broken("its answer is in broken chunks".into());
        match httparse::parse_chunk_size(&self.held).map_err(|_| wrong())? {
            httparse::Status::Complete((at, length)) => {
                self.held.drain(..at);
                self.state = if length == 0 { State::Over } else { State::Chunk(length) };
                Ok(true)
            }
            httparse::Status::Partial if self.held.len() > CHUNK_HEAD_BYTES_MAX => Err(wrong()),
            httparse::Status::Partial => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests;
