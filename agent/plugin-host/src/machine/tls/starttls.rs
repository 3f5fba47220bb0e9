//! Asking a server for TLS in its own protocol, and nothing else of it.

use crate::call::CallError;
use crate::limits;
use crate::machine::network::io_words;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Smtp,
    Imap,
    Pop3,
    Ftp,
    Postgres,
}

const PROTOCOLS: [(&str, Protocol); 5] = [
    ("smtp", Protocol::Smtp),
    ("imap", Protocol::Imap),
    ("pop3", Protocol::Pop3),
    ("ftp", Protocol::Ftp),
    ("postgres", Protocol::Postgres),
];

impl Protocol {
    pub(super) fn parse(word: &str) -> Result<Protocol, CallError> {
        let found = PROTOCOLS.into_iter().find(|(name, _)| *name == word).map(|(_, protocol)| protocol);
        found.ok_or_else(|| {
            let names = PROTOCOLS.map(|(name, _)| name).join(", ");
            CallError::Invalid(format!("starttls {word:?}: it is one of {names}"))
        })
    }

    /// Until the server's next byte is TLS.
    pub(super) async fn begin<S>(self, stream: &mut S) -> Result<(), CallError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match self {
            Protocol::Smtp => {
                coded(stream, "220").await?;
                say(stream, "EHLO hostler.invalid\r\n").await?;
                coded(stream, "250").await?;
                say(stream, "STARTTLS\r\n").await?;
                coded(stream, "220").await
            }
            Protocol::Ftp => {
                coded(stream, "220").await?;
                say(stream, "AUTH TLS\r\n").await?;
                coded(stream, "234").await
            }
            Protocol::Pop3 => {
                starts(stream, "+OK").await?;
                say(stream, "STLS\r\n").await?;
                starts(stream, "+OK").await
            }
            Protocol::Imap => {
                starts(stream, "* OK").await?;
                say(stream, "a STARTTLS\r\n").await?;
                loop {
                    let line = line(stream).await?;
                    if !line.starts_with("* ") {
                        return expect(&line, "a OK");
                    }
                }
            }
            Protocol::Postgres => {
                // Its length, and the number that stands for "SSL, please".
                stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await.map_err(|error| failed(&error))?;
                match stream.read_u8().await.map_err(|error| failed(&error))? {
                    b'S' => Ok(()),
                    b'N' => Err(refused("it speaks no TLS")),
                    _ => Err(refused("it is no PostgreSQL")),
                }
            }
        }
    }
}

fn failed(error: &std::io::Error) -> CallError {
    CallError::Unreachable(format!("starttls: {}", io_words(error)))
}

fn refused(why: &str) -> CallError {
    CallError::Unreachable(format!("starttls: {why}"))
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, line: &str) -> Result<(), CallError> {
    stream.write_all(line.as_bytes()).await.map_err(|error| failed(&error))
}

/// Byte by byte: what follows the line is TLS and not ours.
async fn line<S: AsyncRead + Unpin>(stream: &mut S) -> Result<String, CallError> {
    let mut line = Vec::new();
    while line.len() < limits::STARTTLS_LINE_BYTES_MAX {
        match stream.read_u8().await.map_err(|error| failed(&error))? {
            b'\n' => return Ok(String::from_utf8_lossy(&line).trim_end().to_owned()),
            byte => line.push(byte),
        }
    }
    Err(refused("a line without end"))
}

/// The last line of an answer has a space after its code, those before a `-`.
async fn coded<S: AsyncRead + Unpin>(stream: &mut S, code: &str) -> Result<(), CallError> {
    for _ in 0..limits::STARTTLS_LINES_MAX {
        let line = line(stream).await?;
        expect(&line, code)?;
        if !line.get(code.len()..).is_some_and(|rest| rest.starts_with('-')) {
            return Ok(());
        }
    }
    Err(refused("an answer without end"))
}

async fn starts<S: AsyncRead + Unpin>(stream: &mut S, with: &str) -> Result<(), CallError> {
    expect(&line(stream).await?, with)
}

fn expect(line: &str, with: &str) -> Result<(), CallError> {
    match line.starts_with(with) {
        true => Ok(()),
        false => Err(refused(&format!("answered {line:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was said to a server that says all of this at once.
    async fn check(protocol: &str, server: &str, expect: Result<&str, &str>) {
        let (mut ours, mut theirs) = tokio::io::duplex(64 * 1024);
        theirs.write_all(server.as_bytes()).await.expect("said");
        let began = Protocol::parse(protocol).expect("known").begin(&mut ours).await;
        let mut left = String::new();
        if began.is_ok() {
            theirs.write_all(b"TLS").await.expect("said");
            let mut next = [0; 3];
            ours.read_exact(&mut next).await.expect("a byte");
            left = String::from_utf8_lossy(&next).into_owned();
        }
        drop(ours);
        let mut said = Vec::new();
        theirs.read_to_end(&mut said).await.expect("what was said");
        let said = String::from_utf8_lossy(&said).into_owned();
        match expect {
            Ok(expect) => assert_eq!((began, said.as_str(), left.as_str()), (Ok(()), expect, "TLS"), "{protocol}"),
            Err(why) => assert_eq!(began, Err(refused(why)), "{protocol} {server}"),
        }
    }

    #[tokio::test]
    async fn asks_in_the_servers_protocol() {
        let smtp = "220-mx.example\r\n220 ESMTP\r\n250-mx\r\n250-SIZE 1\r\n250 STARTTLS\r\n220 go\r\n";
        check("smtp", smtp, Ok("EHLO hostler.invalid\r\nSTARTTLS\r\n")).await;
        check("ftp", "220 (vsFTPd)\r\n234 proceed\r\n", Ok("AUTH TLS\r\n")).await;
        check("pop3", "+OK ready\r\n+OK begin\r\n", Ok("STLS\r\n")).await;
        check("imap", "* OK ready\r\n* CAPABILITY X\r\na OK begin\r\n", Ok("a STARTTLS\r\n")).await;
        check("postgres", "S", Ok("\0\0\0\u{8}\u{4}\u{fffd}\u{16}/")).await;
    }

    #[tokio::test]
    async fn says_what_was_said_instead() {
        check("smtp", "554 go away\r\n", Err("answered \"554 go away\"")).await;
        check("smtp", "220 a\r\n250 b\r\n454 not now\r\n", Err("answered \"454 not now\"")).await;
        check("ftp", "220 a\r\n500 what?\r\n", Err("answered \"500 what?\"")).await;
        check("pop3", "+OK a\r\n-ERR\r\n", Err("answered \"-ERR\"")).await;
        check("imap", "* OK a\r\na BAD\r\n", Err("answered \"a BAD\"")).await;
        check("postgres", "N", Err("it speaks no TLS")).await;
        check("postgres", "H", Err("it is no PostgreSQL")).await;
        check("smtp", &"x".repeat(limits::STARTTLS_LINE_BYTES_MAX), Err("a line without end")).await;
        check("smtp", &"220-x\n".repeat(limits::STARTTLS_LINES_MAX), Err("an answer without end")).await;
        let unknown = Protocol::parse("xmpp").expect_err("unknown");
        let expect = "starttls \"xmpp\": it is one of smtp, imap, pop3, ftp, postgres";
        assert_eq!(unknown, CallError::Invalid(expect.into()));
    }
}
