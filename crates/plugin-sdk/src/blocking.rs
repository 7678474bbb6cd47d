//! Blocking work on its own threads.

mod slots;

use std::sync::{Arc, LazyLock};

use self::slots::Slots;
use crate::ProviderError;

/// Maximum number of threads of [`blocking`].
pub const MAX_BLOCKING_THREADS: usize = 16;

/// The slots of the process.
static SLOTS: LazyLock<Arc<Slots>> = LazyLock::new(|| Slots::new(MAX_BLOCKING_THREADS));

/// Runs blocking `work` (a slow disk, a C library) on another thread and waits for its result. For another program,
/// [`command`](crate::command) is better: it needs no thread and ends with its call.
///
/// At most [`MAX_BLOCKING_THREADS`] such threads run at a time; further work waits for one. Work whose caller has gone is
/// *stuck* until it ends, because a thread cannot be cancelled.
///
/// # Errors
///
/// Returns the error of `work`, or
///
/// - [`ErrorKind::Internal`](crate::ErrorKind::Internal) if `work` panics,
/// - [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if every thread has been stuck for half a second; the
///   message states how many there are and for how long.
///
/// # Cancel safety
///
/// Work that waits for a thread is dropped with this future and never runs. Once started, `work` runs to its end even if
/// this future is dropped; its result is then dropped.
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
    SLOTS.run(work).await
}

/// Describes the threads that are stuck, for the message of a call that timed out: `; 2 of 16 threads ...`. Empty if none
/// is.
pub(crate) fn describe_stuck() -> String {
    match SLOTS.stuck() {
        Some(stuck) => format!("; {stuck}"),
        None => String::new(),
    }
}
