//! The limits of ids and patterns.

/// The length of the longest id or pattern, in bytes.
pub(crate) const MAX_LEN: usize = 4096;

/// The most components of an id or a pattern.
pub(crate) const MAX_COMPONENTS: usize = 128;

/// A text that exceeds the limits.
pub(crate) struct TooLong {
    pub(crate) len: usize,
    pub(crate) components: usize,
}

/// Checks the length and the number of components.
pub(crate) fn validate_size(text: &str) -> Result<(), TooLong> {
    let (len, components) = (text.len(), text.split('/').count());
    match len > MAX_LEN || components > MAX_COMPONENTS {
        true => Err(TooLong { len, components }),
        false => Ok(()),
    }
}
