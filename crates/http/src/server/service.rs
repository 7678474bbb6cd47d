//! [`HttpService`]: a tower service that the server can serve.

use std::convert::Infallible;

use http_body::Body;
use tower_service::Service;

use super::RequestBody;
use crate::BoxError;

/// A tower service that [`serve`](crate::serve) can serve: a clone of it handles each request of a
/// connection, and it has no error of its own.
///
/// It is implemented for every service that fits, and for no other type.
pub trait HttpService:
    Service<
        http::Request<RequestBody>,
        Response = http::Response<<Self as HttpService>::ResponseBody>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send
    + 'static
{
    /// The body of a response.
    type ResponseBody: Body<Data: Send, Error: Into<BoxError>> + Send + 'static;
}

impl<S, B> HttpService for S
where
    S: Service<
            http::Request<RequestBody>,
            Response = http::Response<B>,
            Error = Infallible,
            Future: Send,
        > + Clone
        + Send
        + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type ResponseBody = B;
}
