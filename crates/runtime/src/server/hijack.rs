//! `GET /hijack`: how a plugin that was started by hand turns its connection into a plugin connection.

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use keyway_rpc::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// The path.
pub(crate) const PATH: &str = "/hijack";

/// What the plugin asks to upgrade to.
const PROTOCOL: HeaderValue = HeaderValue::from_static("tcp");

/// Answers 101 and hands the connection over, or says why not.
pub(crate) fn answer(
    request: &mut Request<Incoming>,
    hijacked: &mpsc::Sender<OnUpgrade>,
) -> Response<Body> {
    if request.method() != Method::GET {
        return refuse(
            StatusCode::METHOD_NOT_ALLOWED,
            "use GET to turn a connection into a plugin connection",
        );
    }
    if request.version() != Version::HTTP_11 || !wants_upgrade(request) {
        return refuse(
            StatusCode::UPGRADE_REQUIRED,
            "a plugin connection needs HTTP/1.1 with `Connection: upgrade` and `Upgrade: tcp`",
        );
    }
    // hyper refuses a request with a body before it is upgraded; nothing that is not ours has been read.
    if hijacked.try_send(hyper::upgrade::on(request)).is_err() {
        return refuse(
            StatusCode::CONFLICT,
            "this connection is a plugin connection already",
        );
    }
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, PROTOCOL);
    response
}

fn wants_upgrade(request: &Request<Incoming>) -> bool {
    let lists = |name, wanted: &str| {
        let values = request
            .headers()
            .get_all(name)
            .into_iter()
            .filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(wanted))
    };
    lists(CONNECTION, "upgrade") && lists(UPGRADE, "tcp")
}

/// Refuses a caller that may not connect as a plugin.
pub(super) fn forbid(reason: String) -> Response<Body> {
    refuse(StatusCode::FORBIDDEN, reason)
}

fn refuse(status: StatusCode, reason: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::full(reason));
    *response.status_mut() = status;
    if status == StatusCode::UPGRADE_REQUIRED {
        response.headers_mut().insert(UPGRADE, PROTOCOL);
    }
    response
}

/// The connection after the 101. What arrived together with the request is read first: no byte is lost.
pub(crate) async fn stream(
    upgrade: OnUpgrade,
) -> hyper::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
    upgrade.await.map(TokioIo::new)
}
