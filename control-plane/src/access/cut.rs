//! A call goes on only as long as whoever made it may make it: revoked, expired or
//! given less, they are cut off in the middle of a stream.

use super::{Credential, require_call};
use crate::app::App;
use crate::clock;
use axum::body::Body;
use axum::response::Response;
use http::HeaderMap;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::Status;

/// For what had begun when the right to it went: twice that is well below the five
/// seconds in which everything is cut.
const MOMENT: Duration = Duration::from_secs(1);
/// A wall clock may jump: an expiry is looked at again at least so often.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(60);

/// Ends when the credential does, with the reason.
async fn lost(app: Arc<App>, credential: Credential, method: String) -> Status {
    let mut changes = app.mirror.follow_access();
    loop {
        changes.mark_unchanged();
        let (world, now) = (app.mirror.now(), clock::wall());
        let standing = credential.stands(&world, now);
        let judged = standing.and_then(|caller| require_call(&world, &caller, &method).map(|()| caller));
        let left = match judged {
            Ok(caller) => caller.until.since(now),
            Err(status) => return status,
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() {
                return Status::unavailable("the control plane is stopping");
            },
            () = tokio::time::sleep(left.min(LOOKED_AT_EVERY)) => {}
        }
    }
}

/// Runs a call under watch, and its answer after it.
///
/// Whoever takes a right from themselves is still told that it is done: what had
/// begun may finish, for a moment.
pub async fn guard(
    app: &Arc<App>,
    credential: Credential,
    method: String,
    call: impl Future<Output = Response>,
) -> Response {
    let mut lost: Lost = Box::pin(lost(Arc::clone(app), credential, method));
    let mut call = Box::pin(call);
    let first = tokio::select! {
        response = &mut call => Ok(response),
        status = &mut lost => Err(status),
    };
    let (response, watch) = match first {
        Ok(response) => (response, Watch::On(lost)),
        Err(status) => match tokio::time::timeout(MOMENT, call).await {
            Ok(response) => (response, Watch::ending(status)),
            // A handler may be dropped at any point: whoever hangs up does the same.
            Err(_) => return status.into_http::<Body>(),
        },
    };
    response.map(|inner| if inner.is_end_stream() { inner } else { Body::new(Guarded { inner, watch }) })
}

type Lost = Pin<Box<dyn Future<Output = Status> + Send>>;

enum Watch {
    On(Lost),
    /// What lies ready still goes out, until then.
    Ending(Status, Pin<Box<tokio::time::Sleep>>),
    /// All was said.
    Over,
}

impl Watch {
    fn ending(status: Status) -> Self {
        Self::Ending(status, Box::pin(tokio::time::sleep(MOMENT)))
    }
}

struct Guarded {
    inner: Body,
    watch: Watch,
}

impl Guarded {
    fn end(&mut self) -> Poll<Option<Result<Frame<bytes::Bytes>, axum::Error>>> {
        let Watch::Ending(status, _) = std::mem::replace(&mut self.watch, Watch::Over) else {
            return Poll::Ready(None);
        };
        let mut trailers = HeaderMap::new();
        match status.add_header(&mut trailers) {
            Ok(()) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Err(status) => Poll::Ready(Some(Err(axum::Error::new(status)))),
        }
    }
}

impl HttpBody for Guarded {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if let Watch::On(lost) = &mut self.watch
            && let Poll::Ready(status) = lost.as_mut().poll(context)
        {
            self.watch = Watch::ending(status);
        }
        let ending = match &mut self.watch {
            Watch::On(_) => false,
            Watch::Ending(_, until) => {
                if until.as_mut().poll(context).is_ready() {
                    return self.end();
                }
                true
            }
            Watch::Over => return Poll::Ready(None),
        };
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Pending if ending => self.end(),
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.watch, Watch::Over) || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures_util::stream::{self, StreamExt};
    use http_body_util::{BodyExt, Full, StreamBody};

    /// What arrives of a body whose credential is gone: its data, and gRPC's status.
    async fn cut(inner: Body) -> (Bytes, Option<HeaderMap>) {
        let lost: Lost = Box::pin(async { Status::permission_denied("gone") });
        let collected = Guarded { inner, watch: Watch::On(lost) }.collect().await.expect("a body");
        let trailers = collected.trailers().cloned();
        (collected.to_bytes(), trailers)
    }

    fn status(trailers: Option<HeaderMap>) -> Option<String> {
        trailers?.get("grpc-status")?.to_str().ok().map(str::to_owned)
    }

    #[tokio::test]
    async fn what_is_ready_is_told_and_what_goes_on_is_cut() {
        let frame = |text: &'static str| Ok::<_, axum::Error>(Frame::data(Bytes::from_static(text.as_bytes())));
        let (data, trailers) = cut(Body::new(Full::new(Bytes::from_static(b"done")))).await;
        assert_eq!((&data[..], status(trailers)), (&b"done"[..], None));
        let waiting = StreamBody::new(stream::iter([frame("a")]).chain(stream::pending()));
        let (data, trailers) = cut(Body::new(waiting)).await;
        assert_eq!((&data[..], status(trailers).as_deref()), (&b"a"[..], Some("7")));
        // One that always has more is not let go on for that.
        let mut until = Box::pin(tokio::time::sleep(Duration::ZERO));
        until.as_mut().await;
        let endless = Body::new(StreamBody::new(stream::repeat(()).map(move |()| frame("b"))));
        let watch = Watch::Ending(Status::permission_denied("gone"), until);
        let collected = Guarded { inner: endless, watch }.collect().await.expect("a body");
        let trailers = collected.trailers().cloned();
        assert_eq!(status(trailers).as_deref(), Some("7"));
    }
}
