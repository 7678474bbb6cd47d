//! The bytes of a secret.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// The bytes of a secret.
///
/// - Dropping it zeroizes its memory, spare capacity included. A clone is a second copy that is zeroized too.
/// - `Debug` prints `[redacted]`; there is no `Display` and no serialisation, so a value cannot slip into a log or
///   into JSON. [`expose`](Self::expose) is the only access to the bytes by reference, and easy to search for.
/// - The time of a comparison does not depend on where two values of one length differ. Lengths are not hidden.
///
/// Zeroizing cannot reach copies that other code made before the bytes arrived here or after `expose`, memory that
/// the kernel swapped out, and registers.
///
/// ```
/// use keyway_secrets::SecretValue;
///
/// let value = SecretValue::from("not-a-real-token");
/// assert_eq!(format!("{value:?}"), "SecretValue([redacted])");
/// assert_eq!(value.expose(), b"not-a-real-token");
/// ```
#[derive(Clone, Default)]
pub struct SecretValue(Vec<u8>);

impl SecretValue {
    /// Takes ownership of the bytes without copying them.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Returns the bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Returns the bytes without copying them. The caller is responsible for zeroizing them.
    pub fn into_bytes(mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }

    /// Returns the length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns `true` if the value has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Zeroize for SecretValue {
    fn zeroize(&mut self) {
        // `Vec::zeroize` writes elements one by one but spare capacity in one go, so clearing first is faster.
        self.0.clear();
        self.0.zeroize();
    }
}

impl Drop for SecretValue {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl zeroize::ZeroizeOnDrop for SecretValue {}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue([redacted])")
    }
}

impl PartialEq for SecretValue {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretValue {}

impl From<Vec<u8>> for SecretValue {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<String> for SecretValue {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<&[u8]> for SecretValue {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<&str> for SecretValue {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_is_redacted_in_every_format() {
        let value = SecretValue::from("canary-value");
        for text in [
            format!("{value:?}"),
            format!("{value:#?}"),
            format!("{:?}", Some(&value)),
        ] {
            assert!(
                text.contains("[redacted]") && !text.contains("canary"),
                "{text}"
            );
        }
    }

    #[test]
    fn equality_compares_the_bytes() {
        assert_eq!(SecretValue::from("a"), SecretValue::from(b"a".as_slice()));
        assert_ne!(SecretValue::from("a"), SecretValue::from("b"));
        assert_ne!(SecretValue::from("a"), SecretValue::from("aa"));
        assert_eq!(SecretValue::default(), SecretValue::from(String::new()));
    }

    #[test]
    fn zeroizing_leaves_no_byte() {
        let mut value = SecretValue::from("canary-value");
        value.zeroize();
        assert!(value.is_empty());
    }

    #[test]
    fn bytes_move_in_and_out_without_a_copy() {
        let bytes = vec![0, 159, 255];
        let address = bytes.as_ptr();
        let value = SecretValue::new(bytes);
        assert_eq!((value.expose().as_ptr(), value.len()), (address, 3));
        let bytes = value.into_bytes();
        assert_eq!(bytes.as_ptr(), address);
    }
}
