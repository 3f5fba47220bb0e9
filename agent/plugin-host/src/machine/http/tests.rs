//! The client against servers of our own, honest and hostile.

use super::super::MachineConfig;
use super::*;
use crate::machine::testing::{Authority, Server, grants, no_trust};
use std::os::unix::fs::PermissionsExt;

fn response(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

fn get(url: String) -> HttpRequest {
    HttpRequest { method: "GET".into(), url, max_body: limits::HTTP_BODY_BYTES, ..HttpRequest::default() }
}

const LOCAL: &str = "http = [\"http://127.0.0.1:*\", \"https://127.0.0.1:*\", \"http://localhost:*\"]";

async fn sent(request: HttpRequest) -> Result<HttpResponse, CallError> {
    send(request, &grants(LOCAL), &no_trust(), &MachineConfig::default()).await
}

#[tokio::test]
async fn brings_back_what_was_said() {
    let server = Server::says(response("200 OK", "x-a: 1\r\n", "all is well")).await;
    let mut request = get(format!("http://127.0.0.1:{}/a?b=c", server.port));
    request.headers.push(("X-Own".into(), "yes".into()));
    let response = sent(request).await.expect("a response");
    assert_eq!((response.status, response.truncated), (200, false));
    assert_eq!(response.body.0, b"all is well");
    assert!(response.headers.contains(&("x-a".into(), "1".into())));
    assert!(response.timings.total >= response.timings.connect && response.peer_certificates.is_empty());
    let heard = server.heard().concat();
    assert!(heard.starts_with("GET /a?b=c HTTP/1.1\r\n") && heard.contains("x-own: yes\r\n"), "{heard}");
    assert!(heard.contains(&format!("host: 127.0.0.1:{}\r\n", server.port)), "{heard}");
}

#[tokio::test]
async fn says_why_nothing_came_back() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let refused = sent(get(format!("http://127.0.0.1:{port}/"))).await;
    assert_eq!(refused, Err(CallError::Unreachable("connection refused".into())));
    for (answer, says) in
        [("220 mail ready\r\n\r\n", "answered no HTTP"), ("", "closed the connection without an answer")]
    {
        let server = Server::says(answer).await;
        let failed = sent(get(format!("http://127.0.0.1:{}/", server.port))).await;
        assert_eq!(failed, Err(CallError::Unreachable(says.into())));
    }
}

#[tokio::test]
async fn a_body_is_cut_and_a_head_is_refused() {
    let server = Server::says(format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(4 << 20))).await;
    let mut request = get(format!("http://127.0.0.1:{}/", server.port));
    request.max_body = u32::MAX;
    let response = sent(request).await.expect("a response");
    assert_eq!((response.body.0.len(), response.truncated), (limits::HTTP_BODY_BYTES_MAX as usize, true));
    let server = Server::says(format!("HTTP/1.1 200 OK\r\nx: {}\r\n", "x".repeat(4 << 20))).await;
    let failed = sent(get(format!("http://127.0.0.1:{}/", server.port))).await;
    assert!(matches!(failed, Err(CallError::Unreachable(_))), "{failed:?}");
}

#[tokio::test]
async fn follows_redirects_as_far_as_it_may() {
    let end = Server::says(response("200 OK", "", "end")).await;
    let location = format!("location: http://127.0.0.1:{}/x\r\n", end.port);
    let begin = Server::says(response("302 Found", &location, "")).await;
    let mut request = get(format!("http://127.0.0.1:{}/", begin.port));
    assert_eq!(sent(request.clone()).await.expect("a response").status, 302);
    request.redirects = 1;
    (request.method, request.body) = ("POST".into(), Bytes(b"x".to_vec()));
    assert_eq!(sent(request).await.expect("a response").body.0, b"end");
    assert!(end.heard().concat().starts_with("GET /x "), "{:?}", end.heard());

    let ring = Server::says(response("302 Found", "location: /again\r\n", "")).await;
    let mut request = get(format!("http://127.0.0.1:{}/", ring.port));
    request.redirects = 3;
    assert_eq!(sent(request).await, Err(CallError::other("redirects", "more than 3")));
    assert_eq!(ring.heard().len(), 4);
}

