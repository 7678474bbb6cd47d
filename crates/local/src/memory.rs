//! [`MemoryBudget`]: limits the bytes of large messages that are in memory at the same time.

mod kept;
mod pool;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use pool::Pool;
use tokio::sync::oneshot;

pub use kept::Kept;

/// A number of bytes that large messages share, so that many of them at once cannot exhaust the memory. Clones are the same
/// budget.
///
/// Each piece of work (a request, for example) has one [`Reservation`] for all of its messages, which is returned to the budget
/// when its last clone is dropped. Messages of at most [`MemoryBudget::UNCOUNTED`] bytes are not counted.
///
/// ```
/// use keyway_local::MemoryBudget;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), keyway_local::MemoryError> {
/// let budget = MemoryBudget::new(64 * 1024 * 1024);
/// let reservation = budget.reservation();
/// reservation.reserve(8 * 1024 * 1024).await?;
/// assert_eq!(budget.available(), 56 * 1024 * 1024);
/// drop(reservation);
/// assert_eq!(budget.available(), 64 * 1024 * 1024);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MemoryBudget {
    pool: SharedPool,
}

type SharedPool = Arc<Mutex<Pool>>;

/// Error of reserving memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The messages of the reservation are larger than the whole budget.
    #[error("{needed} bytes are needed at once, and the budget has {size}")]
    TooLarge {
        /// The bytes that all messages of the reservation take together.
        needed: u64,
        /// The size of the budget.
        size: u64,
    },
    /// Every reservation that holds memory waits for more: a deadlock.
    #[error("other large messages fill the budget, and wait for more of it")]
    Contended,
}

impl MemoryBudget {
    /// The size in bytes up to which messages are not counted.
    pub const UNCOUNTED: u64 = 64 * 1024;

    /// Returns a budget of `bytes` bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self::with_copies(bytes, 1)
    }

    /// Returns a budget of `bytes` bytes in which each message counts `copies` times: it is encoded, for example, while it is
    /// in memory. The messages of one reservation may fill the budget with fewer copies, if no other reservation needs it.
    #[must_use]
    pub fn with_copies(bytes: u64, copies: u64) -> Self {
        Self {
            pool: Arc::new(Mutex::new(Pool::new(bytes, copies))),
        }
    }

    /// Returns an empty reservation.
    #[must_use]
    pub fn reservation(&self) -> Reservation {
        Reservation {
            inner: Arc::new(Inner {
                pool: Arc::clone(&self.pool),
                account: OnceLock::new(),
                is_exhausted: AtomicBool::new(false),
                absorbed: Mutex::default(),
            }),
        }
    }

    /// Keeps `value`, which takes `bytes` bytes, until the result is dropped or the memory is needed for a message. `None` if
    /// there is no memory for it now.
    #[must_use]
    pub fn keep<T: Send + 'static>(&self, value: T, bytes: u64) -> Option<Kept<T>> {
        Kept::new(&self.pool, value, bytes)
    }

    /// Returns the bytes that are neither reserved nor kept.
    #[must_use]
    pub fn available(&self) -> u64 {
        lock(&self.pool).available()
    }
}

fn lock(pool: &SharedPool) -> MutexGuard<'_, Pool> {
    // The pool is whole between its methods, none of which calls foreign code.
    pool.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes of a [`MemoryBudget`] that one piece of work holds, until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Reservation {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: SharedPool,
    /// Its number in the pool, given by the first message that counts: the older of two reservations has the smaller one.
    account: OnceLock<u64>,
    is_exhausted: AtomicBool,
    /// Those of other budgets, held for as long as this one.
    absorbed: Mutex<Vec<Reservation>>,
}

