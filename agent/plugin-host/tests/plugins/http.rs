//! The http plugin against servers of our own, honest and hostile.

use crate::support::{CheckRun, check, host, load, request};
use hostler_plugin_host::Fault;
use hostler_types::Status;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers every connection with these bytes, or, without any, never. Ends with
/// the test's runtime.
async fn serve(answer: Option<Vec<u8>>) -> (u16, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("bound").port();
    let connections = Arc::new(AtomicU32::new(0));
    let count = connections.clone();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let Some(answer) = &answer else {
                held.push(stream);
                continue;
            };
            let mut request = [0u8; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        }
    });
    (port, connections)
}

fn response(status: &str, headers: &str, body: &str) -> Option<Vec<u8>> {
    Some(format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

async fn ask(config: &str, http: &[&str]) -> CheckRun {
    ask_within(config, http, Duration::from_secs(10)).await
}

async fn ask_within(config: &str, http: &[&str], timeout: Duration) -> CheckRun {
    let host = host();
    let mut request = request(config, http, false);
    request.timeout = timeout;
    check(&*load(&host, "http").await, request).await
}

async fn says(config: &str, http: &[&str]) -> (Status, String) {
    let run = ask(config, http).await;
    let report = run.outcome.unwrap_or_else(|fault| panic!("{config}: {fault}"));
    (report.status, report.summary)
}

const LOCAL: &[&str] = &["http://127.0.0.1:*", "https://127.0.0.1:*"];

#[tokio::test]
async fn says_what_came_back() {
    let (port, _) = serve(response("200 OK", "", "all is well")).await;
    let (status, summary) =
        says(&format!(r#"{{"url": "http://127.0.0.1:{port}/", "body_contains": "well"}}"#), LOCAL).await;
    assert!(status == Status::Ok && summary.starts_with("200 in "), "{summary}");
    let (port, _) = serve(response("503 Service Unavailable", "", "")).await;
    let said = says(&format!(r#"{{"url": "http://127.0.0.1:{port}/"}}"#), LOCAL).await;
    assert_eq!(said, (Status::Critical, "503, want 200".to_owned()));
}

#[tokio::test]
async fn says_why_nothing_came_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let said = says(&format!(r#"{{"url": "http://127.0.0.1:{port}/"}}"#), LOCAL).await;
    assert_eq!(said, (Status::Critical, "connection refused".to_owned()));

    let (port, _) = serve(Some(b"220 mail ready\r\n\r\n".to_vec())).await;
    let said = says(&format!(r#"{{"url": "http://127.0.0.1:{port}/"}}"#), LOCAL).await;
    assert_eq!(said, (Status::Critical, "answered no HTTP".to_owned()));

    let (port, _) = serve(Some(Vec::new())).await;
    let said = says(&format!(r#"{{"url": "http://127.0.0.1:{port}/"}}"#), LOCAL).await;
    assert_eq!(said, (Status::Critical, "closed the connection without an answer".to_owned()));
}

#[tokio::test]
async fn a_silent_server_is_a_report_and_no_fault() {
    let (port, _) = serve(None).await;
    let config = format!(r#"{{"url": "http://127.0.0.1:{port}/"}}"#);
    let report = ask_within(&config, LOCAL, Duration::from_millis(400)).await.outcome.expect("a report");
    assert_eq!((report.status, report.summary), (Status::Critical, "no answer in time".to_owned()));
    let said = says(&format!(r#"{{"url": "http://127.0.0.1:{port}/", "timeout": "50ms"}}"#), LOCAL).await;
    assert_eq!(said, (Status::Critical, "no answer within 50 ms".to_owned()));
}

#[tokio::test]
async fn follows_redirects_as_far_as_it_may() {
    let (end, _) = serve(response("200 OK", "", "")).await;
    let (begin, _) = serve(response("302 Found", &format!("location: http://127.0.0.1:{end}/x\r\n"), "")).await;
    let said = says(&format!(r#"{{"url": "http://127.0.0.1:{begin}/"}}"#), LOCAL).await;
    assert_eq!(said, (Status::Critical, "302, want 200".to_owned()));
    let said = says(&format!(r#"{{"url": "http://127.0.0.1:{begin}/", "max_redirects": 1}}"#), LOCAL).await;
    assert_eq!(said.0, Status::Ok);

    let (ring, connections) = serve(response("302 Found", "location: /again\r\n", "")).await;
    let said = says(&format!(r#"{{"url": "http://127.0.0.1:{ring}/", "max_redirects": 3}}"#), LOCAL).await;
    assert_eq!(said, (Status::Critical, "more than 3 redirects".to_owned()));
    assert_eq!(connections.load(Ordering::SeqCst), 4);
}

/// The server that was granted sends the plugin on to one that was not.
#[tokio::test]
async fn a_redirect_out_of_the_grant_is_not_followed() {
    let (inside, connections) = serve(response("200 OK", "", "secret")).await;
    let (granted, _) = serve(response("302 Found", &format!("location: http://127.0.0.1:{inside}/\r\n"), "")).await;
    let grant = format!("http://127.0.0.1:{granted}");
    let config = format!(r#"{{"url": "http://127.0.0.1:{granted}/", "max_redirects": 5}}"#);
    let fault = ask(&config, &[&grant]).await.outcome.expect_err("denied");
    assert_eq!(fault, Fault::Broke(format!("denied: grants.http = [\"http://127.0.0.1:{inside}\"]")));
    assert_eq!(connections.load(Ordering::SeqCst), 0, "it connected all the same");
}

#[tokio::test]
async fn a_body_without_end_is_cut() {
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(4 << 20)).into_bytes();
    let (port, _) = serve(Some(endless)).await;
    let config = format!(r#"{{"url": "http://127.0.0.1:{port}/", "body_contains": "y"}}"#);
    let run = ask(&config, LOCAL).await;
    let report = run.outcome.expect("a report");
    assert_eq!(report.summary, "200, body without \"y\", as far as it was read");
    assert!(run.bill.memory_peak_bytes < 4 << 20, "{}", run.bill.memory_peak_bytes);
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}\r\n", "x".repeat(4 << 20)).into_bytes();
    let (port, _) = serve(Some(endless)).await;
    let (status, summary) = says(&format!(r#"{{"url": "http://127.0.0.1:{port}/"}}"#), LOCAL).await;
    assert_eq!(status, Status::Critical, "{summary}");
}

/// A server with this certificate chain; every connection gets one answer.
async fn serve_tls(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> u16 {
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("server");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0u8; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&response("200 OK", "", "").expect("an answer")).await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

#[tokio::test]
async fn an_unknown_issuer_is_named() {
    let signed = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("certificate");
    let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).expect("key");
    let port = serve_tls(vec![signed.cert.der().clone()], key).await;
    let (status, summary) = says(&format!(r#"{{"url": "https://127.0.0.1:{port}/"}}"#), LOCAL).await;
    assert_eq!(status, Status::Critical);
    assert!(summary.starts_with("tls: invalid peer certificate"), "{summary}");
}

/// Trusted roots are the process's own: the check is made by another one, which
/// finds ours in its environment.
#[tokio::test]
async fn a_known_issuer_is_trusted() {
    let authority_key = rcgen::KeyPair::generate().expect("key");
    let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = authority.self_signed(&authority_key).expect("root");
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().expect("key");
    let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    let leaf = leaf.signed_by(&key, &issuer).expect("leaf");

    let folder = tempfile::tempdir().expect("tempdir");
    let roots = folder.path().join("roots.pem");
    let base64 = data_encoding::BASE64.encode(root.der());
    std::fs::write(&roots, format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n"))
        .expect("write");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("key");
    let port = serve_tls(vec![leaf.der().clone()], key).await;
    let output = tokio::process::Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "http::asks_the_port_in_its_environment", "--ignored", "--nocapture"])
        .env("SSL_CERT_FILE", &roots)
        .env("HOSTLER_TEST_PORT", port.to_string())
        .output()
        .await
        .expect("run this test's other half");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("said: 200 in "), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
#[ignore = "the other half of a_known_issuer_is_trusted"]
async fn asks_the_port_in_its_environment() {
    let Ok(port) = std::env::var("HOSTLER_TEST_PORT") else { return };
    let (_, summary) = says(&format!(r#"{{"url": "https://127.0.0.1:{port}/"}}"#), LOCAL).await;
    println!("said: {summary}");
}
