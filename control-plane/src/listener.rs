//! Accepting connections: how many at once, how long a handshake may take, who
//! is at the other end, and how one is cut off. The one place where TCP, TLS and
//! HTTP meet.

use crate::tls::{ClientVerifier, Peer};
use axum::Router;
use axum::body::Body;
use hostler_types::Timestamp;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// A handshake is two round trips; whoever takes longer is not one of ours.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// For the first bytes, which cost us nothing to wait for but a connection.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(5);
/// Joining takes a second and fetching the programs a minute on a slow line;
/// then whoever has no certificate must go.
const ANONYMOUS_LIFETIME: Duration = Duration::from_secs(600);
/// Strangers together may not crowd out the fleet.
const ANONYMOUS_MAX: usize = 512;
/// Each costs most of a millisecond of signing: a storm of agents waits its
/// turn in the accept queue instead of slowing every handshake past its limit.
const HANDSHAKES_AT_ONCE: usize = 64;
/// Below the limit of open files on this class of machine (20,000), with room
/// for the store and blobs.
const CONNECTIONS_MAX: usize = 16_000;
/// Notices a peer whose host is gone; under the minute of address translators.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// An operator's watch, a node's stream and a few calls beside them.
const STREAMS_PER_CONNECTION: u32 = 64;
/// A token and a path are some hundred bytes.
const HEADERS_BYTES_MAX: u32 = 16 << 10;
/// After a failure to accept (no file handles left, say): do not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a request carries of the connection it came by.
#[derive(Clone, Debug)]
pub struct Connection {
    pub peer: Peer,
    pub address: SocketAddr,
    /// The end of its certificate.
    pub until: Timestamp,
    /// Cancelled once somebody without a certificate showed a token that counts.
    pub known: CancellationToken,
    /// Cancelling it ends the connection.
    pub cut: CancellationToken,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Who waits for whom.
struct Admission {
    handshakes: Semaphore,
    anonymous: Arc<Semaphore>,
}

pub struct Listener {
    pub name: &'static str,
    pub socket: TcpListener,
    pub config: Arc<ServerConfig>,
    pub verifier: Arc<ClientVerifier>,
    pub router: Router,
}

impl Listener {
    /// Until `stop` is cancelled; connections end with it.
    pub async fn serve(self, stop: CancellationToken, tracker: TaskTracker) {
        let admission = Arc::new(Admission {
            handshakes: Semaphore::new(HANDSHAKES_AT_ONCE),
            anonymous: Arc::new(Semaphore::new(ANONYMOUS_MAX)),
        });
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let shared = Arc::new(self);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                // Dropping an accept loses nothing: the connection stays queued.
                accepted = shared.accept(&connections) => accepted,
            };
            let (stream, address, permit) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(listener = shared.name, error = %error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (shared, cut, admission) = (Arc::clone(&shared), stop.child_token(), Arc::clone(&admission));
            tracker.spawn(async move {
                let _connection = permit;
                let finished = tokio::select! {
                    () = cut.cancelled() => Ok(()),
                    outcome = shared.connection(stream, address, cut.clone(), &admission) => outcome,
                };
                if let Err(error) = finished {
                    tracing::debug!(listener = shared.name, peer = %address, error = %error, "connection ended");
                }
            });
        }
    }

    async fn accept(
        &self,
        connections: &Arc<Semaphore>,
    ) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let closed = |_| std::io::Error::other("the listener is closing");
        let permit = Arc::clone(connections).acquire_owned().await.map_err(closed)?;
        let (stream, address) = self.socket.accept().await?;
        Ok((stream, address, permit))
    }

    /// The costly half of a handshake waits its turn, and only once the peer has
    /// said something: who is silent holds nobody up.
    async fn handshake(&self, stream: TcpStream, admission: &Admission) -> Result<TlsStream<TcpStream>, Failure> {
        let _ = stream.set_nodelay(true);
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
        let hello = tokio::time::timeout(FIRST_BYTES_TIMEOUT, hello).await??;
        let _turn = admission.handshakes.acquire().await?;
        Ok(tokio::time::timeout(HANDSHAKE_TIMEOUT, hello.into_stream(Arc::clone(&self.config))).await??)
    }

    async fn connection(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        cut: CancellationToken,
        admission: &Admission,
    ) -> Result<(), Failure> {
        let tls = self.handshake(stream, admission).await?;
        let (_, session) = tls.get_ref();
        let peer = self.verifier.peer(session.peer_certificates());
        if peer != Peer::Anonymous {
            let until = self.verifier.until(session.peer_certificates());
            let connection = Connection { peer, address, until, known: CancellationToken::new(), cut };
            return self.requests(tls, connection).await;
        }
        let place = Arc::clone(&admission.anonymous).try_acquire_owned()?;
        let known = CancellationToken::new();
        let who = Connection { peer, address, until: Timestamp::default(), known: known.clone(), cut };
        let mut requests = Box::pin(self.requests(tls, who));
        tokio::select! {
            finished = &mut requests => return finished,
            () = known.cancelled() => drop(place),
            () = tokio::time::sleep(ANONYMOUS_LIFETIME) => return Err("a stranger stayed too long".into()),
        }
        requests.await
    }

    async fn requests(&self, tls: TlsStream<TcpStream>, connection: Connection) -> Result<(), Failure> {
        let (_, session) = tls.get_ref();
        let http2 = session.alpn_protocol() == Some(b"h2");
        let router = self.router.clone();
        let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(connection.clone());
            router.clone().oneshot(request.map(Body::new))
        });
        let io = TokioIo::new(tls);
        if http2 {
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(KEEP_ALIVE_INTERVAL)
                .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
                .max_concurrent_streams(STREAMS_PER_CONNECTION)
                .max_header_list_size(HEADERS_BYTES_MAX)
                .serve_connection(io, service)
                .await?;
        } else {
            hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HANDSHAKE_TIMEOUT)
                .max_buf_size(HEADERS_BYTES_MAX as usize)
                .serve_connection(io, service)
                .await?;
        }
        Ok(())
    }
}
