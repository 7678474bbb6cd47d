//! The form of a request that HTTP/1.1 wants.

use http::header::{HOST, HeaderValue};
use http::{Uri, Version};
use keyway_rpc::Body;

/// The authority that is sent. A daemon does not look at it: the socket says who is meant.
const AUTHORITY: HeaderValue = HeaderValue::from_static("keyway");

/// Puts the path alone into the request line, and the authority into a field of its own.
pub(super) fn to_origin_form(request: &mut http::Request<Body>) {
    let uri = std::mem::take(request.uri_mut()).into_parts();
    if let Some(path) = uri.path_and_query {
        *request.uri_mut() = Uri::from(path);
    }
    request.headers_mut().insert(HOST, AUTHORITY);
    *request.version_mut() = Version::HTTP_11;
}
