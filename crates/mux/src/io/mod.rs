//! The byte streams of both ends: the connection below, and the streams above.

#[cfg(feature = "futures")]
mod futures;
mod halves;
#[cfg(feature = "hyper")]
mod hyper;
mod stream;
mod tokio;

use std::task::{Context, Poll, ready};

pub use self::{
    halves::{ReadHalf, ReuniteError, WriteHalf},
    stream::Stream,
};

/// Polls an operation within the cooperative budget of tokio: if the budget of the task is spent, the operation is
/// pending and the task is woken, and an operation that is ready spends a unit. Otherwise a task whose operations are
/// always ready would never let others run.
pub(crate) fn budgeted<T>(
    cx: &mut Context<'_>,
    poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    let unit = ready!(::tokio::task::coop::poll_proceed(cx));
    let result = poll(cx);
    if result.is_ready() {
        unit.made_progress();
    }
    result
}
