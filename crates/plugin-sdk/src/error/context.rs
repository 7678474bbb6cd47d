//! A kind and a message for any other error.

use std::borrow::Cow;
use std::error::Error as StdError;

use super::ProviderError;

macro_rules! methods {
    ($($(#[doc = $doc:literal])* $method:ident, $constructor:ident;)*) => {
        /// Converts any error into a [`ProviderError`] with a kind and a message of the author's. The error itself is written to
        /// the plugin's own log at DEBUG and never sent.
        ///
        /// ```
        /// use keyway_plugin_sdk::{ErrorKind, ProviderError, ResultExt};
        ///
        /// fn first_line(command: std::io::Result<Vec<u8>>) -> Result<String, ProviderError> {
        ///     let output = command.or_unavailable("cannot run `vault`")?;
        ///     let text = String::from_utf8(output).or_internal("the output of `vault` is not text")?;
        ///     Ok(text.lines().next().unwrap_or_default().to_owned())
        /// }
        ///
        /// let error = first_line(Err(std::io::ErrorKind::NotFound.into())).unwrap_err();
        /// assert_eq!((error.kind(), error.message()), (ErrorKind::Unavailable, "cannot run `vault`"));
        /// ```
        pub trait ResultExt<T>: Sized {
            $(
                $(#[doc = $doc])*
                ///
                /// # Errors
                ///
                #[doc = concat!("Returns [`ProviderError::", stringify!($constructor), "`] with `message` if this is an error.")]
                fn $method(self, message: impl Into<Cow<'static, str>>) -> Result<T, ProviderError>;
            )*
        }

        impl<T, E: Into<Box<dyn StdError + Send + Sync>>> ResultExt<T> for Result<T, E> {
            $(
                fn $method(self, message: impl Into<Cow<'static, str>>) -> Result<T, ProviderError> {
                    self.map_err(|error| ProviderError::$constructor(message).with_source(error))
                }
            )*
        }
    };
}

methods! {
    /// Maps an error to: the store does not give this secret to this user.
    or_denied, denied;
    /// Maps an error to: the provider is misconfigured.
    or_fatal, fatal;
    /// Maps an error to: the provider failed.
    or_internal, internal;
    /// Maps an error to: the store cannot hold a secret with this id.
    or_invalid, invalid;
    /// Maps an error to: the store is locked.
    or_locked, locked;
    /// Maps an error to: the user is needed, and prompts are forbidden.
    or_needs_user, needs_user;
    /// Maps an error to: no secret matches.
    or_not_found, not_found;
    /// Maps an error to: the store's quota is exhausted.
    or_quota, quota;
    /// Maps an error to: the store took too long.
    or_timed_out, timed_out;
    /// Maps an error to: the provider is not logged in at its store.
    or_unauthenticated, unauthenticated;
    /// Maps an error to: the store cannot be reached now.
    or_unavailable, unavailable;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn the_message_is_the_authors_and_the_error_is_the_source() {
        let foreign = || "\"hunter2\"".parse::<u32>().map_err(|_| "canary");
        let error = foreign().or_internal("cannot parse the index").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert_eq!(error.to_string(), "cannot parse the index");
        assert_eq!(
            error.source().map(ToString::to_string).as_deref(),
            Some("canary")
        );
        let locked = foreign().or_locked("the vault is locked").unwrap_err();
        assert_eq!(locked.kind(), ErrorKind::Locked);
    }
}
