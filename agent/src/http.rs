//! /health, /ready and /metrics, in plain HTTP on loopback.

use crate::metrics;
use crate::view::View;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A scraper, a probe and a person.
const CONNECTIONS_MAX: usize = 16;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// After a failure to accept (no file handles left, say): do not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Accepts until it is stopped; whoever comes when all places are taken waits.
pub async fn serve(listener: TcpListener, view: Arc<View>, stop: CancellationToken, tracker: TaskTracker) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            // Dropping an accept loses nothing: the connection stays queued.
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (view, stop) = (Arc::clone(&view), stop.clone());
                tracker.spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = connection(stream, view) => {}
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(error = %error, "accepting an HTTP connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, view: Arc<View>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(request.method(), request.uri().path(), &view);
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(error = %error, "an HTTP connection ended early");
    }
}

fn answer(method: &Method, path: &str, view: &View) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return response(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET only\n".to_owned());
    }
    match path {
        "/health" => response(StatusCode::OK, "text/plain", "ok\n".to_owned()),
        "/ready" => {
            let parts = view.lock().parts();
            let ready = parts.values().all(|part| part == "ok");
            let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let status = if ready { "ready" } else { "not ready" };
            let body = serde_json::json!({ "status": status, "components": parts });
            response(code, "application/json", format!("{body}\n"))
        }
        "/metrics" => response(StatusCode::OK, "text/plain; version=0.0.4", metrics::page(&view.lock())),
        _ => response(StatusCode::NOT_FOUND, "text/plain", "there are /health, /ready and /metrics\n".to_owned()),
    }
}

fn response(code: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_named() {
        let view = View::default();
        let answer = |path: &str| answer(&Method::GET, path, &view).status();
        assert_eq!(answer("/health"), StatusCode::OK);
        assert_eq!(answer("/metrics"), StatusCode::OK);
        assert_eq!(answer("/"), StatusCode::NOT_FOUND);
        assert_eq!(answer("/ready"), StatusCode::SERVICE_UNAVAILABLE);
        view.lock().link.last_error = Some("nothing answers at a:1".into());
        assert_eq!(view.lock().parts()["link"], "not connected: nothing answers at a:1");
        view.lock().link.connected = true;
        view.lock().desired = Some(hostler_types::Stamp::default());
        assert_eq!(answer("/ready"), StatusCode::OK);
    }
}
