//! Tells secrets from settings, by the name and the text of a value. Says why, and prints no part of the value.

mod names;
mod text;
mod tokens;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::reference;

pub(super) use names::is_secret_name;
pub(super) use text::url_password;
pub(super) use tokens::{find_token, token_kind};

/// What a value is, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The value is a secret.
    Secret(Cow<'static, str>),
    /// The value is not a secret.
    Setting(&'static str),
}

/// Classifies a value by the name that it has in its file.
pub(super) fn classify(name: &str, value: &[u8]) -> Verdict {
    if let Some(reason) = text::certain_setting(value) {
        return Verdict::Setting(reason);
    }
    if let Some(kind) = token_kind(value) {
        return Verdict::Secret(Cow::Borrowed(kind));
    }
    if let Some(reason) = text::url_setting(value) {
        return Verdict::Setting(reason);
    }
    if text::holds_password(value) {
        return Verdict::Secret(Cow::Borrowed("holds a password"));
    }
    if let Some(reason) = names::setting_name(name) {
        return Verdict::Setting(reason);
    }
    if let Some(word) = names::secret_word(name) {
        return match text::placeholder(value) {
            Some(reason) => Verdict::Setting(reason),
            None => Verdict::Secret(Cow::Owned(format!("named {word}"))),
        };
    }
    match text::is_random(value) {
        true => Verdict::Secret(Cow::Borrowed("random text")),
        false => Verdict::Setting(text::plain_setting(value)),
    }
}

/// Returns `true` if the value refers to a secret.
pub(super) fn is_reference(value: &[u8]) -> bool {
    reference::scan(value).next().is_some()
}

/// Returns `true` if the value is not a secret whatever its name and its format.
pub(super) fn is_certain_setting(value: &[u8]) -> bool {
    text::certain_setting(value).is_some()
}