impl Reservation {
    /// Waits until a message of `bytes` bytes fits into the budget, and adds it to the reservation.
    ///
    /// A reservation that holds memory is served before those that hold none, and the older one first. Two of them never wait
    /// for each other: if every reservation that holds memory waits for more, the youngest gets [`MemoryError::Contended`].
    ///
    /// The wait ends when other reservations are dropped; bound it by a deadline.
    ///
    /// # Errors
    ///
    /// Returns [`MemoryError`] if the messages of the reservation are larger than the budget, or the wait could not end.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, nothing was reserved.
    pub async fn reserve(&self, bytes: u64) -> Result<(), MemoryError> {
        self.wait_for(bytes, None).await
    }

    /// Reserves as [`reserve`](Self::reserve) does, for a copy of a message that `original` holds until the copy is made.
    ///
    /// # Errors
    ///
    /// Returns [`MemoryError`] as [`reserve`](Self::reserve) does, also if both together are larger than the budget.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, nothing was reserved.
    pub async fn reserve_copy(&self, bytes: u64, original: &Self) -> Result<(), MemoryError> {
        let is_same = Arc::ptr_eq(&self.inner.pool, &original.inner.pool);
        let original = original.inner.account.get().copied();
        self.wait_for(bytes, original.filter(|_| is_same)).await
    }

    async fn wait_for(&self, bytes: u64, original: Option<u64>) -> Result<(), MemoryError> {
        if bytes <= MemoryBudget::UNCOUNTED {
            return Ok(());
        }
        let mut request = {
            let mut pool = lock(&self.inner.pool);
            let account = *self.inner.account.get_or_init(|| pool.open());
            let (ticket, result) = pool.request(account, original, bytes)?;
            Request {
                reservation: self,
                ticket,
                bytes,
                result,
                is_settled: false,
            }
        };
        let flag = &self.inner.is_exhausted;
        flag.store(request.result.is_empty(), Ordering::Relaxed);
        // The pool grants or refuses every request that is not withdrawn.
        let result = (&mut request.result).await;
        request.is_settled = true;
        flag.store(false, Ordering::Relaxed);
        result.unwrap_or(Err(MemoryError::Contended))
    }

    /// Returns the size of the budget in bytes.
    #[must_use]
    pub fn budget_len(&self) -> u64 {
        lock(&self.inner.pool).size()
    }

    /// Returns `bytes` bytes to the budget.
    pub fn release(&self, bytes: u64) {
        if let Some(account) = self.inner.account.get() {
            lock(&self.inner.pool).release(*account, bytes);
        }
    }

    /// Adds the bytes of `other`, without a wait.
    pub fn absorb(&self, other: Self) {
        if Arc::ptr_eq(&self.inner, &other.inner) {
            return;
        }
        if Arc::ptr_eq(&self.inner.pool, &other.inner.pool) {
            if let Some(from) = other.inner.account.get() {
                let mut pool = lock(&self.inner.pool);
                let account = *self.inner.account.get_or_init(|| pool.open());
                pool.transfer(*from, account);
            }
            return;
        }
        self.inner.absorbed().push(other);
    }

    /// Returns `true` while a message waits for the budget, and after that wait was cancelled.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.inner.is_exhausted.load(Ordering::Relaxed)
    }

    /// Returns `true` if nothing is reserved.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let account = self.inner.account.get();
        account.is_none_or(|account| lock(&self.inner.pool).held(*account) == 0)
            && self.inner.absorbed().is_empty()
    }
}

impl Inner {
    fn absorbed(&self) -> MutexGuard<'_, Vec<Reservation>> {
        self.absorbed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(account) = self.account.get() {
            lock(&self.pool).close(*account);
        }
    }
}

/// One request for memory. Dropping it before its result was read withdraws the request, or returns the granted bytes.
struct Request<'a> {
    reservation: &'a Reservation,
    ticket: u64,
    bytes: u64,
    result: oneshot::Receiver<Result<(), MemoryError>>,
    is_settled: bool,
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        let mut pool = lock(&self.reservation.inner.pool);
        let is_granted =
            !pool.withdraw(self.ticket) && matches!(self.result.try_recv(), Ok(Ok(())));
        if is_granted && let Some(account) = self.reservation.inner.account.get() {
            pool.release(*account, self.bytes);
        }
    }
}

#[cfg(test)]
mod tests;
