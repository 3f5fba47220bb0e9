//! One request and its response over an open connection, every size bounded.

use crate::call::CallError;
use crate::limits;
use crate::machine::network::io_words;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};

pub(in crate::machine) struct Exchanged {
    pub(in crate::machine) status: StatusCode,
    pub(in crate::machine) headers: HeaderMap,
    pub(in crate::machine) body: Vec<u8>,
    pub(in crate::machine) truncated: bool,
    pub(in crate::machine) first_byte: Duration,
}

pub(in crate::machine) async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    body_bytes_max: u32,
) -> Result<Exchanged, CallError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let unreachable = |error: hyper::Error| CallError::Unreachable(words(&error));
    let began = Instant::now();
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(limits::HTTP_HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(unreachable)?;
    let talk = async {
        let response = sender.send_request(request).await.map_err(unreachable)?;
        let first_byte = began.elapsed();
        let (head, body) = response.into_parts();
        let (body, truncated) = read_body(body, body_bytes_max).await.map_err(unreachable)?;
        Ok(Exchanged { status: head.status, headers: head.headers, body, truncated, first_byte })
    };
    tokio::pin!(talk, connection);
    // Both are polled again until the talk is over, so neither needs to be
    // cancel-safe; the connection's own error reaches the talk.
    tokio::select! {
        biased;
        done = &mut talk => done,
        _ = &mut connection => talk.await,
    }
}

/// As it was sent: nothing here decompresses, so what is small on the wire stays
/// small, whatever its content-encoding says.
async fn read_body(mut body: Incoming, bytes_max: u32) -> Result<(Vec<u8>, bool), hyper::Error> {
    let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let mut kept = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            let room = bytes_max.saturating_sub(kept.len());
            if data.len() > room {
                kept.extend_from_slice(data.get(..room).unwrap_or_default());
                return Ok((kept, true));
            }
            kept.extend_from_slice(&data);
        }
    }
    Ok((kept, false))
}

fn words(error: &hyper::Error) -> String {
    let source = std::error::Error::source(error);
    if let Some(io) = source.and_then(|source| source.downcast_ref::<std::io::Error>()) {
        return io_words(io);
    }
    if error.is_incomplete_message() {
        "closed the connection without an answer".to_owned()
    } else if error.is_parse() && error.to_string().contains("too large") {
        format!("its headers are longer than {} KiB", limits::HTTP_HEAD_BYTES_MAX >> 10)
    } else if error.is_parse() {
        "answered no HTTP".to_owned()
    } else {
        error.to_string()
    }
}
