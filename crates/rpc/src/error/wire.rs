//! The JSON form of an error, which is the body of a failed Connect call, within its limits.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, STANDARD_PAD_INDIFFERENT};
use serde::Serialize;
use serde_json::Value;

use super::{Error, ErrorDetail, MAX_ERROR_MESSAGE_LEN, MAX_ERROR_METADATA_LEN};
use crate::Code;

#[derive(Serialize)]
struct WireError<'a> {
    code: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<WireDetail<'a>>,
}

#[derive(Serialize)]
struct WireDetail<'a> {
    r#type: &'a str,
    value: String,
}

/// An error object, and the parts of the error that the limits cut.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) json: Vec<u8>,
    /// Limit for the bytes of metadata that accompany the details.
    pub(crate) metadata_len: usize,
    /// `true` if the message was cut.
    pub(crate) is_cut: bool,
    /// Number of details that did not fit.
    pub(crate) details_left_out: usize,
}

/// Writes the error object. Keys without content are left out, values are unpadded base64, and no
/// `debug` is written. The message and the details are cut to their limits.
pub(crate) fn to_json(error: &Error) -> Written {
    let message = cut(error.message());
    let (mut details, mut metadata_len) = (Vec::new(), MAX_ERROR_METADATA_LEN);
    for detail in error.details() {
        let len = detail.type_name().len() + detail.value().len();
        if let Some(left) = metadata_len.checked_sub(len) {
            metadata_len = left;
            details.push(WireDetail {
                r#type: detail.type_name(),
                value: STANDARD_NO_PAD.encode(detail.value()),
            });
        }
    }
    let details_left_out = error.details().len() - details.len();
    let wire = WireError {
        code: error.code().as_str(),
        message,
        details,
    };
    Written {
        json: serde_json::to_vec(&wire).expect("strings always serialize"),
        metadata_len,
        is_cut: message.len() < error.message().len(),
        details_left_out,
    }
}

/// The longest part of a message within the limit.
fn cut(message: &str) -> &str {
    let end = message.floor_char_boundary(MAX_ERROR_MESSAGE_LEN);
    message.get(..end).unwrap_or_default()
}

/// Reads an error object. `inferred` is the code of the HTTP status; it replaces a code that is
/// missing, null or unknown, while message and details are kept.
///
/// Returns `None` if the body is not a JSON object, or one of its parts has the wrong shape, so that
/// nothing in it can be trusted.
pub(crate) fn from_json(body: &[u8], inferred: Code) -> Option<Error> {
    let Value::Object(mut object) = serde_json::from_slice(body).ok()? else {
        return None;
    };
    let code = match object.get("code") {
        None | Some(Value::Null) => inferred,
        Some(Value::String(name)) => Code::from_str(name).unwrap_or(inferred),
        Some(_) => return None,
    };
    let message = match object.remove("message") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(message)) => message,
        Some(_) => return None,
    };
    let mut error = Error::new(code, message);
    error.set_details(details(object.remove("details"))?);
    Some(error)
}

fn details(value: Option<Value>) -> Option<Vec<ErrorDetail>> {
    match value {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(list)) => list.into_iter().map(detail).collect(),
        Some(_) => None,
    }
}

/// Keys other than `type` and `value`, such as `debug`, are ignored, as the protocol demands.
fn detail(value: Value) -> Option<ErrorDetail> {
    let type_name = value.get("type")?.as_str()?;
    let type_name = type_name.rsplit('/').next()?.to_owned();
    let value = match value.get("value") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => STANDARD_PAD_INDIFFERENT.decode(text).ok()?,
        Some(_) => return None,
    };
    Some(ErrorDetail::from_parts(type_name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(error: &Error) -> String {
        String::from_utf8(to_json(error).json).expect("JSON is UTF-8")
    }

    #[test]
    fn empty_keys_are_left_out() {
        assert_eq!(json(&Error::aborted("")), r#"{"code":"aborted"}"#);
    }

    #[test]
    fn values_are_unpadded_and_type_names_bare() {
        let error = Error::not_found("gone").with_detail(ErrorDetail::from_parts("a.B", vec![1]));
        assert_eq!(
            json(&error),
            r#"{"code":"not_found","message":"gone","details":[{"type":"a.B","value":"AQ"}]}"#
        );
    }

    #[test]
    fn an_unusable_code_is_inferred_and_the_rest_is_kept() {
        for code in ["", r#""code":null,"#, r#""code":"code_17","#] {
            let body =
                format!(r#"{{{code}"message":"m","details":[{{"type":"a.B","value":"AQ=="}}]}}"#);
            let error = from_json(body.as_bytes(), Code::Unavailable).expect("an error object");
            assert_eq!(error.code(), Code::Unavailable, "{body}");
            assert_eq!(error.message(), "m");
            assert_eq!(error.details()[0].value().as_ref(), [1]);
        }
    }

    #[test]
    fn unknown_keys_are_ignored() {
        let body = br#"{"code":"internal","x":[1],"details":[{"type":"a.B","debug":"?","y":{}}]}"#;
        let error = from_json(body, Code::Unknown).expect("an error object");
        assert_eq!(error.code(), Code::Internal);
        assert_eq!(error.details()[0].type_name(), "a.B");
    }

    #[test]
    fn a_body_of_another_shape_is_not_an_error_object() {
        let bodies: [&[u8]; 8] = [
            b"",
            b"null",
            b"[]",
            b"\"oops\"",
            br#"{"code":3}"#,
            br#"{"message":{}}"#,
            br#"{"details":[{"value":"AQ"}]}"#,
            br#"{"details":[{"type":"a","value":"!"}]}"#,
        ];
        for body in bodies {
            assert!(from_json(body, Code::Unknown).is_none(), "{body:?}");
        }
    }
}
