//! [`Reader`]: deserializes JSON without leaving copies of its strings behind.
//!
//! `serde_json` unescapes strings in a buffer that it frees as it is. It checks the syntax here, for
//! which it copies nothing, so that this reader sees well-formed text only.

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::Error;

use crate::buffer::Zeroized;

/// Limit for the nesting of arrays and objects, which is that of `serde_json`.
const MAX_DEPTH: usize = 128;

/// A position in well-formed JSON.
pub(super) struct Reader<'de> {
    text: &'de str,
    position: usize,
    depth: usize,
}

impl<'de> Reader<'de> {
    pub(super) fn new(json: &'de [u8]) -> Result<Self, Error> {
        serde_json::from_slice::<IgnoredAny>(json)?;
        Ok(Self {
            text: std::str::from_utf8(json).map_err(Error::custom)?,
            position: 0,
            depth: 0,
        })
    }

    /// Returns the next byte that is not white space; 0 at the end.
    fn peek(&mut self) -> u8 {
        let rest = &self.text.as_bytes()[self.position..];
        let spaces = rest.iter().take_while(|byte| byte.is_ascii_whitespace());
        self.position += spaces.count();
        let next = self.text.as_bytes().get(self.position);
        next.copied().unwrap_or_default()
    }

    /// Skips the bytes for which `belongs` holds, and returns them.
    fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> &'de str {
        let rest = &self.text[self.position..];
        let end = rest.bytes().position(|byte| !belongs(byte));
        let (taken, _) = rest.split_at(end.unwrap_or(rest.len()));
        self.position += taken.len();
        taken
    }

    fn value<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        match self.peek() {
            b'"' => self.string(visitor),
            b'{' => self.nested(|reader| visitor.visit_map(Items::new(reader))),
            b'[' => self.nested(|reader| visitor.visit_seq(Items::new(reader))),
            b'-' | b'0'..=b'9' => self.number(visitor),
            _ => match self.take_while(|byte| byte.is_ascii_alphabetic()) {
                "true" => visitor.visit_bool(true),
                "false" => visitor.visit_bool(false),
                _ => visitor.visit_unit(),
            },
        }
    }

    fn nested<T>(&mut self, visit: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth == MAX_DEPTH {
            return Err(Error::custom("recursion limit exceeded"));
        }
        self.depth += 1;
        self.position += 1;
        let value = visit(self)?;
        if !matches!(self.peek(), b']' | b'}') {
            return Err(Error::custom("trailing elements"));
        }
        self.position += 1;
        self.depth -= 1;
        Ok(value)
    }

    fn number<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        let text =
            self.take_while(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
        if let Ok(number) = text.parse() {
            return visitor.visit_u64(number);
        }
        if let Ok(number) = text.parse()
            && number != 0
        {
            return visitor.visit_i64(number);
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => visitor.visit_f64(number),
            _ => Err(Error::custom("number out of range")),
        }
    }

    fn string<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        self.position += 1;
        let start = self.position;
        let plain = self.take_while(|byte| byte != b'"' && byte != b'\\');
        if self.peek_raw() == b'"' {
            self.position += 1;
            return visitor.visit_borrowed_str(plain);
        }
        while self.peek_raw() == b'\\' {
            // The escaped byte may be a quote, and is never the first of several.
            self.position += 2;
            self.take_while(|byte| byte != b'"' && byte != b'\\');
        }
        let escaped = &self.text[start..self.position];
        self.position += 1;
        let text = unescape(escaped)?;
        visitor.visit_str(std::str::from_utf8(&text).map_err(Error::custom)?)
    }

    fn peek_raw(&self) -> u8 {
        let next = self.text.as_bytes().get(self.position);
        next.copied().unwrap_or_default()
    }

    /// Adds the place to an error of a visitor.
    fn locate(&self, error: Error) -> Error {
        if error.line() > 0 {
            return error;
        }
        let before = &self.text[..self.position.min(self.text.len())];
        let line = 1 + before.matches('\n').count();
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
        // `serde_json` reads the place from this text.
        Error::custom(format_args!("{error} at line {line} column {column}"))
    }
}

/// Returns the text of a string with escapes, which is not longer than they are.
fn unescape(escaped: &str) -> Result<Zeroized, Error> {
    let mut text = Zeroized(Vec::with_capacity(escaped.len()));
    let mut rest = escaped;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.extend_from_slice(plain.as_bytes());
        let (character, after) = character(escape)?;
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = after;
    }
    text.extend_from_slice(rest.as_bytes());
    Ok(text)
}

/// Returns the character of an escape without its backslash, and the text after it.
fn character(escape: &str) -> Result<(char, &str), Error> {
    let mut characters = escape.chars();
    let character = match characters.next() {
        Some('b') => '\u{8}',
        Some('f') => '\u{c}',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some('u') => return unicode(characters.as_str()),
        Some(same) => same,
        None => return Err(Error::custom("incomplete escape")),
    };
    Ok((character, characters.as_str()))
}

