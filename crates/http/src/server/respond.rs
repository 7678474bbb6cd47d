//! The head of a response, and the state of its connection after it.

use http::header::{CONNECTION, HeaderMap};
use http::{Method, StatusCode, Version, response};
use http_body::Body;

use super::RequestBody;
use super::ServeError;
use super::incoming::RequestFacts;
use super::upgrade::{OnUpgrade, Then};
use crate::syntax::{SyntaxError, has_token};
use crate::wire::{Framing, Writer};

/// The state after a response.
pub(super) enum Next {
    /// Another request may arrive.
    Request,
    /// The connection closes.
    Close,
    /// The connection closes, although the peer may still be sending.
    Linger,
    /// The byte stream is switched to another protocol.
    Switch(Then),
}

/// The form of a response on the wire.
pub(super) struct Plan {
    pub(super) framing: Framing,
    pub(super) next: Next,
    /// The fields that the connection adds.
    fields: String,
}

impl Plan {
    /// Creates the plan for the response of a service to a request that arrived completely or not;
    /// `is_last`: no further request is served.
    ///
    /// # Errors
    ///
    /// Returns [`ServeError::Response`] for an interim status, and for 101 without an
    /// [`OnUpgrade`].
    pub(super) fn new(
        parts: &mut response::Parts,
        body: &impl Body,
        facts: &RequestFacts,
        is_complete: bool,
        is_last: bool,
    ) -> Result<Self, ServeError> {
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return Self::switching(parts);
        }
        if parts.status.is_informational() {
            return Err(ServeError::Response("the status is an interim one".into()));
        }
        let has_no_body = matches!(
            parts.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
        let framing = match Framing::of(body) {
            _ if has_no_body || facts.method == Method::HEAD => Framing::None,
            Framing::Chunked { .. } if facts.version == Version::HTTP_10 => Framing::UntilClose,
            framing => framing,
        };
        let closes = is_last
            || !is_complete
            || !facts.is_persistent
            || matches!(framing, Framing::UntilClose)
            || has_token(&parts.headers, &CONNECTION, "close");
        let offers_upgrade = has_token(&parts.headers, &CONNECTION, "upgrade");
        let mut fields = match (closes, offers_upgrade) {
            (true, true) => "connection: close, upgrade\r\n",
            (true, false) => "connection: close\r\n",
            (false, true) => "connection: upgrade\r\n",
            (false, false) if facts.version == Version::HTTP_10 => "connection: keep-alive\r\n",
            (false, false) => "",
        }
        .to_owned();
        if facts.method == Method::HEAD
            && !has_no_body
            && let Some(len) = body.size_hint().exact()
        {
            fields.push_str(&format!("content-length: {len}\r\n"));
        }
        let next = match (closes, is_complete) {
            (false, _) => Next::Request,
            (true, true) => Next::Close,
            (true, false) => Next::Linger,
        };
        Ok(Self {
            framing,
            next,
            fields,
        })
    }

    fn switching(parts: &mut response::Parts) -> Result<Self, ServeError> {
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let then = upgrade.and_then(|upgrade| upgrade.take());
        let then =
            then.ok_or_else(|| ServeError::Response("status 101 without an upgrade".into()))?;
        Ok(Self {
            framing: Framing::None,
            next: Next::Switch(then),
            fields: "connection: upgrade\r\n".to_owned(),
        })
    }

    /// Returns the status line and the fields of the connection.
    pub(super) fn start<'a>(&'a self, status: &'a StatusCode) -> [&'a [u8]; 6] {
        let reason = status.canonical_reason().unwrap_or_default();
        [
            b"HTTP/1.1 ",
            status.as_str().as_bytes(),
            b" ",
            reason.as_bytes(),
            b"\r\n",
            self.fields.as_bytes(),
        ]
    }
}

/// Returns the response to a head that violates HTTP. The connection closes behind it.
pub(super) fn refusal(error: SyntaxError) -> Writer<RequestBody> {
    let status = match error {
        SyntaxError::Malformed(_) => StatusCode::BAD_REQUEST,
        SyntaxError::TooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        SyntaxError::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
    };
    let start = [
        b"HTTP/1.1 ".as_slice(),
        status.as_str().as_bytes(),
        b" ",
        status.canonical_reason().unwrap_or_default().as_bytes(),
        b"\r\nconnection: close\r\n",
    ];
    Writer::new(
        &start,
        &HeaderMap::new(),
        RequestBody::default(),
        Framing::Length { remaining: 0 },
    )
}
