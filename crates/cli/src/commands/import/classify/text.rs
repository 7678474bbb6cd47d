//! What the text of a value says, without its name.

use std::ops::Range;

use zeroize::Zeroizing;

use super::tokens::token_kind;
use crate::reference::{self, lookalike};

/// The least length in bytes of a text that is taken for random.
const MIN_RANDOM_LEN: usize = 20;
/// The least entropy of a random text, in bits per byte. Text of 20 random characters of base64 has 3.9 on average.
const MIN_ENTROPY: f64 = 3.4;
/// The same for hexadecimal digits, which have at most 4.
const MIN_HEX_ENTROPY: f64 = 3.0;

/// Words that switch something.
const SWITCHES: [&str; 10] = [
    "true", "false", "yes", "no", "on", "off", "none", "null", "enabled", "disabled",
];

/// Words of values that stand for a secret in examples.
const PLACEHOLDERS: [&str; 12] = [
    "changeme",
    "change-me",
    "change_me",
    "your-",
    "your_",
    "example",
    "placeholder",
    "replace",
    "insert",
    "xxxx",
    "todo",
    "dummy-value",
];

/// Returns why a value is not a secret whatever its name, if that is certain.
pub(super) fn certain_setting(value: &[u8]) -> Option<&'static str> {
    let text = value.trim_ascii();
    if text.is_empty() {
        return Some("empty");
    }
    let lower = Zeroizing::new(text.to_ascii_lowercase());
    if SWITCHES.iter().any(|word| *lower == word.as_bytes()) {
        return Some("a switch");
    }
    match () {
        () if text == b"x-oauth-basic" => Some("a fixed word"),
        () if reference::scan(text).next().is_some() => Some("a reference already"),
        () if lookalike::find(text).is_some() => Some("a reference of another store"),
        () if text.starts_with(b"-----BEGIN ") && !contains(text, b"PRIVATE KEY") => {
            Some("a public key or certificate")
        }
        () if lower.starts_with(b"pk_live_") || lower.starts_with(b"pk_test_") => {
            Some("a public key")
        }
        () if [&b"ssh-"[..], b"ecdsa-"]
            .iter()
            .any(|start| text.starts_with(start))
            && text.contains(&b' ') =>
        {
            Some("a public key")
        }
        () => None,
    }
}

/// Returns why a URL is not a secret.
pub(super) fn url_setting(value: &[u8]) -> Option<&'static str> {
    let authority = authority(value)?;
    // A webhook, or a signed URL.
    let parts = value[authority.end..].split(|byte| b"/?&=".contains(byte));
    let has_random_part = parts.into_iter().any(is_random);
    (!holds_password(value) && !has_random_part).then_some("a URL without a password")
}

/// Returns `true` if the text is a URL or a connection string with a password in it.
pub(super) fn holds_password(value: &[u8]) -> bool {
    let user = authority(value).and_then(|authority| {
        let authority = &value[authority];
        let at = authority.iter().rposition(|byte| *byte == b'@')?;
        Some(&authority[..at])
    });
    let is_user_secret = user.is_some_and(|user| token_kind(user).is_some() || is_random(user));
    if is_user_secret || url_password(value).is_some() {
        return true;
    }
    let parts = value.split(|byte| b";&? ".contains(byte));
    let names = [
        &b"password"[..],
        b"pwd",
        b"accountkey",
        b"sharedaccesskey",
        b"api_key",
        b"apikey",
        b"access_token",
        b"sig",
    ];
    parts.into_iter().any(|part| {
        let equals = part.iter().position(|byte| *byte == b'=');
        let is_password = |equals: usize| {
            let is_name = |name: &&[u8]| part[..equals].eq_ignore_ascii_case(name);
            equals + 1 < part.len() && names.iter().any(is_name)
        };
        equals.is_some_and(is_password)
    })
}

/// Returns the bytes of the password in `SCHEME://USER:PASSWORD@HOST`.
pub(in super::super) fn url_password(value: &[u8]) -> Option<Range<usize>> {
    let authority = authority(value)?;
    let text = &value[authority.clone()];
    let at = text.iter().rposition(|byte| *byte == b'@')?;
    let colon = text[..at].iter().position(|byte| *byte == b':')?;
    let is_reference = reference::scan(value).next().is_some();
    (colon + 1 < at && !is_reference).then_some(authority.start + colon + 1..authority.start + at)
}