fn unicode(digits: &str) -> Result<(char, &str), Error> {
    let (first, after) = unit(digits)?;
    let pair = after
        .strip_prefix("\\u")
        .and_then(|digits| unit(digits).ok());
    let (units, after) = match pair {
        Some((second, after)) if (0xd800..0xdc00).contains(&first) => (vec![first, second], after),
        _ => (vec![first], after),
    };
    match char::decode_utf16(units).next() {
        Some(Ok(character)) => Ok((character, after)),
        _ => Err(Error::custom("lone surrogate in hex escape")),
    }
}

/// Returns a UTF-16 unit of four hexadecimal digits.
fn unit(digits: &str) -> Result<(u16, &str), Error> {
    let (digits, after) = digits
        .split_at_checked(4)
        .ok_or_else(|| Error::custom("incomplete escape"))?;
    let unit = u16::from_str_radix(digits, 16).map_err(Error::custom)?;
    Ok((unit, after))
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.value(visitor).map_err(|error| self.locate(error))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.peek() {
            b'n' => self.deserialize_any(visitor),
            _ => visitor.visit_some(self),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The elements of an array, or the keys and values of an object.
struct Items<'a, 'de> {
    reader: &'a mut Reader<'de>,
}

impl<'a, 'de> Items<'a, 'de> {
    fn new(reader: &'a mut Reader<'de>) -> Self {
        Self { reader }
    }

    /// Returns `true` if another item comes.
    fn has_next(&mut self) -> bool {
        if self.reader.peek() == b',' {
            self.reader.position += 1;
            self.reader.peek();
        }
        !matches!(self.reader.peek(), b']' | b'}' | 0)
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        match self.has_next() {
            true => seed.deserialize(&mut *self.reader).map(Some),
            false => Ok(None),
        }
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = Error;

    fn next_key_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        self.reader.peek();
        self.reader.position += ":".len();
        seed.deserialize(&mut *self.reader)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;
    use serde_json::Value;

    use super::*;

    fn read(json: &str) -> Result<Value, Error> {
        Value::deserialize(&mut Reader::new(json.as_bytes())?)
    }

    #[test]
    fn well_formed_text_reads_as_serde_json_reads_it() {
        let texts = [
            " null ",
            "true",
            "[false, [], {}, [ ] , { } ]",
            r#"{"a": [1, -2, 3.5, 1e3, -0, 18446744073709551615, -9223372036854775808]}"#,
            r#"{ "k" :"plain", "\u0041\n":"a\"b\\c\/d\b\f\n\r\te", "\"":"\\" }"#,
            r#"["\u00e4\ud83d\ude00x", "ä😀", "\u0000", ""]"#,
            "[0.1, 123456789012345678901234567890, 5e-324, 1.7976931348623157e308]",
            "\r\n\t[ 1\n,2 ]\n",
        ];
        for text in texts {
            let expected: Value = serde_json::from_str(text).expect(text);
            assert_eq!(read(text).expect(text), expected, "{text}");
        }
    }

    #[test]
    fn malformed_text_is_the_error_of_serde_json() {
        let texts = [
            "",
            "{",
            "[1,]",
            "{\"a\"}",
            "{\"a\":}",
            "nul",
            "01",
            "1.",
            "\"",
            "\"\\x\"",
            "\"\\u12\"",
            "[1] 2",
            "\"\n\"",
            "+1",
            "{1:2}",
            "[1 2]",
        ];
        for text in texts {
            let expected = serde_json::from_str::<IgnoredAny>(text).expect_err(text);
            let error = read(text).expect_err(text);
            assert_eq!(error.to_string(), expected.to_string(), "{text}");
        }
    }

    #[test]
    fn valid_syntax_without_a_value_is_an_error() {
        let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
        let texts = [
            r#""\ud800""#,
            r#""\udc00x""#,
            r#""\ud800\u0041""#,
            "1e999",
            "-1e999",
            &deep,
        ];
        for text in texts {
            assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
            assert!(read(text).is_err(), "{text}");
        }
        assert!(Reader::new(b"\"\xff\"").is_err());
        let allowed = "[".repeat(MAX_DEPTH - 1) + &"]".repeat(MAX_DEPTH - 1);
        assert!(read(&allowed).is_ok());
    }

    #[test]
    fn errors_of_values_name_their_place() {
        let text = "{\"a\": 1,\n \"b\": {\"c\": []}}";
        let mut reader = Reader::new(text.as_bytes()).expect("well-formed");
        let read = std::collections::HashMap::<String, u32>::deserialize(&mut reader);
        let error = read.expect_err("the second value is an object");
        assert_eq!(error.line(), 2, "{error}");
        assert!(error.column() > 5, "{error}");
    }
}
