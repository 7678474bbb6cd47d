//! The head of a request.

use http::header::HOST;
use http::{Method, Uri};
use http_body::Body;

use crate::BoxError;
use crate::wire::{Framing, Writer};

/// The request on its way.
pub(super) fn writer<B>(request: http::Request<B>) -> Writer<B>
where
    B: Body<Error: Into<BoxError>> + Unpin,
{
    let (parts, body) = request.into_parts();
    let framing = match Framing::of(&body) {
        Framing::Length { remaining: 0 } if parts.method == Method::GET => Framing::None,
        framing => framing,
    };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let method = parts.method.as_str().as_bytes();
    let end = b" HTTP/1.1\r\n";
    if parts.headers.contains_key(HOST) {
        let start = [method, b" ", path.as_bytes(), end];
        return Writer::new(&start, &parts.headers, body, framing);
    }
    let (host, path) = (host(&parts.uri).as_bytes(), path.as_bytes());
    let start = [method, b" ", path, end, b"host: ", host, b"\r\n"];
    Writer::new(&start, &parts.headers, body, framing)
}

/// The authority without the user information, which has no place in a `host` field.
fn host(uri: &Uri) -> &str {
    let authority = uri
        .authority()
        .map_or("localhost", |authority| authority.as_str());
    authority.rsplit('@').next().unwrap_or(authority)
}
