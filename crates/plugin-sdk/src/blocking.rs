//! Work that blocks its thread.

use crate::ProviderError;

/// Runs what blocks (a slow disk, a C library, a command) on another thread and waits for its result.
///
/// At most [`MAX_BLOCKING`](crate::MAX_BLOCKING) such threads run at a time; further work waits for one.
///
/// # Errors
///
/// What `work` returns, or an internal error when it panics.
///
/// # Cancel safety
///
/// Once it has begun, `work` runs to its end even when this future is dropped; its result is then dropped.
///
/// ```
/// # async fn example() -> Result<(), keyway_plugin_sdk::ProviderError> {
/// let text = keyway_plugin_sdk::blocking(|| Ok(std::fs::read("/etc/hostname")?)).await?;
/// # Ok(()) }
/// ```
pub async fn blocking<T, F>(work: F) -> Result<T, ProviderError>
where
    F: FnOnce() -> Result<T, ProviderError> + Send + 'static,
    T: Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(ProviderError::internal(
            "the plugin panicked while it looked for the secrets",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_without_its_text() {
        let error = blocking::<(), _>(|| panic!("canary-value"))
            .await
            .unwrap_err();
        assert_eq!(
            error.message(),
            "the plugin panicked while it looked for the secrets"
        );
    }
}
