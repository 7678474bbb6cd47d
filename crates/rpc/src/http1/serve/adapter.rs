//! A tower service as hyper calls it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

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
    S: Service<http::Request<crate::Body>, Response = http::Response<B>, Error = Infallible>
        + Clone,
{
    type Response = http::Response<Tracked<B>>;
    type Error = Infallible;
    type Future = Answering<S, S::Future>;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        let call = Call::Waiting {
            service: self.service.clone(),
            request: Some(request.map(crate::Body::from)),
        };
        Answering {
            call,
            busy: Some(Busy::start(&self.activity)),
        }
    }
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
        Waiting { service: S, request: Option<http::Request<crate::Body>> },
        Called { #[pin] future: F },
    }
}

impl<S, B> Future for Answering<S, S::Future>
where
    S: Service<http::Request<crate::Body>, Response = http::Response<B>, Error = Infallible>,
{
    type Output = Result<http::Response<Tracked<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let future = match this.call.as_mut().project() {
                CallProjection::Called { future } => {
                    let response = ready!(future.poll(cx))?;
                    let busy = this.busy.take();
                    return Poll::Ready(Ok(response.map(|body| Tracked { body, busy })));
                }
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
    /// The body of a response; its request is open until hyper drops it.
    pub(super) struct Tracked<B> {
        #[pin]
        body: B,
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
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
