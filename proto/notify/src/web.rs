//! Requests to others' servers: webhooks, chats, and the dead man's heartbeat.
//! Redirects are answers like any other and lead nowhere.

use crate::header_id;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use hostler_types::notifier::{Place, Url};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use ring::hmac;
use rustls::RootCertStore;
use rustls_pki_types::ServerName;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Only its beginning is shown to anybody.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// A receiver checks it over `<timestamp>.<body>`, and that the time is near.
pub const SIGNATURE: &str = "hostler-signature";
pub const TIMESTAMP: &str = "hostler-timestamp";

fn signature(key: &str, timestamp: u64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(format!("{timestamp}.").as_bytes());
    context.update(body);
    format!("sha256={}", HEXLOWER.encode(context.sign().as_ref()))
}

/// The same id on each try, so that a receiver can tell.
pub async fn post(url: &str, body: &serde_json::Value, id: &str, key: Option<&str>) -> Result<String, String> {
    let place = Url::place(url).ok_or("its address is no http:// or https:// address")?;
    let body = body.to_string().into_bytes();
    let timestamp = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let mut request = Request::builder()
        .method(Method::POST)
        .header(header::CONTENT_TYPE, "application/json")
        .header("idempotency-key", header_id(id))
        .header(TIMESTAMP, timestamp);
    if let Some(key) = key {
        request = request.header(SIGNATURE, signature(key, timestamp, &body));
    }
    send(&place, request, body).await
}

pub async fn get(url: &str) -> Result<String, String> {
    let place = Url::place(url).ok_or("its address is no http:// or https:// address")?;
    send(&place, Request::builder().method(Method::GET), Vec::new()).await
}

async fn send(place: &Place, request: http::request::Builder, body: Vec<u8>) -> Result<String, String> {
    let default = if place.tls { 443 } else { 80 };
    let bracketed = if place.host.contains(':') { format!("[{}]", place.host) } else { place.host.clone() };
    let host = if place.port == default { bracketed } else { format!("{bracketed}:{}", place.port) };
    let request = request
        .uri(&place.path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("hostler/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let connecting = TcpStream::connect((place.host.as_str(), place.port));
    let tcp = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
    let tcp = tcp.map_err(|_| "it does not answer".to_owned())?.map_err(|error| format!("nothing answers: {error}"))?;
    let answering = async {
        if !place.tls {
            return exchange(tcp, request).await;
        }
        let name = ServerName::try_from(place.host.clone()).map_err(|error| error.to_string())?;
        let tls = connector().await?.connect(name, tcp).await.map_err(|error| format!("TLS: {error}"))?;
        exchange(tls, request).await
    };
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, answering).await;
    let (status, text) = answer.map_err(|_| format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))??;
    let said = format!("{} {}", status.as_u16(), text.trim()).trim_end().to_owned();
    if status.is_success() { Ok(said) } else { Err(said) }
}

type Answer = (StatusCode, String);

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let failed = |error: hyper::Error| format!("no HTTP answer: {error}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let asking = async move {
        let answer = sender.send_request(request).await.map_err(failed)?;
        let status = answer.status();
        let location = answer.headers().get(header::LOCATION).and_then(|to| to.to_str().ok()).map(str::to_owned);
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
        match location.filter(|_| status.is_redirection()) {
            Some(to) => Ok((status, format!("it moved to {to}: write that address"))),
            None => Ok((status, text)),
        }
    };
    // The connection has to be driven for an answer to come.
    tokio::pin!(asking);
    tokio::select! {
        answer = &mut asking => answer,
        _ = connection => asking.await,
    }
}

static CONNECTOR: OnceLock<TlsConnector> = OnceLock::new();

/// Trusts whom this machine trusts, read once.
async fn connector() -> Result<TlsConnector, String> {
    if let Some(known) = CONNECTOR.get() {
        return Ok(known.clone());
    }
    let loading = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(loading.map_err(|error| error.to_string())?.certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(CONNECTOR.get_or_init(|| TlsConnector::from(Arc::new(config))).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_covers_time_and_body() {
        let known = signature("key", 1_700_000_000, b"{}");
        assert_eq!(known, signature("key", 1_700_000_000, b"{}"));
        assert!(known.starts_with("sha256=") && known.len() == 7 + 64);
        assert_ne!(known, signature("key", 1_700_000_001, b"{}"));
        assert_ne!(known, signature("key", 1_700_000_000, b"{ }"));
        assert_ne!(known, signature("yek", 1_700_000_000, b"{}"));
    }
}
