//! Connections of a run: TCP or a Unix socket, TLS where it is asked for.

use super::network::{self, Tls, io_words};
use super::{blocking, files};
use crate::call::CallError;
use crate::limits;
use hostler_types::plugin::{Grants, Need, PathPattern, SocketPattern};
use rustix::fs::FileType;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(super) struct Connection {
    /// Gone where a call broke off within: nobody knows how much was sent.
    stream: Option<Box<dyn Stream>>,
    encrypted: bool,
}

impl Connection {
    fn new(stream: impl Stream + 'static) -> Connection {
        Connection { stream: Some(Box::new(stream)), encrypted: false }
    }

    pub(super) async fn connect(host: &str, port: u16, grants: &Grants) -> Result<Connection, CallError> {
        let need = Need::Tcp { host: host.to_owned(), port };
        Ok(Connection::new(network::connect(host, port, &need, grants).await?))
    }

    /// The socket is found like a file: no link leads out of what is granted.
    pub(super) async fn connect_unix(path: &str, grants: &Grants) -> Result<Connection, CallError> {
        let patterns: Vec<PathPattern> = grants.tcp.iter().filter_map(unix_pattern).collect();
        let asked = path.to_owned();
        let found = blocking::run(move || {
            let need = Need::Unix { path: asked.clone() };
            let found = files::open(&asked, &patterns, &need).map_err(|error| not_there(&asked, error))?;
            match rustix::fs::fstat(&found).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
                Ok(FileType::Socket) => Ok(found),
                _ => Err(CallError::Unreachable(format!("{asked} is no socket"))),
            }
        })
        .await?;
        let connected = UnixStream::connect(files::fd_path(&found)).await;
        Ok(Connection::new(connected.map_err(|error| CallError::Unreachable(io_words(&error)))?))
    }

    pub(super) async fn start_tls(&mut self, server_name: &str, tls: &Tls) -> Result<(), CallError> {
        if self.encrypted {
            return Err(CallError::Invalid("the connection speaks TLS already".to_owned()));
        }
        // Before the stream is taken: a wrong name leaves it as it is.
        network::server_name(server_name)?;
        tls.trust().await?;
        let stream = tls.handshake(server_name, self.take()?).await?;
        self.stream = Some(Box::new(stream));
        self.encrypted = true;
        Ok(())
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), CallError> {
        let mut stream = self.take()?;
        let sent = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        sent.await.map_err(|error| CallError::Unreachable(io_words(&error)))?;
        self.stream = Some(stream);
        Ok(())
    }

    /// May break off without losing anything: nothing is kept back here.
    pub(super) async fn receive(&mut self, max: u32) -> Result<Vec<u8>, CallError> {
        let stream = self.stream.as_mut().ok_or_else(gone)?;
        let max = max.min(limits::TCP_RECEIVE_BYTES_MAX) as usize;
        if max == 0 {
            return Err(CallError::Invalid("receive at most 0 bytes: no bytes mean that the peer closed".to_owned()));
        }
        let mut bytes = vec![0; max];
        match stream.read(&mut bytes).await {
            Ok(read) => {
                bytes.truncate(read);
                Ok(bytes)
            }
            // Over TLS most servers close without saying so first.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(Vec::new()),
            Err(error) => Err(CallError::Unreachable(io_words(&error))),
        }
    }

    fn take(&mut self) -> Result<Box<dyn Stream>, CallError> {
        self.stream.take().ok_or_else(gone)
    }
}

fn gone() -> CallError {
    CallError::Invalid("the connection is closed: an earlier call on it failed or ran out of time".to_owned())
}

fn unix_pattern(pattern: &SocketPattern) -> Option<PathPattern> {
    match pattern {
        SocketPattern::Unix(pattern) => Some(pattern.clone()),
        SocketPattern::Tcp { .. } => None,
    }
}