/// The server that was granted sends the plugin on to one that was not, and to
/// an address that is refused.
#[tokio::test]
async fn every_hop_is_judged() {
    let inside = Server::says(response("200 OK", "", "inside")).await;
    let location = format!("location: http://127.0.0.1:{}/\r\n", inside.port);
    let granted = Server::says(response("302 Found", &location, "")).await;
    let mut request = get(format!("http://127.0.0.1:{}/", granted.port));
    request.redirects = 5;
    let only = grants(&format!("http = [\"http://127.0.0.1:{}\"]", granted.port));
    let denied = send(request, &only, &no_trust(), &MachineConfig::default()).await;
    assert_eq!(denied, Err(CallError::Denied(format!("grants.http = [\"http://127.0.0.1:{}\"]", inside.port))));

    let location = format!("location: http://localhost:{}/\r\n", inside.port);
    let granted = Server::says(response("302 Found", &location, "")).await;
    let mut request = get(format!("http://127.0.0.1:{}/", granted.port));
    request.redirects = 5;
    let narrow = format!("http = [\"http://127.0.0.1:{}\", \"http://*:*\"]\npublic_only = true", granted.port);
    let denied = send(request, &grants(&narrow), &no_trust(), &MachineConfig::default()).await;
    let Err(CallError::Denied(says)) = denied else { panic!("{denied:?}") };
    assert!(says.ends_with(": private networks are refused here)"), "{says}");
    assert!(inside.heard().is_empty(), "it connected all the same");
}

#[tokio::test]
async fn secrets_go_to_the_first_origin_only() {
    let folder = tempfile::tempdir().expect("tempdir");
    let path = folder.path().join("token");
    std::fs::write(&path, "s3cret\n").expect("write");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");

    let elsewhere = Server::says(response("200 OK", "", "")).await;
    let location = format!("location: http://localhost:{}/\r\n", elsewhere.port);
    let first = Server::says(response("302 Found", &location, "")).await;
    let mut request = get(format!("http://127.0.0.1:{}/", first.port));
    request.redirects = 1;
    request.headers = vec![("cookie".into(), "a=b".into()), ("x-kept".into(), "1".into())];
    request.secret_headers = vec![("X-Token".into(), "Bearer ".into(), "token".into())];

    let config = MachineConfig { secrets_folder: folder.path().to_owned(), ..MachineConfig::default() };
    let denied = send(request.clone(), &grants(LOCAL), &no_trust(), &config).await;
    assert_eq!(denied, Err(CallError::Denied("grants.secrets = [\"token\"]".into())));
    let granted = grants(&format!("{LOCAL}\nsecrets = [\"token\"]"));
    assert!(send(request, &granted, &no_trust(), &config).await.is_ok());
    let (first, second) = (first.heard().concat(), elsewhere.heard().concat());
    assert!(first.contains("x-token: Bearer s3cret\r\n") && first.contains("cookie: a=b\r\n"), "{first}");
    assert!(!second.contains("s3cret") && !second.contains("x-token") && !second.contains("cookie"), "{second}");
    assert!(second.contains("x-kept: 1\r\n"), "{second}");
}

#[tokio::test]
async fn a_trusted_peer_shows_its_chain_and_another_is_refused() {
    let authority = Authority::new();
    let server = Server::says_over_tls(response("200 OK", "", "ok"), authority.server_for("127.0.0.1")).await;
    let request = get(format!("https://127.0.0.1:{}/", server.port));
    let response =
        send(request.clone(), &grants(LOCAL), &authority.trusted(), &MachineConfig::default()).await.expect("trusted");
    assert_eq!((response.status, response.peer_certificates.len()), (200, 2));
    assert!(response.timings.tls > 0);
    let Err(CallError::Unreachable(says)) = sent(request).await else { panic!("trusted by nobody") };
    assert!(says.starts_with("tls: invalid peer certificate"), "{says}");
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_not_sent() {
    for (name, value) in
        [("Host", "x"), ("content-length", "1"), ("Transfer-Encoding", "x"), ("a b", "x"), ("x", "a\r\nb")]
    {
        let mut request = get("http://127.0.0.1:1/".into());
        request.headers.push((name.into(), value.into()));
        assert!(matches!(sent(request).await, Err(CallError::Invalid(_))), "{name}");
    }
    for method in ["CONNECT", "a b", ""] {
        let mut request = get("http://127.0.0.1:1/".into());
        request.method = method.into();
        assert!(matches!(sent(request).await, Err(CallError::Invalid(_))), "{method}");
    }
    let mut request = get("http://127.0.0.1:1/".into());
    request.headers = vec![("x".into(), "y".into()); limits::HTTP_REQUEST_HEADERS_MAX + 1];
    assert!(matches!(sent(request).await, Err(CallError::Invalid(_))));
}
