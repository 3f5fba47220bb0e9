//! A network that can be cut: a TCP relay which, while cut, takes everything in
//! and lets nothing through, as a firewall that drops packets does.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const LOOK: Duration = Duration::from_millis(10);

pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    target: AtomicU16,
    cut: AtomicBool,
    stop: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            target: AtomicU16::new(target),
            cut: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            open: Mutex::new(Vec::new()),
        });
        let relay = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if relay.stop.load(Ordering::SeqCst) {
                    return;
                }
                let relay = Arc::clone(&relay);
                std::thread::spawn(move || relay.serve(stream));
            }
        });
        Self { port, shared }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
    }

    /// Packets pass again; connections that were cut are found dead.
    pub fn heal(&self) {
        self.shared.drop_open();
        self.shared.cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.drop_open();
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn drop_open(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn serve(&self, inner: TcpStream) {
        while self.cut.load(Ordering::SeqCst) {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        let Ok(outer) = TcpStream::connect(("127.0.0.1", self.target.load(Ordering::SeqCst))) else { return };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in [&inner, &outer] {
            open.extend(stream.try_clone());
            let _ = stream.set_nodelay(true);
        }
        drop(open);
        let (Ok(inner_back), Ok(outer_back)) = (inner.try_clone(), outer.try_clone()) else { return };
        std::thread::scope(|scope| {
            scope.spawn(|| self.pump(&inner, &outer));
            scope.spawn(|| self.pump(&outer_back, &inner_back));
        });
    }

    fn pump(&self, mut from: &TcpStream, mut to: &TcpStream) {
        let mut buffer = [0; 16 * 1024];
        loop {
            let count = match from.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            };
            while self.cut.load(Ordering::SeqCst) && !self.stop.load(Ordering::SeqCst) {
                std::thread::sleep(LOOK);
            }
            if to.write_all(buffer.get(..count).unwrap_or_default()).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }
}
