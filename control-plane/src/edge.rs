//! What every answer says to browsers, and how much may be asked at once.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::Status;

/// Operators' calls that are being answered; one that has begun to stream counts no
/// more. A hundred pipelines at once stay below it.
const CALLS_AT_ONCE: usize = 256;

static ROOM: Semaphore = Semaphore::const_new(CALLS_AT_ONCE);

/// Whoever comes when all is full is told so at once: waiting would only add to it.
pub fn place() -> Result<SemaphorePermit<'static>, Status> {
    ROOM.try_acquire().map_err(|_| {
        Status::resource_exhausted(format!("{CALLS_AT_ONCE} calls are being answered already: try again in a moment"))
    })
}

/// Nothing here is to be framed, guessed at, kept by a cache, or asked without TLS.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
];

/// On all that a browser could be shown; calls are none of that.
pub async fn headers(mut response: Response) -> Response {
    let is_call = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if !is_call {
        for (name, value) in HEADERS {
            response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    #[tokio::test]
    async fn pages_are_guarded_and_say_so_themselves_where_they_know_better() {
        let page = Response::builder().header(header::CACHE_CONTROL, "max-age=60").body(Body::empty()).expect("a page");
        let shown = headers(page).await;
        assert_eq!(shown.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(shown.headers()[header::CACHE_CONTROL], "max-age=60");
        let call =
            Response::builder().header(header::CONTENT_TYPE, "application/grpc").body(Body::empty()).expect("one");
        assert_eq!(headers(call).await.headers().len(), 1);
    }

    #[test]
    fn a_full_house_says_so() {
        let all: Vec<_> = (0..CALLS_AT_ONCE).map(|_| place().expect("a place")).collect();
        assert_eq!(place().expect_err("full").code(), tonic::Code::ResourceExhausted);
        drop(all);
        assert!(place().is_ok());
    }
}
