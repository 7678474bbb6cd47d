//! [`MemoryBudget`]: limits the bytes of large messages that are in memory at the same time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit of the budget in bytes: permits of a semaphore are 32-bit numbers.
const UNIT: u64 = 1024;

/// A number of bytes that large messages share, so that many of them at once cannot exhaust the
/// memory. Clones are the same budget.
///
/// Each piece of work (a request, for example) has one [`Reservation`] for all of its messages,
/// which is returned to the budget when its last clone is dropped. Messages of at most
/// [`MemoryBudget::UNCOUNTED`] bytes are not counted.
///
/// ```
/// use keyway_local::MemoryBudget;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let budget = MemoryBudget::new(64 * 1024 * 1024);
/// let reservation = budget.reservation();
/// reservation.reserve(8 * 1024 * 1024).await;
/// assert_eq!(budget.available(), 56 * 1024 * 1024);
/// drop(reservation);
/// assert_eq!(budget.available(), 64 * 1024 * 1024);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MemoryBudget {
    units: Arc<Semaphore>,
    size: u32,
}

impl MemoryBudget {
    /// The size in bytes up to which messages are not counted.
    pub const UNCOUNTED: u64 = 64 * 1024;

    /// Returns a budget of `bytes` bytes, rounded up to KiB; at least 1 KiB.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let size = units(bytes).max(1);
        Self {
            units: Arc::new(Semaphore::new(size as usize)),
            size,
        }
    }

    /// Returns an empty reservation.
    #[must_use]
    pub fn reservation(&self) -> Reservation {
        Reservation {
            shared: Arc::new(Shared {
                budget: self.clone(),
                reserving: tokio::sync::Mutex::new(()),
                held: Mutex::new(None),
                is_exhausted: AtomicBool::new(false),
            }),
        }
    }

    /// Returns the bytes that are not reserved.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.units.available_permits() as u64 * UNIT
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

/// The bytes of a [`MemoryBudget`] that one piece of work holds, until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Reservation {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    budget: MemoryBudget,
    /// Held while one clone reserves.
    reserving: tokio::sync::Mutex<()>,
    held: Mutex<Option<OwnedSemaphorePermit>>,
    is_exhausted: AtomicBool,
}

impl Reservation {
    /// Waits until a message of `bytes` bytes fits into the budget, and adds it to the reservation.
    /// A message larger than the whole budget waits for all of it.
    ///
    /// Only the first message of a reservation waits. Further ones are counted if they fit and pass
    /// uncounted otherwise, because two reservations that both grow could wait for each other.
    ///
    /// The wait ends when other reservations are dropped; bound it by a deadline.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, nothing was reserved.
    pub async fn reserve(&self, bytes: u64) {
        if bytes <= MemoryBudget::UNCOUNTED {
            return;
        }
        let budget = &self.shared.budget;
        let units = units(bytes).min(budget.size);
        let _reserving = self.shared.reserving.lock().await;
        let pool = Arc::clone(&budget.units);
        let permit = if self.is_empty() {
            self.set_exhausted(budget.units.available_permits() < units as usize);
            let permit = pool.acquire_many_owned(units).await;
            self.set_exhausted(false);
            Some(permit.expect("the semaphore is never closed"))
        } else {
            pool.try_acquire_many_owned(units).ok()
        };
        if let Some(permit) = permit {
            let mut held = self.held();
            match &mut *held {
                Some(held) => held.merge(permit),
                None => *held = Some(permit),
            }
        }
    }

    /// Returns `bytes` bytes to the budget, rounded down to KiB. One KiB of what is held stays, so
    /// that the reservation still grows without waiting.
    pub fn release(&self, bytes: u64) {
        let surplus = (bytes / UNIT) as usize;
        if let Some(held) = self.held().as_mut() {
            let surplus = surplus.min(held.num_permits().saturating_sub(1));
            drop(held.split(surplus));
        }
    }

    /// Whether a message waits for the budget, or the wait for it was given up.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.shared.is_exhausted.load(Ordering::Relaxed)
    }

    /// Whether nothing is reserved.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held().is_none()
    }

    fn set_exhausted(&self, is_exhausted: bool) {
        let flag = &self.shared.is_exhausted;
        flag.store(is_exhausted, Ordering::Relaxed);
    }

    fn held(&self) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        let held = self.shared.held.lock();
        held.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    async fn waits(reservation: &Reservation, bytes: u64) -> bool {
        let reserving = timeout(Duration::from_secs(1), reservation.reserve(bytes));
        reserving.await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_message_waits_until_it_fits_and_a_small_one_never() {
        let budget = MemoryBudget::new(10 * MIB);
        let (first, second) = (budget.reservation(), budget.reservation());
        first.reserve(8 * MIB).await;
        assert!(waits(&second, 3 * MIB).await && second.is_exhausted());
        assert!(!waits(&second, MemoryBudget::UNCOUNTED).await);
        drop(first);
        assert!(!waits(&second, 3 * MIB).await && !second.is_exhausted());
        assert_eq!(budget.available(), 7 * MIB);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_larger_than_the_budget_waits_for_all_of_it() {
        let budget = MemoryBudget::new(2 * MIB);
        let (first, second) = (budget.reservation(), budget.reservation());
        first.reserve(MIB).await;
        assert!(waits(&second, 64 * MIB).await);
        drop(first);
        assert!(!waits(&second, 64 * MIB).await);
        assert_eq!(budget.available(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn two_growing_reservations_do_not_wait_for_each_other() {
        let budget = MemoryBudget::new(4 * MIB);
        let (first, second) = (budget.reservation(), budget.reservation());
        first.reserve(2 * MIB).await;
        second.reserve(2 * MIB).await;
        assert!(!waits(&first, 2 * MIB).await);
        assert!(!waits(&second, 2 * MIB).await);
        drop((first, second));
        assert_eq!(budget.available(), 4 * MIB);
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_messages_of_one_reservation_wait_as_one() {
        let budget = MemoryBudget::new(4 * MIB);
        let (other, reservation) = (budget.reservation(), budget.reservation());
        other.reserve(4 * MIB).await;
        let both =
            async { tokio::join!(reservation.reserve(3 * MIB), reservation.reserve(3 * MIB)) };
        let free = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(other);
        };
        let done = timeout(Duration::from_secs(2), async { tokio::join!(both, free) });
        assert!(done.await.is_ok());
        assert_eq!(budget.available(), MIB);
    }

    #[tokio::test]
    async fn released_bytes_return_to_the_budget_except_one_unit() {
        let budget = MemoryBudget::new(4 * MIB);
        let reservation = budget.reservation();
        reservation.release(MIB);
        reservation.reserve(3 * MIB).await;
        reservation.release(MIB);
        assert_eq!(budget.available(), 2 * MIB);
        reservation.release(64 * MIB);
        assert_eq!(budget.available(), 4 * MIB - UNIT);
        assert!(!reservation.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_wait_reserves_nothing() {
        let budget = MemoryBudget::new(4 * MIB);
        let [first, cancelled, next] = std::array::from_fn(|_| budget.reservation());
        first.reserve(2 * MIB).await;
        assert!(waits(&cancelled, 4 * MIB).await);
        assert!(!waits(&next, 2 * MIB).await);
    }
}
