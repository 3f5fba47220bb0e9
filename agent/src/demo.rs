//! `hostler-agent demo`: a service to try things on. It answers on loopback, and
//! refuses from the moment at which it is asked to break until it is started again.

use anyhow::{Context, Result};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

/// One caller at a time: whoever says nothing must not keep the others out.
const PATIENCE: Duration = Duration::from_secs(1);
/// A request line and a few headers.
const REQUEST_BYTES_MAX: usize = 4 * 1024;

#[derive(clap::Args)]
pub struct Demo {
    /// The port on loopback that it answers on
    #[arg(long)]
    port: u16,
}

impl Demo {
    pub fn run(&self) -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port))
            .with_context(|| format!("listen on port {}", self.port))?;
        println!("hello answers on http://127.0.0.1:{}/", self.port);
        let mut broken = false;
        for stream in listener.incoming() {
            // Whoever leaves half-way leaves it as it was.
            let _ = stream.and_then(|stream| answer(stream, &mut broken));
        }
        Ok(())
    }
}

fn answer(mut stream: TcpStream, broken: &mut bool) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = read(&mut stream)?;
    let text = response(&request, broken);
    stream.write_all(text.as_bytes())
}

/// Up to the empty line behind its headers.
fn read(stream: &mut impl Read) -> io::Result<String> {
    let (mut request, mut buffer) = (Vec::new(), [0; 512]);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < REQUEST_BYTES_MAX {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        request.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    Ok(String::from_utf8_lossy(&request).into_owned())
}

fn response(request: &str, broken: &mut bool) -> String {
    let mut words = request.split_whitespace();
    let (status, body) = match (words.next(), words.next()) {
        (Some("POST"), Some("/break")) => {
            *broken = true;
            println!("asked to break: answers 503 until it is restarted");
            ("200 OK", "broken\n")
        }
        (Some("GET" | "HEAD"), Some(_)) if *broken => ("503 Service Unavailable", "broken: restart me\n"),
        (Some("GET" | "HEAD"), Some(_)) => ("200 OK", "hello\n"),
        _ => ("405 Method Not Allowed", "GET /, or POST /break\n"),
    };
    let headers = "Server: hostler-demo\r\nContent-Type: text/plain\r\nConnection: close";
    format!("HTTP/1.1 {status}\r\n{headers}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_answers_until_it_is_broken() {
        let mut broken = false;
        let mut ask = |request: &str| {
            let text = response(request, &mut broken);
            text.split(' ').nth(1).unwrap_or_default().to_owned()
        };
        assert_eq!(ask("GET / HTTP/1.1\r\n\r\n"), "200");
        assert_eq!(ask("GET /break HTTP/1.1\r\n\r\n"), "200");
        assert_eq!(ask("POST / HTTP/1.1\r\n\r\n"), "405");
        assert_eq!(ask("POST /break HTTP/1.1\r\n\r\n"), "200");
        assert_eq!(ask("GET / HTTP/1.1\r\n\r\n"), "503");
        assert_eq!(ask(""), "405");
    }

    #[test]
    fn a_request_ends_with_its_headers_or_its_caller() {
        let asked = |bytes: &[u8]| read(&mut io::Cursor::new(bytes.to_vec())).map(|text| text.len());
        assert_eq!(asked(b"GET / HTTP/1.1\r\n\r\n").ok(), Some(18));
        assert_eq!(asked(b"GET").ok(), Some(3));
        assert!(asked(&[b'x'; 3 * REQUEST_BYTES_MAX]).is_ok_and(|length| length <= REQUEST_BYTES_MAX + 512));
    }
}
