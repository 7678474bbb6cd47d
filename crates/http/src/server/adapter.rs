//! A tower service as hyper calls it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use http::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tower_service::Service;

use super::activity::{Activity, Busy};

/// Clones the service for each request, and counts the requests.
pub(super) struct ToHyper<S> {
    pub(super) service: S,
    pub(super) activity: Arc<Activity>,
}

impl<S, B> hyper::service::Service<http::Request<Incoming>> for ToHyper<S>
where
    S: Service<http::Request<crate::RequestBody>, Response = http::Response<B>, Error = Infallible>
        + Clone,
{
    type Response = http::Response<Tracked<B>>;
    type Error = Infallible;
    type Future = Answering<S, S::Future>;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        let call = match is_framed_clearly(&request) {
            true => Call::Waiting {
                service: self.service.clone(),
                request: Some(request.map(crate::RequestBody::from)),
            },
            false => Call::Refused,
        };
        Answering {
            call,
            busy: Some(Busy::start(&self.activity)),
        }
    }
}

/// Whether a body without a length is `chunked` and nothing else. Hyper looks at the last coding
/// alone, where some of those that it may sit behind look at the first, or at none.
fn is_framed_clearly(request: &http::Request<Incoming>) -> bool {
    if request.body().size_hint().exact().is_some() {
        return true;
    }
    let mut fields = request.headers().get_all(TRANSFER_ENCODING).iter();
    match (fields.next(), fields.next()) {
        (None, _) => true,
        (Some(field), None) => field.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

fn refusal<B>() -> http::Response<Tracked<B>> {
    let mut response = http::Response::new(Tracked {
        body: None,
        busy: None,
    });
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

pin_project_lite::pin_project! {
    /// A request that is being answered.
    pub(super) struct Answering<S, F> {
        #[pin]
        call: Call<S, F>,
        busy: Option<Busy>,
    }
}

pin_project_lite::pin_project! {
    /// Waits until a service is ready, then calls it.
    #[project = CallProjection]
    enum Call<S, F> {
        Waiting { service: S, request: Option<http::Request<crate::RequestBody>> },
        Called { #[pin] future: F },
        Refused,
    }
}

impl<S, B> Future for Answering<S, S::Future>
where
    S: Service<http::Request<crate::RequestBody>, Response = http::Response<B>, Error = Infallible>,
{
    type Output = Result<http::Response<Tracked<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let future = match this.call.as_mut().project() {
                CallProjection::Called { future } => {
                    let response = ready!(future.poll(cx))?;
                    let busy = this.busy.take();
                    return Poll::Ready(Ok(response.map(|body| Tracked {
                        body: Some(body),
                        busy,
                    })));
                }
                CallProjection::Refused => return Poll::Ready(Ok(refusal())),
                CallProjection::Waiting { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    let request = request.take().expect("the request is taken once");
                    service.call(request)
                }
            };
            this.call.set(Call::Called { future });
        }
    }
}

pin_project_lite::pin_project! {
    /// The body of a response, if it has one; its request is open until hyper drops it.
    pub(super) struct Tracked<B> {
        #[pin]
        body: Option<B>,
        busy: Option<Busy>,
    }
}

impl<B: Body> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().body.as_pin_mut() {
            Some(body) => body.poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let none = SizeHint::with_exact(0);
        self.body.as_ref().map_or(none, Body::size_hint)
    }
}
