//! The memory that requests with a value take together.

use keyway_rpc::Error;
use keyway_rpc::client::ReserveMemory;
use tokio::sync::Semaphore;

/// Limit for the bytes of all large requests together: as many as five values of the largest size.
const LIMIT: usize = 64 * 1024 * 1024;

/// Bytes of one permit.
const UNIT: u64 = 1024;

/// Makes requests of more than 64 KiB wait while those that are in progress take [`LIMIT`] bytes.
///
/// A request that announces its length reserves once, so none that holds a part waits for another. One that does not may; the time
/// that a client has to send its request ends that.
pub(super) struct RequestMemory(Semaphore);

impl RequestMemory {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(LIMIT / UNIT as usize))
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

impl ReserveMemory for RequestMemory {
    async fn reserve(&self, bytes: u64) -> Result<(), Error> {
        let units = units(bytes);
        if units as usize > LIMIT / UNIT as usize {
            return Err(Error::resource_exhausted(
                "the request does not fit into the memory for requests",
            ));
        }
        let permits = self.0.acquire_many(units).await;
        permits.expect("the semaphore is never closed").forget();
        Ok(())
    }

    fn release(&self, bytes: u64) {
        self.0.add_permits(units(bytes) as usize);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const WAIT: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_until_the_others_leave_enough() {
        let memory = RequestMemory::new();
        let all = LIMIT as u64;
        memory.reserve(all - 100).await.expect("fits");
        timeout(WAIT, memory.reserve(2 * UNIT))
            .await
            .expect_err("waits");
        memory.release(all - 100);
        timeout(WAIT, memory.reserve(all))
            .await
            .expect("does not wait")
            .expect("fits");
        let error = memory.reserve(all + 1).await.expect_err("never fits");
        assert_eq!(error.code(), keyway_rpc::Code::ResourceExhausted);
    }
}
