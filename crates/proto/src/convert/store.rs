//! Requests that write: the value moves and is not copied.

use keyway_secrets::{Id, SecretValue};

use crate::keyway::store::v1::{DockerSecret, SetRequest};

impl SetRequest {
    /// Creates a request that stores `value` under `id`, whatever the current version is. The value moves and is not copied.
    pub fn of(id: &Id, value: SecretValue) -> Self {
        let mut request = Self::default();
        request.id = Some(id.to_string());
        request.value = Some(value.into_bytes());
        request
    }

    /// Takes the value out of the request, which is then empty; an absent one is empty.
    pub fn take_value(&mut self) -> SecretValue {
        SecretValue::new(self.value.take().unwrap_or_default())
    }
}

/// Zeroes the value, so that a message that is dropped leaves no copy behind.
impl Drop for SetRequest {
    fn drop(&mut self) {
        super::zeroize_value(&mut self.value);
    }
}

impl DockerSecret {
    /// Converts into the request of `Set`. The value moves and is not copied; `None` if the secret has none.
    pub fn take_set_request(&mut self) -> Option<SetRequest> {
        let mut request = SetRequest::default();
        request.id = self.id.take();
        request.value = Some(self.value.take()?.into_bytes());
        request.metadata = std::mem::take(&mut self.metadata);
        Some(request)
    }
}

/// As [`SetRequest`].
impl Drop for DockerSecret {
    fn drop(&mut self) {
        super::zeroize_value(&mut self.value.take().map(String::into_bytes));
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    fn request() -> SetRequest {
        SetRequest::of(&"demo/token".parse().unwrap(), "canary-value".into())
    }

    #[test]
    fn the_value_moves_through_a_request_and_is_not_copied() {
        let value = SecretValue::from("canary-value");
        let address = value.expose().as_ptr();
        let mut request = SetRequest::of(&"demo/token".parse().unwrap(), value);
        assert_eq!(request.value.as_ref().unwrap().as_ptr(), address);
        let value = request.take_value();
        assert_eq!(value.expose().as_ptr(), address);
        assert!(request.take_value().is_empty());
    }

    #[test]
    fn debug_of_a_request_with_a_value_is_redacted() {
        for text in [format!("{:?}", request()), format!("{:#?}", request())] {
            assert!(
                text.contains("demo/token") && text.contains("[redacted]"),
                "{text}"
            );
            let bytes = format!("{:?}", b"canary-value");
            assert!(
                !text.contains("canary") && !text.contains(bytes.trim_matches(['[', ']'])),
                "{text}"
            );
        }
    }

    #[cfg(any(feature = "client", feature = "server"))]
    #[test]
    fn a_request_with_a_value_may_have_the_length_of_a_request_that_writes() {
        use crate::keyway::store::v1::store_service_methods as methods;
        use crate::limits::{MAX_VALUE_LEN, MAX_WRITE_REQUEST_LEN};

        assert_eq!(methods::SET.max_request_size(), Some(MAX_WRITE_REQUEST_LEN));
        assert_eq!(methods::RESTORE.max_request_size(), None);
        const { assert!(MAX_WRITE_REQUEST_LEN > MAX_VALUE_LEN) }
    }

    #[test]
    fn an_absent_and_an_empty_expected_version_differ_on_the_wire() {
        let mut expects_none = request();
        expects_none.expected_version = Some(String::new());
        for request in [request(), expects_none] {
            let read = SetRequest::decode(request.encode_to_vec().as_slice()).unwrap();
            assert_eq!(read, request);
        }
    }
}
