//! [`Health`]: `GET /health`.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::ALLOW;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use tower_service::Service;

/// Responds to `GET` and `HEAD` of `/health` with 200 and `ok`, to its other methods with 405, and to
/// all other paths with 404.
///
/// The response shows that the process and its connection are alive, and nothing about its services.
#[derive(Clone, Copy, Debug, Default)]
pub struct Health;

impl Health {
    /// The path.
    pub const PATH: &str = "/health";

    /// Returns the response to a request.
    #[must_use]
    pub fn respond<B>(self, request: &Request<B>) -> Response<Bytes> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let (status, body) = match request.uri().path() == Self::PATH {
            true if is_read => (StatusCode::OK, "ok"),
            true => (StatusCode::METHOD_NOT_ALLOWED, ""),
            false => (StatusCode::NOT_FOUND, ""),
        };
        let mut response = Response::new(Bytes::from_static(body.as_bytes()));
        *response.status_mut() = status;
        if status == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, allowed);
        }
        response
    }
}

impl<B> Service<Request<B>> for Health {
    type Response = Response<Bytes>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.respond(&request)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reading_the_path_of_health_is_ok() {
        let status = |method: &str, path: &str| {
            let request = Request::builder().method(method).uri(path).body(());
            let response = Health.respond(&request.expect("a valid request"));
            (
                response.status().as_u16(),
                response.headers().contains_key(ALLOW),
            )
        };
        assert_eq!(status("GET", "/health"), (200, false));
        assert_eq!(status("HEAD", "/health"), (200, false));
        assert_eq!(status("POST", "/health"), (405, true));
        assert_eq!(status("GET", "/"), (404, false));
        assert_eq!(status("GET", "/health/"), (404, false));
    }
}
