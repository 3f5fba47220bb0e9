//! The http client behind the interface: HTTP/1.1, a connection a hop, every
//! hop judged by the grant, every phase timed, every size bounded.
//!
//! No pool of connections and no TLS resumption: a check wants to know whether
//! a new client would get through.

use crate::limits;
use crate::redirect;
use bytes::Bytes;
use hostler_types::plugin::Grants;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

pub(crate) struct HttpRequest {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) redirects_max: u8,
    pub(crate) body_bytes_max: u32,
}

#[derive(Default)]
pub struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) truncated: bool,
    pub(crate) timings: Timings,
    pub(crate) peer_certificates: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Timings {
    pub(crate) dns: Duration,
    pub(crate) connect: Duration,
    pub(crate) tls: Duration,
    pub(crate) first_byte: Duration,
    pub(crate) total: Duration,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HttpError {
    /// What the grant would have to name.
    Denied {
        wanted: String,
    },
    Invalid(String),
    Timeout,
    Unreachable(String),
    TooManyRedirects(u8),
}

/// Set by the client: with two of them a proxy and a server could disagree
/// about where a request ends, or for whom it is.
const OWN_HEADERS: [HeaderName; 6] =
    [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::UPGRADE, header::TE];

/// Said to the first host only.
const PRIVATE_HEADERS: [HeaderName; 3] = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];

#[derive(Default)]
pub(crate) struct HttpClient {
    /// Some 300 kB of trusted roots: read at the first https request.
    tls: OnceCell<Arc<rustls::ClientConfig>>,
}

/// Where one hop goes.
#[derive(Clone, PartialEq, Eq)]
struct Target {
    https: bool,
    host: String,
    port: u16,
    /// As in the URL, for the Host header.
    authority: String,
    path: String,
}

impl Target {
    fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    fn parse(url: &str) -> Result<Target, HttpError> {
        let wrong = |why: &str| HttpError::Invalid(format!("url {url:?}: {why}"));
        let uri: Uri = url.parse().map_err(|_| wrong("not an absolute http or https URL"))?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("not an absolute http or https URL")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("user and password belong in an Authorization header"));
        }
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        if host.is_empty() {
            return Err(wrong("it names no host"));
        }
        // The parser has no port where there is one that is no port.
        let after_host = authority.as_str().get(authority.host().len()..).unwrap_or_default();
        let port = match after_host.strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| wrong("its port is no number from 1 to 65535"))?,
            None if https => 443,
            None => 80,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Target { https, host, port, authority: authority.as_str().to_owned(), path })
    }
}

