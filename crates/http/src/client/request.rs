//! The head of a request.

use http::header::HOST;
use http::{Method, Uri};
use http_body::Body;

use crate::BoxError;
use crate::wire::{Framing, Writer};

/// The field of a request about its connection (RFC 9110, section 7.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionOption {
    /// Nothing: it stays open. A repeatable request is held until a response came.
    Persistent {
        is_repeatable: bool,
    },
    Close,
    Upgrade,
}

/// Prepares a request to be sent.
pub(super) fn writer<B>(request: http::Request<B>, option: ConnectionOption) -> Writer<B>
where
    B: Body<Error: Into<BoxError>> + Unpin,
{
    let (parts, body) = request.into_parts();
    let framing = match Framing::of(&body) {
        Framing::Length { remaining: 0 } if parts.method == Method::GET => Framing::None,
        framing => framing,
    };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let host = host(&parts.uri);
    let host_line = match parts.headers.contains_key(HOST) {
        true => ["", "", ""],
        false => ["host: ", host, "\r\n"],
    };
    let connection_line = match option {
        ConnectionOption::Persistent { .. } => "",
        ConnectionOption::Close => "connection: close\r\n",
        ConnectionOption::Upgrade => "connection: upgrade\r\n",
    };
    let start = [
        parts.method.as_str(),
        " ",
        path,
        " HTTP/1.1\r\n",
        host_line[0],
        host_line[1],
        host_line[2],
        connection_line,
    ];
    let start = start.map(str::as_bytes);
    match option {
        ConnectionOption::Persistent {
            is_repeatable: true,
        } => Writer::repeatable(&start, &parts.headers, body, framing),
        _ => Writer::new(&start, &parts.headers, body, framing),
    }
}

/// Returns the authority without the user information, which has no place in a `host` field.
fn host(uri: &Uri) -> &str {
    let authority = uri
        .authority()
        .map_or("localhost", |authority| authority.as_str());
    authority.rsplit('@').next().unwrap_or(authority)
}
