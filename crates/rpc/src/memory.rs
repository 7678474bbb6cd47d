//! [`ReserveMemory`]: how clients and routers reserve the memory of messages.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::Error;

/// Messages of at most this many bytes are not counted.
const UNCOUNTED: u64 = 64 * 1024;

/// Bytes that are reserved at once while the length of a message is unknown.
const STEP: u64 = 256 * 1024;

/// Limits the memory that the messages of several calls take together.
///
/// `Request::memory` attaches a budget to one call, for its response, and
/// `Router::request_memory` one to all requests of a router. The memory of a decompressed message is reserved before it is
/// allocated: the whole length if the message declares one, and 256 KiB at a time while it does not. The excess of a step over the
/// response is released when the length is known, and everything is released if the call fails. The reservation of a request is
/// released when its handler has ended. Messages of at most 64 KiB are not counted.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use keyway_rpc::client::ReserveMemory;
///
/// /// Counts, and never refuses.
/// #[derive(Default)]
/// struct Counter(AtomicU64);
///
/// impl ReserveMemory for Counter {
///     async fn reserve(&self, bytes: u64) -> Result<(), keyway_rpc::Error> {
///         self.0.fetch_add(bytes, Ordering::Relaxed);
///         Ok(())
///     }
///
///     fn release(&self, bytes: u64) {
///         self.0.fetch_sub(bytes, Ordering::Relaxed);
///     }
/// }
/// ```
pub trait ReserveMemory: Send + Sync + 'static {
    /// Waits until `bytes` more bytes may be in memory, and reserves them. The deadline of the call
    /// bounds the wait.
    ///
    /// A message that does not declare its length calls this several times. An implementation
    /// that makes a call wait although it holds a reservation must be prepared for two calls that
    /// wait for each other.
    ///
    /// # Errors
    ///
    /// An error is that of the call.
    ///
    /// # Cancel safety
    ///
    /// A dropped future must not have reserved anything.
    fn reserve(&self, bytes: u64) -> impl Future<Output = Result<(), Error>> + Send;

    /// Returns `bytes` reserved bytes.
    fn release(&self, bytes: u64);
}

/// A [`ReserveMemory`] of any type.
pub(crate) type SharedBudget = Arc<dyn ErasedBudget>;

type Reserving<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

pub(crate) trait ErasedBudget: Send + Sync {
    fn reserve(&self, bytes: u64) -> Reserving<'_>;

    fn release(&self, bytes: u64);
}

impl fmt::Debug for dyn ErasedBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReserveMemory").finish_non_exhaustive()
    }
}

impl<T: ReserveMemory> ErasedBudget for T {
    fn reserve(&self, bytes: u64) -> Reserving<'_> {
        Box::pin(ReserveMemory::reserve(self, bytes))
    }

    fn release(&self, bytes: u64) {
        ReserveMemory::release(self, bytes);
    }
}

/// Counts one message against a budget. Dropping it releases the bytes that were not [settled](Self::settle).
#[derive(Default)]
pub(crate) struct Meter<'a> {
    budget: Option<&'a dyn ErasedBudget>,
    reserved: u64,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(budget: Option<&'a SharedBudget>) -> Self {
        Self {
            budget: budget.map(|budget| &**budget),
            reserved: 0,
        }
    }

    /// Reserves a message whose length is known.
    pub(crate) async fn reserve_message(&mut self, bytes: u64) -> Result<(), Error> {
        match bytes > UNCOUNTED {
            true => self.reserve(bytes).await,
            false => Ok(()),
        }
    }

    /// Reserves the memory of a message of which `bytes` bytes have arrived.
    pub(crate) async fn reach(&mut self, bytes: u64) -> Result<(), Error> {
        match bytes > self.reserved.max(UNCOUNTED) {
            true => self.reserve(STEP.max(bytes - self.reserved)).await,
            false => Ok(()),
        }
    }

    /// Releases the excess over the message, whose length is `bytes`. The rest stays reserved.
    #[cfg(feature = "client")]
    pub(crate) fn settle(mut self, bytes: u64) {
        self.reserved = self.reserved.saturating_sub(bytes);
    }

    async fn reserve(&mut self, bytes: u64) -> Result<(), Error> {
        if let Some(budget) = self.budget {
            budget.reserve(bytes).await?;
            self.reserved += bytes;
        }
        Ok(())
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        if let Some(budget) = self.budget
            && self.reserved > 0
        {
            budget.release(self.reserved);
        }
    }
}

#[cfg(all(test, feature = "client"))]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[derive(Default)]
    struct Counter(AtomicU64);

    impl ReserveMemory for Counter {
        async fn reserve(&self, bytes: u64) -> Result<(), Error> {
            self.0.fetch_add(bytes, Ordering::Relaxed);
            Ok(())
        }

        fn release(&self, bytes: u64) {
            self.0.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    fn counter() -> (Arc<Counter>, SharedBudget) {
        let counter = Arc::new(Counter::default());
        let budget: SharedBudget = counter.clone();
        (counter, budget)
    }

    #[tokio::test]
    async fn a_message_of_unknown_length_is_reserved_in_steps_and_the_excess_released() {
        let (counter, budget) = counter();
        let reserved = || counter.0.load(Ordering::Relaxed);
        let mut meter = Meter::new(Some(&budget));
        meter.reach(UNCOUNTED).await.expect("uncounted");
        assert_eq!(reserved(), 0);
        meter.reach(UNCOUNTED + 1).await.expect("reserved");
        assert_eq!(reserved(), STEP);
        meter.reach(17 * MIB).await.expect("reserved");
        assert_eq!(reserved(), 17 * MIB);
        meter.reach(17 * MIB + 1).await.expect("reserved");
        assert_eq!(reserved(), 17 * MIB + STEP);
        meter.settle(17 * MIB + 1);
        assert_eq!(reserved(), 17 * MIB + 1);
    }

    #[tokio::test]
    async fn a_failed_message_releases_everything() {
        let (counter, budget) = counter();
        let mut meter = Meter::new(Some(&budget));
        meter.reserve_message(3 * MIB).await.expect("reserved");
        assert_eq!(counter.0.load(Ordering::Relaxed), 3 * MIB);
        drop(meter);
        assert_eq!(counter.0.load(Ordering::Relaxed), 0);
    }
}
