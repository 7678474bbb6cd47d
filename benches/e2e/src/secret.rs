//! The one request of the load, and the check of its response.

/// A GetSecrets request for one secret in its wire format, with the value that the response must hold.
#[derive(Debug)]
pub(crate) struct SecretRequest {
    bytes: Vec<u8>,
    value: Vec<u8>,
}

impl SecretRequest {
    /// Encodes the request for the secret `id` with the value `value`.
    ///
    /// # Panics
    ///
    /// Panics if `id` is longer than 127 bytes.
    pub(crate) fn new(id: &str, value: &[u8]) -> Self {
        assert!(id.len() < 128, "the length of the id takes one byte");
        let mut bytes = format!(
            "POST /resolver.v1.ResolverService/GetSecrets HTTP/1.1\r\nHost: unix\r\n\
             Content-Type: application/proto\r\nConnect-Protocol-Version: 1\r\nContent-Length: {}\r\n\r\n",
            id.len() + 2
        )
        .into_bytes();
        bytes.extend([0x0a, id.len() as u8]);
        bytes.extend(id.as_bytes());
        Self {
            bytes,
            value: value.to_vec(),
        }
    }

    /// Returns head and body.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns `true` if the body of a response holds exactly one secret, with the expected value.
    pub(crate) fn accepts(&self, body: &[u8]) -> bool {
        let mut envelopes = Fields(body).filter(|(number, _)| *number == 1);
        let (Some((_, envelope)), None) = (envelopes.next(), envelopes.next()) else {
            return false;
        };
        Fields(envelope).any(|(number, value)| number == 2 && value == self.value)
    }
}

/// The length-delimited fields of a protobuf message, as numbers and contents. Ends at the first field of another kind.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.varint()?;
        if key & 7 != 2 {
            return None;
        }
        let length = usize::try_from(self.varint()?).ok()?;
        let (content, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some((key >> 3, content))
    }
}

impl Fields<'_> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("a short field");
        let length = if length < 128 {
            vec![length]
        } else {
            vec![length, 1]
        };
        [&[number << 3 | 2], &length[..], content].concat()
    }

    fn envelope(value: &[u8]) -> Vec<u8> {
        let content = [field(1, b"a/b"), field(2, value), field(3, b"file")].concat();
        field(1, &content)
    }

    #[test]
    fn the_expected_value_is_accepted() {
        for value in [&b""[..], b"value", &[7; 150]] {
            assert!(SecretRequest::new("a/b", value).accepts(&envelope(value)));
        }
    }

    #[test]
    fn other_responses_are_refused() {
        let request = SecretRequest::new("a/b", b"value");
        let whole = envelope(b"value");
        let twice = [&whole[..], &whole].concat();
        let bodies = [
            &b""[..],
            &twice,
            &whole[..8],
            &envelope(b"other"),
            b"\xff\xff",
        ];
        for body in bodies {
            assert!(!request.accepts(body), "{body:?}");
        }
    }

    #[test]
    fn a_request_names_the_id() {
        let bytes = SecretRequest::new("a/b", b"value").bytes;
        assert!(bytes.ends_with(b"Content-Length: 5\r\n\r\n\x0a\x03a/b"));
    }
}