impl HttpClient {
    pub(crate) async fn send(&self, request: HttpRequest, grants: &Grants) -> Result<Answer, HttpError> {
        let began = Instant::now();
        let mut method: Method = request
            .method
            .parse()
            .ok()
            .filter(|method| *method != Method::CONNECT)
            .ok_or_else(|| HttpError::Invalid(format!("method {:?}", request.method)))?;
        let mut headers = read_headers(&request.headers)?;
        let mut body = Bytes::from(request.body);
        let mut target = Target::parse(&request.url)?;
        let mut hops = 0;
        loop {
            let need = target.need();
            if !grants.allows(&need) {
                return Err(HttpError::Denied { wanted: need.to_string() });
            }
            let hop = self.hop(&target, method.clone(), headers.clone(), body.clone(), request.body_bytes_max).await?;
            let location = hop.location();
            let Some(location) = location.filter(|_| request.redirects_max > 0) else {
                return Ok(hop.answer(began.elapsed()));
            };
            if hops == request.redirects_max {
                return Err(HttpError::TooManyRedirects(request.redirects_max));
            }
            hops += 1;
            let next = Target::parse(&redirect::resolve(target.scheme(), &target.authority, &target.path, &location))?;
            if (next.https, &next.host, next.port) != (target.https, &target.host, target.port) {
                for name in PRIVATE_HEADERS {
                    headers.remove(name);
                }
            }
            let keeps_method = matches!(hop.status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
            if !keeps_method && method != Method::HEAD {
                method = Method::GET;
                body = Bytes::new();
                headers.remove(header::CONTENT_TYPE);
            }
            target = next;
        }
    }

    async fn hop(
        &self,
        target: &Target,
        method: Method,
        mut headers: HeaderMap,
        body: Bytes,
        body_bytes_max: u32,
    ) -> Result<Hop, HttpError> {
        let mut timings = Timings::default();
        let began = Instant::now();
        let addresses = lookup(target).await?;
        timings.dns = began.elapsed();
        let began = Instant::now();
        let tcp = connect(&addresses).await?;
        timings.connect = began.elapsed();

        let host = HeaderValue::from_str(&target.authority)
            .map_err(|_| HttpError::Invalid(format!("url host {:?}", target.authority)))?;
        headers.insert(header::HOST, host);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() =
            target.path.parse().map_err(|_| HttpError::Invalid(format!("url path {:?}", target.path)))?;
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = headers;

        if target.https {
            let began = Instant::now();
            let (tls, peer_certificates) = self.handshake(target, tcp).await?;
            timings.tls = began.elapsed();
            let mut hop = exchange(tls, request, body_bytes_max, timings).await?;
            hop.peer_certificates = peer_certificates;
            Ok(hop)
        } else {
            exchange(tcp, request, body_bytes_max, timings).await
        }
    }

    async fn handshake(
        &self,
        target: &Target,
        tcp: TcpStream,
    ) -> Result<(tokio_rustls::client::TlsStream<TcpStream>, Vec<Vec<u8>>), HttpError> {
        let config = self.tls.get_or_try_init(load_roots).await?;
        let name = ServerName::try_from(target.host.clone())
            .map_err(|_| HttpError::Invalid(format!("url host {:?} is no name for TLS", target.host)))?;
        let tls = TlsConnector::from(config.clone())
            .connect(name, tcp)
            .await
            .map_err(|error| HttpError::Unreachable(format!("tls: {}", tls_words(&error))))?;
        let (_, session) = tls.get_ref();
        let chain = session.peer_certificates().unwrap_or_default().iter().map(|one| one.as_ref().to_vec()).collect();
        Ok((tls, chain))
    }
}

async fn load_roots() -> Result<Arc<rustls::ClientConfig>, HttpError> {
    let loaded = tokio::task::spawn_blocking(|| {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = rustls::RootCertStore::empty();
        let (_, ignored) = roots.add_parsable_certificates(found.certs);
        tracing::debug!(roots = roots.len(), ignored, "read the host's trusted roots");
        roots
    });
    let roots = loaded.await.map_err(|_| HttpError::Unreachable("tls: could not read trusted roots".to_owned()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| HttpError::Unreachable(format!("tls: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

fn read_headers(pairs: &[(String, String)]) -> Result<HeaderMap, HttpError> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let wrong = |why: &str| HttpError::Invalid(format!("header {name:?}: {why}"));
        let key: HeaderName = name.parse().map_err(|_| wrong("not a header's name"))?;
        if OWN_HEADERS.contains(&key) {
            return Err(wrong("set by the agent itself"));
        }
        headers.append(key, HeaderValue::from_str(value).map_err(|_| wrong("not a header's value"))?);
    }
    if !headers.contains_key(header::USER_AGENT) {
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("hostler/", env!("CARGO_PKG_VERSION"))));
    }
    if !headers.contains_key(header::ACCEPT) {
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    }
    Ok(headers)
}

async fn lookup(target: &Target) -> Result<Vec<SocketAddr>, HttpError> {
    if let Ok(address) = target.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, target.port)]);
    }
    let unknown = || HttpError::Unreachable(format!("no address for {}", target.host));
    let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await.map_err(|_| unknown())?;
    let found: Vec<SocketAddr> = found.collect();
    if found.is_empty() { Err(unknown()) } else { Ok(found) }
}

/// One address after the other; the last has all the time that is left.
async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, HttpError> {
    let mut failed = HttpError::Timeout;
    for (index, address) in addresses.iter().enumerate() {
        let connecting = TcpStream::connect(address);
        let connected = if index + 1 < addresses.len() {
            tokio::time::timeout(limits::CONNECT_ONE_ADDRESS, connecting).await
        } else {
            Ok(connecting.await)
        };
        match connected {
            Ok(Ok(tcp)) => {
                let _ = tcp.set_nodelay(true);
                return Ok(tcp);
            }
            Ok(Err(error)) => failed = HttpError::Unreachable(io_words(&error)),
            Err(_elapsed) => failed = HttpError::Timeout,
        }
    }
    Err(failed)
}

