//! [`Budget`]: how many bytes of large messages are in memory at the same time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is counted at once: permits of a semaphore are 32-bit numbers, and bytes may be more.
const UNIT: u64 = 1024;

/// What a message of unknown length takes for a start.
const UNKNOWN: u64 = 16 * 1024 * 1024;

/// A number of bytes that large messages share, so that many of them at once cannot fill the
/// memory. Cloning is cheap, and clones are the same budget.
///
/// Each piece of work (a request that is being answered, say) makes a [`Claim`], which holds what
/// its messages took until it is dropped. Messages of up to [`Budget::FREE`] bytes take nothing. A
/// client counts a response with [`Request::with_claim`](crate::Request::with_claim), before it is
/// read; a server keeps a claim for as long as its response is on the way with
/// [`Response::keep_until_sent`](crate::Response::keep_until_sent).
///
/// Messages are counted once, as long as they are on the wire; while one is encoded or decoded, it
/// is in memory twice.
///
/// ```
/// use keyway_rpc::Budget;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let budget = Budget::new(64 * 1024 * 1024);
/// let claim = budget.claim();
/// claim.take(8 * 1024 * 1024).await;
/// assert_eq!(budget.available(), 56 * 1024 * 1024);
/// drop(claim);
/// assert_eq!(budget.available(), 64 * 1024 * 1024);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Budget {
    units: Arc<Semaphore>,
    size: u32,
}

impl Budget {
    /// The largest message that takes nothing, in bytes.
    pub const FREE: u64 = 64 * 1024;

    /// A budget of so many bytes, rounded up to KiB; at least one.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let size = units(bytes).max(1);
        Self {
            units: Arc::new(Semaphore::new(size as usize)),
            size,
        }
    }

    /// A claim that holds nothing yet.
    #[must_use]
    pub fn claim(&self) -> Claim {
        Claim {
            share: Arc::new(Share {
                budget: self.clone(),
                turn: tokio::sync::Mutex::new(()),
                held: Mutex::new(None),
                is_crowded: AtomicBool::new(false),
            }),
        }
    }

    /// How many bytes nobody holds.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.units.available_permits() as u64 * UNIT
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

/// What one piece of work holds of a [`Budget`], until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Claim {
    share: Arc<Share>,
}

#[derive(Debug)]
struct Share {
    budget: Budget,
    /// Taken by whoever asks the budget.
    turn: tokio::sync::Mutex<()>,
    held: Mutex<Option<OwnedSemaphorePermit>>,
    is_crowded: AtomicBool,
}

impl Claim {
    /// Waits until the budget has room for a message of so many bytes, and holds it. A message
    /// larger than the whole budget waits for all of it.
    ///
    /// Only the first message of a claim waits. Further ones take what there is and go on, because
    /// work that holds something and waits for more could wait for other work that does the same.
    ///
    /// Bound the wait by a deadline: it ends when others let go.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, nothing was taken.
    pub async fn take(&self, bytes: u64) {
        if bytes <= Budget::FREE {
            return;
        }
        let budget = &self.share.budget;
        let units = units(bytes).min(budget.size);
        let _turn = self.share.turn.lock().await;
        let pool = Arc::clone(&budget.units);
        let permit = if self.holds() {
            pool.try_acquire_many_owned(units).ok()
        } else {
            self.set_crowded(budget.units.available_permits() < units as usize);
            let permit = pool.acquire_many_owned(units).await;
            self.set_crowded(false);
            Some(permit.expect("the semaphore is never closed"))
        };
        if let Some(permit) = permit {
            let mut held = self.held();
            match &mut *held {
                Some(held) => held.merge(permit),
                None => *held = Some(permit),
            }
        }
    }

