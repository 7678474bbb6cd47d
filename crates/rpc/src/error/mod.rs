//! [`Error`]: what a failed call carries.

mod detail;
pub(crate) mod wire;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use http::HeaderMap;

pub use self::detail::ErrorDetail;
use crate::Code;
use crate::metadata::Names;

/// Any error behind a boxed pointer: the transport's cause, or what a handler failed with.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// A failed call: code, message, details, metadata, and locally the cause.
///
/// Code, message, details and metadata travel; the [source](StdError::source) stays in the process
/// where the error was made, so that a server may attach what a client must not see.
///
/// An `Error` is one pointer wide and cheap to clone.
///
/// ```
/// use keyway_rpc::{Code, Error};
///
/// let error = Error::not_found("no secret matches db/prod/password");
/// assert_eq!(error.code(), Code::NotFound);
/// assert_eq!(error.to_string(), "not_found: no secret matches db/prod/password");
/// ```
#[derive(Clone)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Clone)]
struct Inner {
    code: Code,
    message: Cow<'static, str>,
    details: Vec<ErrorDetail>,
    metadata: HeaderMap,
    /// Whether the metadata is that of a response, which is nothing to tell others.
    received: bool,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

macro_rules! constructors {
    ($($name:ident => $code:ident),* $(,)?) => {
        /// One constructor for each code.
        impl Error {
            $(
                #[doc = concat!("An error with [`Code::", stringify!($code), "`].")]
                #[must_use]
                pub fn $name(message: impl Into<Cow<'static, str>>) -> Self {
                    Self::new(Code::$code, message)
                }
            )*
        }
    };
}

constructors! {
    canceled => Canceled,
    unknown => Unknown,
    invalid_argument => InvalidArgument,
    deadline_exceeded => DeadlineExceeded,
    not_found => NotFound,
    already_exists => AlreadyExists,
    permission_denied => PermissionDenied,
    resource_exhausted => ResourceExhausted,
    failed_precondition => FailedPrecondition,
    aborted => Aborted,
    out_of_range => OutOfRange,
    unimplemented => Unimplemented,
    internal => Internal,
    unavailable => Unavailable,
    data_loss => DataLoss,
    unauthenticated => Unauthenticated,
}

impl Error {
    /// An error with this code and this message, which the peer will read.
    #[must_use]
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            inner: Box::new(Inner {
                code,
                message: message.into(),
                details: Vec::new(),
                metadata: HeaderMap::new(),
                received: false,
                source: None,
            }),
        }
    }

    /// The answer of a generated trait to a method that the service leaves out.
    #[doc(hidden)]
    #[must_use]
    pub fn method_unimplemented(spec: &crate::MethodSpec) -> Self {
        let (service, method) = (spec.service(), spec.method());
        Self::unimplemented(format!("{service}.{method} is not implemented"))
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.inner.code
    }

    /// The message; empty when there is none.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Typed details, in the order in which they were added.
    #[must_use]
    pub fn details(&self) -> &[ErrorDetail] {
        &self.inner.details
    }

    /// Adds a detail.
    #[must_use]
    pub fn with_detail(mut self, detail: ErrorDetail) -> Self {
        self.inner.details.push(detail);
        self
    }

    /// The error's metadata. On a client these are all headers of the response, and what it sent
    /// as trailing metadata; on a server, what goes out as headers.
    ///
    /// A handler that returns the error of another call passes code, message and details on, and
    /// the metadata only if it asked for [it to be changed](Self::metadata_mut): what a server
    /// behind sends in its headers is not meant for callers in front.
    #[must_use]
    pub fn metadata(&self) -> &HeaderMap {
        &self.inner.metadata
    }

    /// The error's metadata, to change it. Names that belong to HTTP or to the protocol
    /// (`content-type`, `connect-*` and their like) are not sent.
    pub fn metadata_mut(&mut self) -> &mut HeaderMap {
        self.inner.received = false;
        &mut self.inner.metadata
    }

    /// The metadata that a server sends.
    #[cfg(feature = "server")]
    pub(crate) fn own_metadata(&self) -> Option<&HeaderMap> {
        (!self.inner.received).then_some(&self.inner.metadata)
    }

    /// The error as a response of the protocol, for tower layers that answer a call themselves:
    /// the HTTP status of its [code](Code::http_status) and a JSON object, whatever the codec of
    /// the call is.
    ///
    /// ```
    /// use keyway_rpc::Error;
    ///
    /// let response = Error::unauthenticated("who are you?").into_response();
    /// assert_eq!(response.status(), 401);
    /// ```
    #[cfg(feature = "server")]
    #[must_use]
    pub fn into_response(self) -> http::Response<crate::Body> {
        crate::connect::server::failure(&self)
    }

    /// Attaches the local cause; it is never sent.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.inner.source = Some(Arc::from(source.into()));
        self
    }

    /// Puts `code` in the place of this error's code and keeps everything else.
    #[must_use]
    pub fn with_code(mut self, code: Code) -> Self {
        self.inner.code = code;
        self
    }

    /// The first error of type `E` in the chain of causes below this error.
    #[must_use]
    pub fn cause<E: StdError + 'static>(&self) -> Option<&E> {
        let mut next = self.source();
        while let Some(cause) = next {
            if let Some(found) = cause.downcast_ref() {
                return Some(found);
            }
            next = cause.source();
        }
        None
    }

    pub(crate) fn set_details(&mut self, details: Vec<ErrorDetail>) {
        self.inner.details = details;
    }

    pub(crate) fn set_metadata(&mut self, metadata: HeaderMap) {
        self.inner.metadata = metadata;
        self.inner.received = true;
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code().as_str())?;
        match self.message() {
            "" => Ok(()),
            message => write!(f, ": {message}"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("code", &self.inner.code)
            .field("message", &self.inner.message)
            .field("details", &self.inner.details)
            .field("metadata", &Names(&self.inner.metadata))
            .field("source", &self.inner.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_pointer() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn the_cause_is_found_below_other_errors() {
        let io = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let middle = Error::unknown("middle").with_source(io);
        let error = Error::unavailable("outer").with_source(middle);
        let cause = error.cause::<std::io::Error>().expect("two levels down");
        assert_eq!(cause.kind(), std::io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn debug_shows_the_names_of_metadata_and_not_its_values() {
        let mut error = Error::internal("x");
        let value = "hunter2".parse().expect("a valid header value");
        error.metadata_mut().insert("authorization", value);
        let shown = format!("{error:?}");
        assert!(shown.contains("authorization"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