/// Without the `(os error 111)` that the standard library adds.
fn io_words(error: &std::io::Error) -> String {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => "connection refused".to_owned(),
        Kind::ConnectionReset => "connection reset".to_owned(),
        Kind::TimedOut => "connecting timed out".to_owned(),
        Kind::HostUnreachable => "no route to host".to_owned(),
        Kind::NetworkUnreachable => "network unreachable".to_owned(),
        Kind::UnexpectedEof => "closed the connection without an answer".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or_default().to_lowercase()
        }
    }
}

fn tls_words(error: &std::io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => error.to_string(),
        None => io_words(error),
    }
}

fn http_words(error: &hyper::Error) -> String {
    let source = std::error::Error::source(error);
    if let Some(io) = source.and_then(|source| source.downcast_ref::<std::io::Error>()) {
        return io_words(io);
    }
    if error.is_incomplete_message() {
        "closed the connection without an answer".to_owned()
    } else if error.is_parse() {
        "answered no HTTP".to_owned()
    } else {
        error.to_string()
    }
}

struct Hop {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    truncated: bool,
    timings: Timings,
    peer_certificates: Vec<Vec<u8>>,
}

impl Hop {
    fn location(&self) -> Option<String> {
        let redirects = matches!(self.status.as_u16(), 301 | 302 | 303 | 307 | 308);
        let location = self.headers.get(header::LOCATION).filter(|_| redirects)?;
        Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
    }

    fn answer(self, total: Duration) -> Answer {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Answer {
            status: self.status.as_u16(),
            headers: self.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
            body: self.body,
            truncated: self.truncated,
            timings: Timings { total, ..self.timings },
            peer_certificates: self.peer_certificates,
        }
    }
}

async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    body_bytes_max: u32,
    mut timings: Timings,
) -> Result<Hop, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let unreachable = |error: hyper::Error| HttpError::Unreachable(http_words(&error));
    let began = Instant::now();
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(limits::HTTP_HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(unreachable)?;
    let talk = async {
        let response = sender.send_request(request).await.map_err(unreachable)?;
        timings.first_byte = began.elapsed();
        let (head, body) = response.into_parts();
        let (body, truncated) = read_body(body, body_bytes_max).await.map_err(unreachable)?;
        Ok(Hop { status: head.status, headers: head.headers, body, truncated, timings, peer_certificates: Vec::new() })
    };
    tokio::pin!(talk, connection);
    // Both are polled again until the talk is over, so neither needs to be
    // cancel-safe; the connection's own error reaches the talk.
    tokio::select! {
        biased;
        hop = &mut talk => hop,
        _ = &mut connection => talk.await,
    }
}

async fn read_body(mut body: Incoming, bytes_max: u32) -> Result<(Vec<u8>, bool), hyper::Error> {
    let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let mut kept = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            let room = bytes_max - kept.len();
            if data.len() > room {
                kept.extend_from_slice(data.get(..room).unwrap_or_default());
                return Ok((kept, true));
            }
            kept.extend_from_slice(&data);
        }
    }
    Ok((kept, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_urls() {
        let target = Target::parse("http://Example.com:8080?x=1").ok();
        let target = target.map(|t| (t.scheme(), t.host, t.port, t.authority, t.path));
        let expect = ("http", "example.com".to_owned(), 8080, "Example.com:8080".to_owned(), "/?x=1".to_owned());
        assert_eq!(target, Some(expect));
        let six = Target::parse("https://[::1]/").ok().map(|t| (t.host, t.port));
        assert_eq!(six, Some(("::1".to_owned(), 443)));
    }

    #[test]
    fn refuses_urls_that_could_mean_two_things() {
        for url in ["/x", "example.com", "ftp://x/", "http://u:p@x/", "http:///x", "http://x:99999/", "http://a b/"] {
            assert!(matches!(Target::parse(url), Err(HttpError::Invalid(_))), "{url}");
        }
    }

    #[test]
    fn refuses_headers_that_are_the_agents() {
        for name in ["Host", "content-length", "Transfer-Encoding", "bad name"] {
            let headers = [(name.to_owned(), "x".to_owned())];
            assert!(matches!(read_headers(&headers), Err(HttpError::Invalid(_))), "{name}");
        }
        assert!(read_headers(&[("x".to_owned(), "a\r\nb".to_owned())]).is_err());
    }
}
