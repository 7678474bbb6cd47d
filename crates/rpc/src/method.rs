//! [`MethodSpec`]: the constant facts of a method.

use std::fmt;

use crate::Error;

/// The effect of a repeated call of a method, as its `.proto` file declares it with
/// `option idempotency_level`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(
    clippy::exhaustive_enums,
    reason = "descriptor.proto fixes the three levels"
)]
pub enum Idempotency {
    /// Nothing is declared.
    #[default]
    Unknown,
    /// A call changes nothing, so that it may use GET and be cached and repeated.
    NoSideEffects,
    /// A repeated call changes nothing more, so that it may be repeated.
    Idempotent,
}

/// The constant facts of one unary method. Generated code holds one for each method.
///
/// ```
/// use keyway_rpc::{Idempotency, MethodSpec};
///
/// static SAY: MethodSpec =
///     MethodSpec::unary("/greet.v1.Greeter/Say").with_idempotency(Idempotency::NoSideEffects);
/// assert_eq!(SAY.service(), "greet.v1.Greeter");
/// assert_eq!(SAY.method(), "Say");
/// ```
#[derive(Clone, Copy)]
pub struct MethodSpec {
    path: &'static str,
    idempotency: Idempotency,
    sensitive: bool,
    max_request_size: Option<usize>,
    #[cfg(feature = "json")]
    descriptors: Option<&'static crate::json::Descriptors>,
}

impl MethodSpec {
    /// Returns a unary method at this path, which has the form `/package.Service/Method`.
    ///
    /// # Panics
    ///
    /// If the path has another form. In a `static` or `const` that is a compile error.
    #[must_use]
    pub const fn unary(path: &'static str) -> Self {
        let slash = last_slash(path);
        assert!(
            path.as_bytes()[0] == b'/' && slash > 1 && slash + 1 < path.len(),
            "the path of a method has the form /package.Service/Method"
        );
        Self {
            path,
            idempotency: Idempotency::Unknown,
            sensitive: false,
            max_request_size: None,
            #[cfg(feature = "json")]
            descriptors: None,
        }
    }

    /// Declares whether calls may be repeated.
    #[must_use]
    pub const fn with_idempotency(mut self, idempotency: Idempotency) -> Self {
        self.idempotency = idempotency;
        self
    }

    /// Declares that requests or responses carry secret values: the buffers that this crate makes
    /// for them are zeroed when they are dropped.
    #[must_use]
    pub const fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    /// Limits requests to `bytes` bytes after decompression, whatever
    /// [`Router::max_message_size`](crate::Router::max_message_size) says.
    #[must_use]
    pub const fn with_max_request_size(mut self, bytes: usize) -> Self {
        self.max_request_size = Some(bytes);
        self
    }

    /// Adds the descriptors of the types of request and response, without which the method cannot
    /// be called with JSON.
    #[cfg(feature = "json")]
    #[must_use]
    pub const fn with_descriptors(
        mut self,
        descriptors: &'static crate::json::Descriptors,
    ) -> Self {
        self.descriptors = Some(descriptors);
        self
    }

    /// Returns the path: `/package.Service/Method`.
    #[must_use]
    pub const fn path(&self) -> &'static str {
        self.path
    }

    /// Returns the full name of the service: `package.Service`.
    #[must_use]
    pub fn service(&self) -> &'static str {
        &self.path[1..last_slash(self.path)]
    }

    /// Returns the name of the method alone: `Method`.
    #[must_use]
    pub fn method(&self) -> &'static str {
        &self.path[last_slash(self.path) + 1..]
    }

    /// Returns whether calls may be repeated.
    #[must_use]
    pub const fn idempotency(&self) -> Idempotency {
        self.idempotency
    }

    /// Returns `true` if requests or responses carry secret values.
    #[must_use]
    pub const fn is_sensitive(&self) -> bool {
        self.sensitive
    }

    /// Returns the limit of requests in bytes after decompression; `None` if the router's counts.
    #[must_use]
    pub const fn max_request_size(&self) -> Option<usize> {
        self.max_request_size
    }

    pub(crate) const fn allows_get(&self) -> bool {
        matches!(self.idempotency, Idempotency::NoSideEffects)
    }

    #[cfg(feature = "json")]
    pub(crate) const fn descriptors(&self) -> Option<&'static crate::json::Descriptors> {
        self.descriptors
    }
}

impl Error {
    /// Returns the error of a method that an implementation of a generated trait leaves out.
    #[doc(hidden)]
    #[must_use]
    pub fn method_unimplemented(spec: &MethodSpec) -> Self {
        let (service, method) = (spec.service(), spec.method());
        Self::unimplemented(format!("{service}.{method} is not implemented"))
    }
}

impl fmt::Debug for MethodSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MethodSpec")
            .field("path", &self.path)
            .field("idempotency", &self.idempotency)
            .field("sensitive", &self.sensitive)
            .field("max_request_size", &self.max_request_size)
            .finish_non_exhaustive()
    }
}

const fn last_slash(path: &str) -> usize {
    let bytes = path.as_bytes();
    let mut index = bytes.len();
    while index > 0 {
        index -= 1;
        if bytes[index] == b'/' {
            return index;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_cut_at_its_last_slash() {
        let spec = MethodSpec::unary("/a.b.C/D");
        assert_eq!((spec.service(), spec.method()), ("a.b.C", "D"));
    }

    #[test]
    fn other_paths_are_refused() {
        for path in ["/C", "//D", "C/D", "/C/", "/"] {
            let made = std::panic::catch_unwind(|| MethodSpec::unary(path));
            assert!(made.is_err(), "{path}");
        }
    }
}
