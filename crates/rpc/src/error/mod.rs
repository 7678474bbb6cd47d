//! [`Error`]: a failed call.

mod detail;
pub(crate) mod wire;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use prost::{DecodeError, Message, Name};

pub use self::detail::ErrorDetail;
use crate::Code;
use crate::metadata::Names;

/// The most bytes of the details and the metadata of an error that a server sends, names and values
/// together: 8 KiB. Fields and details beyond them are left out, details last.
pub const MAX_ERROR_METADATA_LEN: usize = 8 * 1024;

/// The longest message of an error that a server sends, in bytes: 16 KiB. A longer one is cut.
pub const MAX_ERROR_MESSAGE_LEN: usize = 16 * 1024;

/// Any error, boxed: that of a transport, or the local cause of an [`Error`].
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// A failed call: code, message, details, metadata, and locally the cause.
///
/// Code, message, details and metadata travel; the [source](StdError::source) stays in the process
/// where the error was made, so that a server can attach a cause that clients must not see. The message does not
/// contain its text: logs and programs that report the error of a failed transport print the chain of sources as well.
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
    own_metadata: HeaderMap,
    received_metadata: HeaderMap,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

macro_rules! constructors {
    ($($name:ident => $code:ident),* $(,)?) => {
        /// One constructor for each code.
        impl Error {
            $(
                #[doc = concat!("Returns an error with [`Code::", stringify!($code), "`].")]
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
    /// Returns an error with this code and this message, which are sent to the caller.
    #[must_use]
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            inner: Box::new(Inner {
                code,
                message: message.into(),
                details: Vec::new(),
                own_metadata: HeaderMap::new(),
                received_metadata: HeaderMap::new(),
                source: None,
            }),
        }
    }

    /// Returns the code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.inner.code
    }

    /// Returns the message; empty if there is none.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Returns the typed details in the order in which they were added.
    #[must_use]
    pub fn details(&self) -> &[ErrorDetail] {
        &self.inner.details
    }

    /// Returns the first detail of type `M`; `None` if there is none.
    ///
    /// ```
    /// use keyway_rpc::{Error, ErrorDetail};
    /// use prost_types::{Duration, Timestamp};
    ///
    /// let wait = Duration { seconds: 3, nanos: 0 };
    /// let error = Error::unavailable("maintenance").with_detail(ErrorDetail::new(&wait));
    /// assert_eq!(error.detail::<Duration>(), Ok(Some(wait)));
    /// assert_eq!(error.detail::<Timestamp>(), Ok(None));
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`DecodeError`] if the value of that detail is not an encoded `M`.
    pub fn detail<M: Message + Name + Default>(&self) -> Result<Option<M>, DecodeError> {
        self.details_of().next().transpose()
    }

    /// Returns all details of type `M`, each decoded when it is reached.
    pub fn details_of<M>(&self) -> impl Iterator<Item = Result<M, DecodeError>>
    where
        M: Message + Name + Default,
    {
        self.details()
            .iter()
            .filter_map(|detail| detail.decode().transpose())
    }

    /// Adds a detail. A server leaves out details that exceed [`MAX_ERROR_METADATA_LEN`].
    #[must_use]
    pub fn with_detail(mut self, detail: ErrorDetail) -> Self {
        self.inner.details.push(detail);
        self
    }

    /// Returns the metadata that a server sends with the error, as headers.
    #[must_use]
    pub fn own_metadata(&self) -> &HeaderMap {
        &self.inner.own_metadata
    }

    /// Returns the metadata that a server sends with the error, for changes. Names that belong to
    /// HTTP or to the protocol (`content-type`, `connect-*` and similar ones) are not sent, nor is what
    /// exceeds 64 fields or, with the details, [`MAX_ERROR_METADATA_LEN`].
    pub fn own_metadata_mut(&mut self) -> &mut HeaderMap {
        &mut self.inner.own_metadata
    }

    /// Returns all headers of the response that a client received, and its trailing metadata; empty
    /// for an error that was made in this process.
    ///
    /// A handler that returns the error of another call sends code, message and details, and not this
    /// metadata, because the headers of an upstream server are not meant for the caller.
    /// [`forward_metadata`](Self::forward_metadata) sends it.
    #[must_use]
    pub fn received_metadata(&self) -> &HeaderMap {
        &self.inner.received_metadata
    }

    /// Adds the [received](Self::received_metadata) metadata to the [own](Self::own_metadata) one, so
    /// that a server sends it to its own callers.
    #[must_use]
    pub fn forward_metadata(mut self) -> Self {
        for (name, value) in &self.inner.received_metadata {
            self.inner.own_metadata.append(name, value.clone());
        }
        self
    }

    /// Attaches the local cause; it is never sent, and the message need not repeat its text.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.inner.source = Some(Arc::from(source.into()));
        self
    }

    /// Replaces the code and keeps everything else.
    #[must_use]
    pub fn with_code(mut self, code: Code) -> Self {
        self.inner.code = code;
        self
    }

    /// Returns the first error of type `E` in the chain of causes below this error.
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
        self.inner.received_metadata = metadata;
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
            .field("own_metadata", &Names(&self.inner.own_metadata))
            .field("received_metadata", &Names(&self.inner.received_metadata))
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
        error.own_metadata_mut().insert("authorization", value);
        let shown = format!("{error:?}");
        assert!(shown.contains("authorization"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
