//! What hostile plugins reach for: files inside and outside of what they are
//! granted, and servers that mean harm.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Not to be found in anything that a plugin is told.
pub const SECRET: &str = "what-is-outside-stays-outside";
/// How a process that should be gone is known.
pub const CHILD_SLEEPS: &str = "98765.4321";

pub struct Place {
    folder: tempfile::TempDir,
    over: Arc<AtomicBool>,
    pub redirects: u16,
    pub drips: u16,
    pub endless: u16,
    pub headers: u16,
    pub bomb: u16,
    pub silent: u16,
    pub fine: u16,
    pub forbidden: u16,
    /// Connections to the forbidden one.
    pub reached: Arc<AtomicU32>,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("granted")).expect("makes");
        std::fs::create_dir(path("outside")).expect("makes");
        std::fs::write(path("granted/fine.log"), "one\ntwo\n").expect("writes");
        std::fs::write(path("outside/secret"), SECRET).expect("writes");
        symlink(path("outside/secret"), path("granted/link")).expect("links");
        symlink("../outside", path("granted/folder")).expect("links");
        symlink("loop", path("granted/loop")).expect("links");
        let pipe = Command::new("mkfifo").arg(path("granted/pipe")).status().expect("mkfifo runs");
        assert!(pipe.success());
        // Children of its own, in the background, and an end that never comes.
        std::fs::write(path("runaway"), format!("#!/bin/sh\nsleep {CHILD_SLEEPS} &\nsleep {CHILD_SLEEPS}\n"))
            .expect("writes");
        std::fs::set_permissions(path("runaway"), std::fs::Permissions::from_mode(0o755)).expect("chmod");

        let over = Arc::new(AtomicBool::new(false));
        let reached = Arc::new(AtomicU32::new(0));
        let serve = |answer: fn(&mut TcpStream, &[u8], &AtomicBool) -> std::io::Result<()>, body: Vec<u8>| {
            let (over, body) = (over.clone(), Arc::new(body));
            let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
            let port = listener.local_addr().expect("bound").port();
            std::thread::spawn(move || {
                while let (Ok((mut stream, _)), false) = (listener.accept(), over.load(Ordering::Relaxed)) {
                    let (over, body) = (over.clone(), body.clone());
                    std::thread::spawn(move || {
                        let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
                        let _ = stream.read(&mut [0; 4096]);
                        // Whoever asked hangs up: that is what is wanted.
                        let _ = answer(&mut stream, &body, &over);
                    });
                }
            });
            port
        };
        let count = reached.clone();
        let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
        let forbidden = listener.local_addr().expect("bound").port();
        std::thread::spawn(move || {
            while listener.accept().is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let redirect =
            format!("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{forbidden}/\r\ncontent-length: 0\r\n\r\n");
        Place {
            redirects: serve(|stream, body, _| stream.write_all(body), redirect.into_bytes()),
            drips: serve(drip, Vec::new()),
            endless: serve(endless, b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
            headers: serve(endless, b"HTTP/1.1 200 OK\r\nx: ".to_vec()),
            bomb: serve(|stream, body, _| stream.write_all(body), bomb()),
            silent: serve(silent, Vec::new()),
            fine: serve(|stream, body, _| stream.write_all(body), b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
            forbidden,
            reached,
            over,
            folder,
        }
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// What the hostile plugin may do: as much as it needs to try the rest.
    pub fn grants(&self) -> String {
        let http = [self.redirects, self.drips, self.endless, self.headers, self.bomb, self.fine];
        let http = http.map(|port| format!("\"http://127.0.0.1:{port}\"")).join(", ");
        format!(
            "http = [{http}]\ntcp = [\"127.0.0.1:{}\"]\nfiles = [\"{}/**\"]\ncommands = [\"runaway: {}\", \"say: /bin/echo hello\"]\n",
            self.silent,
            self.path("granted"),
            self.path("runaway"),
        )
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// A byte now and then, so that no wait for the next one is long.
fn drip(stream: &mut TcpStream, _: &[u8], over: &AtomicBool) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")?;
    while !over.load(Ordering::Relaxed) {
        stream.write_all(b"x")?;
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn endless(stream: &mut TcpStream, head: &[u8], over: &AtomicBool) -> std::io::Result<()> {
    stream.write_all(head)?;
    while !over.load(Ordering::Relaxed) {
        stream.write_all(&[b'x'; 64 << 10])?;
    }
    Ok(())
}

fn silent(stream: &mut TcpStream, _: &[u8], over: &AtomicBool) -> std::io::Result<()> {
    while !over.load(Ordering::Relaxed) {
        if stream.peek(&mut [0; 1]).is_ok_and(|seen| seen == 0) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A hundred megabytes of nothing, in a hundred kilobytes.
fn bomb() -> Vec<u8> {
    let made = Command::new("sh").args(["-c", "head -c 100000000 /dev/zero | gzip"]).output().expect("gzip runs");
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n",
        made.stdout.len()
    );
    [head.as_bytes(), &made.stdout].concat()
}

/// Processes whose command line holds these words.
pub fn processes(words: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let line = std::fs::read(Path::new(&entry.path()).join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(words) {
            found.push(line);
        }
    }
    found
}
