//! Those who are told: a mail server, and a web server that takes requests. Both
//! can be slow, reject, or be down.

use crate::{free_port, wait_for};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tempfile::TempDir;

pub const MAIL_PASSWORD: &str = "a pass phrase";

pub struct MailServer {
    pub port: u16,
    folder: TempDir,
    tls: &'static str,
    child: Option<Child>,
}

impl MailServer {
    /// `starttls` or `tls`; its certificate is for `localhost`.
    pub fn started(tls: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (authority, certificate, key) = certificates();
        for (name, text) in [("authority.crt", authority), ("server.crt", certificate), ("server.key", key)] {
            fs::write(folder.path().join(name), text).expect("write a certificate");
        }
        fs::write(folder.path().join("mail.py"), include_str!("mail.py")).expect("write the server");
        let mut made = Self { port: free_port(), folder, tls, child: None };
        made.behave("ok");
        made.start();
        made
    }

    /// What has to be trusted to talk to it.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.crt")
    }

    /// `ok`, `slow`, `later` or `reject`.
    pub fn behave(&self, how: &str) {
        fs::write(self.folder.path().join("behaviour"), how).expect("say how to behave");
    }

    pub fn start(&mut self) {
        // Debian's own Python has Debian's packages.
        let mut command = Command::new("/usr/bin/python3");
        command.arg(self.folder.path().join("mail.py")).arg(self.port.to_string()).arg(self.folder.path());
        let log = fs::File::create(self.folder.path().join("log")).expect("a log");
        command.args([self.tls, MAIL_PASSWORD]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("start python3"));
        wait_for("the mail server", Duration::from_secs(20), || match TcpStream::connect(("127.0.0.1", self.port)) {
            Ok(_) => Ok(()),
            Err(_) => Err(fs::read_to_string(self.folder.path().join("log"))),
        });
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// What it took, oldest first.
    pub fn mails(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("mails")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An authority, and a certificate and key of `localhost`, as PEM.
fn certificates() -> (String, String, String) {
    let authority_key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).expect("an authority");
    let issuer = rcgen::Issuer::from_params(&params, &authority_key);
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).expect("names");
    let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
    let chain = |der: &[u8]| hostler_proto::pem::encode_chain([der]);
    (chain(authority.der()), chain(leaf.der()), hostler_proto::pem::encode_key(key.serialized_der()))
}

/// A request that a [`Hook`] got.
#[derive(Clone, Debug)]
pub struct Got {
    pub method: String,
    pub path: String,
    /// Names in small letters.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// What it was answered.
    pub status: u16,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

#[derive(Default)]
struct Shared {
    status: AtomicU16,
    delay_ms: AtomicU64,
    down: AtomicBool,
    stop: AtomicBool,
    got: Mutex<Vec<Got>>,
}

impl Shared {
    fn got(&self) -> MutexGuard<'_, Vec<Got>> {
        self.got.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A web server that takes requests.
pub struct Hook {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Hook {
    pub fn started() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared { status: AtomicU16::new(200), ..Shared::default() });
        let kept = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if kept.stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&kept);
                std::thread::spawn(move || answer(stream, &shared));
            }
        });
        Self { port, shared }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook?from=hostler", self.port)
    }

    pub fn answer(&self, status: u16) {
        self.shared.status.store(status, Ordering::SeqCst);
    }

    pub fn delay(&self, delay: Duration) {
        self.shared.delay_ms.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Hangs up on everybody.
    pub fn down(&self, down: bool) {
        self.shared.down.store(down, Ordering::SeqCst);
    }

    pub fn got(&self) -> Vec<Got> {
        self.shared.got().clone()
    }

    /// Those that it took.
    pub fn taken(&self) -> Vec<Got> {
        self.got().into_iter().filter(|got| got.status == 200).collect()
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn answer(stream: TcpStream, shared: &Shared) {
    if shared.down.load(Ordering::SeqCst) {
        return;
    }
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    let mut read = |line: &mut String| {
        line.clear();
        reader.read_line(line).is_ok_and(|count| count > 2)
    };
    if !read(&mut line) {
        return;
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    while read(&mut line) {
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let status = shared.status.load(Ordering::SeqCst);
    shared.got().push(Got { method, path, headers, body, status });
    std::thread::sleep(Duration::from_millis(shared.delay_ms.load(Ordering::SeqCst)));
    let head = format!("HTTP/1.1 {status} X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 2\r\n\r\nok");
    let _ = (&stream).write_all(head.as_bytes());
}