/// Nobody is there, in a socket's words.
fn not_there(path: &str, error: CallError) -> CallError {
    match error {
        CallError::Other { value, .. } => CallError::Unreachable(format!("{path} {value}")),
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::testing::{Authority, Server, grants, no_trust};
    use std::time::Duration;

    const OPEN: &str = "tcp = [\"127.0.0.1:*\"]";

    async fn connected(port: u16) -> Connection {
        Connection::connect("127.0.0.1", port, &grants(OPEN)).await.unwrap_or_else(|error| panic!("{error:?}"))
    }

    async fn all(connection: &mut Connection) -> String {
        let mut text = Vec::new();
        loop {
            let bytes = connection.receive(7).await.expect("bytes");
            assert!(bytes.len() <= 7);
            match bytes.is_empty() {
                true => return String::from_utf8(text).expect("text"),
                false => text.extend(bytes),
            }
        }
    }

    #[tokio::test]
    async fn talks_until_the_peer_closes() {
        let server = Server::says("+PONG and more\r\n").await;
        let mut connection = connected(server.port).await;
        connection.send(b"PING\r\n").await.expect("sent");
        assert_eq!(all(&mut connection).await, "+PONG and more\r\n");
        assert_eq!(connection.receive(1).await, Ok(Vec::new()));
        assert!(matches!(connection.receive(0).await, Err(CallError::Invalid(_))));
        assert_eq!(server.heard(), ["PING\r\n"]);
    }

    #[tokio::test]
    async fn tls_from_here_on_with_a_peer_that_is_checked() {
        let authority = Authority::new();
        let server = Server::says_over_tls("hello", authority.server_for("db.example")).await;
        let mut connection = connected(server.port).await;
        assert!(matches!(connection.start_tls("", &no_trust()).await, Err(CallError::Invalid(_))));
        connection.start_tls("db.example", &authority.trusted()).await.expect("trusted");
        assert!(matches!(connection.start_tls("db.example", &no_trust()).await, Err(CallError::Invalid(_))));
        connection.send(b"hi").await.expect("sent");
        assert_eq!(all(&mut connection).await, "hello");
        assert_eq!(server.heard(), ["hi"]);

        let mut connection = connected(server.port).await;
        let other = connection.start_tls("other.example", &authority.trusted()).await.expect_err("another name");
        assert!(matches!(&other, CallError::Unreachable(says) if says.contains("not valid for name")), "{other:?}");
        assert_eq!(connection.send(b"x").await, Err(gone()), "in the clear");
    }

    #[tokio::test]
    async fn a_receive_may_break_off_and_a_send_may_not() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("bound").port();
        let mut connection = connected(port).await;
        let (mut peer, _) = listener.accept().await.expect("a connection");
        let soon = Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, connection.receive(10)).await.is_err());
        peer.write_all(b"late").await.expect("sent");
        assert_eq!(connection.receive(10).await, Ok(b"late".to_vec()));
        let endless = vec![0; 64 << 20];
        assert!(tokio::time::timeout(soon, connection.send(&endless)).await.is_err());
        assert_eq!(connection.send(b"x").await, Err(gone()));
        assert_eq!(connection.receive(1).await, Err(gone()));
    }

    #[tokio::test]
    async fn unix_sockets_are_found_like_files() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().canonicalize().expect("a folder").display().to_string();
        std::fs::create_dir(format!("{path}/in")).expect("a folder");
        let at = |name: &str| format!("{path}/{name}");
        let listener = tokio::net::UnixListener::bind(at("in/a.sock")).expect("bind");
        let _outside = tokio::net::UnixListener::bind(at("outside.sock")).expect("bind");
        std::os::unix::fs::symlink("../outside.sock", at("in/link.sock")).expect("a link");
        std::fs::write(at("in/file.sock"), "").expect("write");
        let old = std::os::unix::net::UnixListener::bind(at("in/old.sock")).expect("bind");
        drop(old);

        let granted = grants(&format!("tcp = [\"unix:{path}/in/*.sock\"]"));
        let says = |name: &'static str| {
            let (path, granted) = (at(name), granted.clone());
            async move { Connection::connect_unix(&path, &granted).await.map(drop).expect_err(name) }
        };
        let unreachable = |text: String| CallError::Unreachable(text);
        assert_eq!(says("in/none.sock").await, unreachable(format!("{} not found", at("in/none.sock"))));
        assert_eq!(says("in/file.sock").await, unreachable(format!("{} is no socket", at("in/file.sock"))));
        assert_eq!(says("in/old.sock").await, unreachable("connection refused".into()));
        let denied = says("in/link.sock").await;
        assert!(matches!(&denied, CallError::Denied(says) if says.starts_with("grants.tcp = [\"unix:")), "{denied:?}");

        let mut connection = Connection::connect_unix(&at("in/a.sock"), &granted).await.expect("connected");
        let (mut peer, _) = listener.accept().await.expect("a connection");
        connection.send(b"ping").await.expect("sent");
        let mut heard = [0; 4];
        peer.read_exact(&mut heard).await.expect("heard");
        assert_eq!(&heard, b"ping");
    }
}