    /// Whether a message waits for room, or waited in vain: what to say when the time is over.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.share.is_crowded.load(Ordering::Relaxed)
    }

    /// Whether it holds anything.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.held().is_some()
    }

    fn set_crowded(&self, is_crowded: bool) {
        self.share.is_crowded.store(is_crowded, Ordering::Relaxed);
    }

    fn give_back(&self, bytes: u64) {
        let mut held = self.held();
        let surplus = (bytes / UNIT) as usize;
        // At least one unit stays, so that this claim goes on without waiting.
        if let Some(held) = held.as_mut() {
            let surplus = surplus.min(held.num_permits().saturating_sub(1));
            drop(held.split(surplus));
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        let held = self.share.held.lock();
        held.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one message while it is read.
#[derive(Debug, Default)]
pub(crate) struct Tally<'a> {
    claim: Option<&'a Claim>,
    taken: u64,
}

impl<'a> Tally<'a> {
    pub(crate) fn new(claim: Option<&'a Claim>) -> Self {
        Self { claim, taken: 0 }
    }

    /// A message of this length is about to be read.
    pub(crate) async fn announce(&mut self, bytes: u64) {
        if let Some(claim) = self.claim {
            claim.take(bytes).await;
            self.taken = bytes;
        }
    }

    /// So much was read, and there may be more.
    pub(crate) async fn reach(&mut self, bytes: u64) {
        if let Some(claim) = self.claim
            && bytes > self.taken.max(Budget::FREE)
        {
            claim.take(UNKNOWN).await;
            self.taken += UNKNOWN;
        }
    }

    /// Everything was read, and that is its length.
    pub(crate) fn settle(&self, bytes: u64) {
        if let Some(claim) = self.claim {
            claim.give_back(self.taken.saturating_sub(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    async fn waits(claim: &Claim, bytes: u64) -> bool {
        let taking = timeout(Duration::from_secs(1), claim.take(bytes));
        taking.await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_message_waits_for_room_and_a_small_one_never() {
        let budget = Budget::new(10 * MIB);
        let (first, second) = (budget.claim(), budget.claim());
        first.take(8 * MIB).await;
        assert!(waits(&second, 3 * MIB).await && second.is_crowded());
        assert!(!waits(&second, Budget::FREE).await);
        drop(first);
        assert!(!waits(&second, 3 * MIB).await && !second.is_crowded());
        assert_eq!(budget.available(), 7 * MIB);
    }

    #[tokio::test(start_paused = true)]
    async fn what_exceeds_the_budget_waits_for_all_of_it() {
        let budget = Budget::new(2 * MIB);
        let (first, second) = (budget.claim(), budget.claim());
        first.take(MIB).await;
        assert!(waits(&second, 64 * MIB).await);
        drop(first);
        assert!(!waits(&second, 64 * MIB).await);
        assert_eq!(budget.available(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn two_claims_that_both_want_more_do_not_wait_for_each_other() {
        let budget = Budget::new(4 * MIB);
        let (first, second) = (budget.claim(), budget.claim());
        first.take(2 * MIB).await;
        second.take(2 * MIB).await;
        assert!(!waits(&first, 2 * MIB).await);
        assert!(!waits(&second, 2 * MIB).await);
        drop((first, second));
        assert_eq!(budget.available(), 4 * MIB);
    }

    #[tokio::test(start_paused = true)]
    async fn messages_of_one_claim_that_come_together_wait_as_one() {
        let budget = Budget::new(4 * MIB);
        let (other, claim) = (budget.claim(), budget.claim());
        other.take(4 * MIB).await;
        let both = async { tokio::join!(claim.take(3 * MIB), claim.take(3 * MIB)) };
        let free = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(other);
        };
        let done = timeout(Duration::from_secs(2), async { tokio::join!(both, free) });
        assert!(done.await.is_ok());
        assert_eq!(budget.available(), MIB);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_length_takes_much_and_gives_back() {
        let budget = Budget::new(40 * MIB);
        let claim = budget.claim();
        let mut tally = Tally::new(Some(&claim));
        tally.reach(Budget::FREE).await;
        assert_eq!(budget.available(), 40 * MIB);
        tally.reach(Budget::FREE + 1).await;
        assert_eq!(budget.available(), 24 * MIB);
        tally.reach(17 * MIB).await;
        assert_eq!(budget.available(), 8 * MIB);
        tally.settle(18 * MIB);
        assert_eq!(budget.available(), 22 * MIB);
        drop(claim);
        assert_eq!(budget.available(), 40 * MIB);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_the_room_to_others() {
        let budget = Budget::new(4 * MIB);
        let (first, hasty, patient) = (budget.claim(), budget.claim(), budget.claim());
        first.take(2 * MIB).await;
        assert!(waits(&hasty, 4 * MIB).await);
        assert!(!waits(&patient, 2 * MIB).await);
    }
}