/// Returns the bytes between `SCHEME://` at the beginning and the path.
fn authority(value: &[u8]) -> Option<Range<usize>> {
    let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+.-".contains(byte);
    let scheme = value
        .iter()
        .position(|byte| !is_scheme(byte))
        .filter(|len| *len > 0)?;
    let rest = value[scheme..].strip_prefix(b"://")?;
    let start = value.len() - rest.len();
    let len = rest
        .iter()
        .position(|byte| b"/?#".contains(byte))
        .unwrap_or(rest.len());
    Some(start..start + len)
}

/// Returns why a value with the name of a secret is not one.
pub(super) fn placeholder(value: &[u8]) -> Option<&'static str> {
    let lower = Zeroizing::new(value.trim_ascii().to_ascii_lowercase());
    let is_in_brackets = matches!(
        lower.as_slice(),
        [b'<', .., b'>'] | [b'[', .., b']'] | [b'{', .., b'}']
    );
    let is_placeholder = PLACEHOLDERS
        .iter()
        .any(|word| contains(&lower, word.as_bytes()));
    let is_repeated = lower.len() > 2
        && lower
            .iter()
            .all(|byte| *byte == lower[0] && b"x*.-_".contains(byte));
    if is_in_brackets || is_repeated || is_placeholder && !is_random(value) {
        return Some("a placeholder");
    }
    is_path(&lower).then_some("a path")
}

/// Returns what a value looks like that is not a secret.
pub(super) fn plain_setting(value: &[u8]) -> &'static str {
    let text = value.trim_ascii();
    match () {
        () if text.iter().all(u8::is_ascii_digit) => "a number",
        () if is_path(text) => "a path",
        () if is_host(text) => "a host",
        () if authority(text).is_some() => "a URL with random text",
        () => "no sign of a secret",
    }
}

/// Returns `true` for text that a random generator may have made: long, without words, and of high entropy.
pub(super) fn is_random(value: &[u8]) -> bool {
    let text = value.trim_ascii();
    if text.len() < MIN_RANDOM_LEN
        || !text
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+/=_-.~".contains(byte))
    {
        return false;
    }
    if is_path(text) || is_uuid(text) || is_host(text) {
        return false;
    }
    let n_digits = text.iter().filter(|byte| byte.is_ascii_digit()).count();
    let n_letters = text
        .iter()
        .filter(|byte| byte.is_ascii_alphabetic())
        .count();
    if n_digits == 0 || n_letters == 0 {
        return false;
    }
    match text.iter().all(u8::is_ascii_hexdigit) {
        true => text.len() >= 32 && entropy(text) >= MIN_HEX_ENTROPY,
        false => entropy(text) >= MIN_ENTROPY && !is_of_words(text),
    }
}

/// Returns `true` if separators split the text into parts that are each either letters of one case or digits, such as
/// `my-service-name-2024-us-east-1`.
fn is_of_words(text: &[u8]) -> bool {
    let mut parts = text
        .split(|byte| b"-_./=+~".contains(byte))
        .filter(|part| !part.is_empty());
    let is_word = |part: &[u8]| {
        let letters = part
            .iter()
            .position(u8::is_ascii_digit)
            .unwrap_or(part.len());
        let (word, number) = part.split_at(letters);
        let has_one_case = word.iter().skip(1).all(u8::is_ascii_lowercase)
            || word.iter().all(u8::is_ascii_uppercase);
        has_one_case
            && word.len() <= 16
            && number.iter().all(u8::is_ascii_digit)
            && number.len() <= 8
    };
    parts.all(is_word)
}

fn is_path(text: &[u8]) -> bool {
    [&b"/"[..], b"./", b"../", b"~/"]
        .iter()
        .any(|start| text.starts_with(start))
        && !text.ends_with(b"=")
}

fn is_uuid(text: &[u8]) -> bool {
    let parts: Vec<usize> = text.split(|byte| *byte == b'-').map(<[u8]>::len).collect();
    parts == [8, 4, 4, 4, 12]
        && text
            .iter()
            .all(|byte| byte.is_ascii_hexdigit() || *byte == b'-')
}

fn is_host(text: &[u8]) -> bool {
    let labels: Vec<&[u8]> = text.split(|byte| *byte == b'.').collect();
    let is_label = |label: &&[u8]| {
        !label.is_empty()
            && label
                .iter()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
    };
    labels.len() >= 3
        && labels.iter().all(is_label)
        && labels
            .last()
            .is_some_and(|last| last.iter().all(u8::is_ascii_alphabetic))
}

/// Returns the entropy of the bytes in bits per byte.
fn entropy(text: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text {
        counts[usize::from(*byte)] += 1;
    }
    let len = f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
    let frequencies = counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / len);
    -frequencies
        .map(|frequency| frequency * frequency.log2())
        .sum::<f64>()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
