//! `.git-credentials`: one URL with a user and a password a line.

use std::ops::Range;

use keyway_secrets::SecretValue;
use zeroize::Zeroizing;

use super::lines::lines;
use super::{Field, FormatError, Parsed, Replacement, Role};
use crate::commands::import::classify;

/// Finds the password of each URL. git ignores lines without one, so a line whose password was removed may stay.
pub(super) fn parse(text: &[u8]) -> Result<Parsed, FormatError> {
    let mut parsed = Parsed::default();
    for line in lines(text) {
        let Some(url) = Url::parse(text, line.span) else {
            continue;
        };
        let user = decoded(&text[url.user.clone()]);
        let user_text = String::from_utf8_lossy(&user).into_owned();
        let is_user_token = classify::token_kind(&user).is_some();
        let host = String::from_utf8_lossy(&text[url.host.clone()]).into_owned();
        let password = decoded(&text[url.password.clone()]);
        let mut path = vec!["git".to_owned(), host.clone()];
        path.extend((!is_user_token).then(|| user_text.clone()));
        let (name, value, span) = match is_user_token {
            true => (
                format!("token of {host}"),
                user,
                url.user.start..url.password.end + 1,
            ),
            false => (
                format!("password of {user_text} at {host}"),
                password,
                url.user.end..url.password.end,
            ),
        };
        parsed.fields.push(Field {
            line: line.number,
            name,
            key: "password".to_owned(),
            path,
            id: None,
            value: SecretValue::from(value.as_slice()),
            role: Role::Secret("a password"),
            spans: vec![span],
            replacement: Replacement::Nothing,
        });
    }
    Ok(parsed)
}

/// The parts of `SCHEME://USER:PASSWORD@HOST`, as bytes of the file.
struct Url {
    user: Range<usize>,
    password: Range<usize>,
    host: Range<usize>,
}

impl Url {
    fn parse(text: &[u8], line: Range<usize>) -> Option<Self> {
        let url = &text[line.clone()];
        let scheme_end = url.windows(3).position(|three| three == b"://")? + 3;
        let rest = &url[scheme_end..];
        let authority = rest
            .iter()
            .position(|byte| *byte == b'/')
            .unwrap_or(rest.len());
        let at = rest[..authority].iter().rposition(|byte| *byte == b'@')?;
        let colon = rest[..at].iter().position(|byte| *byte == b':')?;
        let start = line.start + scheme_end;
        let url = Self {
            user: start..start + colon,
            password: start + colon + 1..start + at,
            host: start + at + 1..start + authority,
        };
        (!url.password.is_empty() && !url.host.is_empty()).then_some(url)
    }
}

/// Decodes `%XX`, as git does.
fn decoded(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut result = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|pair| str::from_utf8(pair).ok());
        let code = digits.filter(|pair| pair.bytes().all(|c| c.is_ascii_hexdigit()));
        match code.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(code) if *byte == b'%' => {
                result.push(code);
                rest = &tail[2..];
            }
            _ => {
                result.push(*byte);
                rest = tail;
            }
        }
    }
    result
}
