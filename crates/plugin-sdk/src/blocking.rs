//! Blocking work on its own threads.

use crate::ProviderError;

/// Runs blocking `work` (a slow disk, a C library, a command) on another thread and waits for its result.
///
/// At most [`MAX_BLOCKING_THREADS`](crate::MAX_BLOCKING_THREADS) such threads run at a time; further work waits for one.
///
/// # Errors
///
/// Returns the error of `work`, or [`ErrorKind::Internal`](crate::ErrorKind::Internal) if it panics.
///
/// # Cancel safety
///
/// Once started, `work` runs to its end even if this future is dropped; its result is then dropped.
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
            "the plugin panicked in blocking work",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_without_the_panic_message() {
        let error = blocking::<(), _>(|| panic!("canary-value"))
            .await
            .unwrap_err();
        assert_eq!(error.message(), "the plugin panicked in blocking work");
    }
}
