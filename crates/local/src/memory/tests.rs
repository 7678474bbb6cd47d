//! Budgets in virtual time.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

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
    first.reserve(8 * MIB).await.unwrap();
    assert!(waits(&second, 3 * MIB).await && second.is_exhausted());
    assert!(!waits(&second, MemoryBudget::UNCOUNTED).await && second.is_empty());
    drop(first);
    assert!(!waits(&second, 3 * MIB).await && !second.is_exhausted());
    assert_eq!(budget.available(), 7 * MIB);
}

#[tokio::test(start_paused = true)]
async fn messages_that_are_larger_than_the_budget_together_are_refused() {
    let budget = MemoryBudget::with_copies(4 * MIB, 2);
    let whole = budget.reservation();
    assert_eq!(whole.reserve(4 * MIB).await, Ok(()));
    assert_eq!(budget.available(), 0);
    drop(whole);
    let refused = |needed| {
        Err(MemoryError::TooLarge {
            needed,
            size: 4 * MIB,
        })
    };
    let parts = budget.reservation();
    assert_eq!(parts.reserve(4 * MIB + 1).await, refused(4 * MIB + 1));
    assert_eq!(parts.reserve(u64::MAX).await, refused(u64::MAX));
    assert_eq!(parts.reserve(3 * MIB).await, Ok(()));
    assert_eq!(parts.reserve(2 * MIB).await, refused(5 * MIB));
    drop(parts);
    assert_eq!(budget.available(), 4 * MIB);
}

#[tokio::test(start_paused = true)]
async fn a_message_counts_with_its_copies_as_far_as_the_budget_goes() {
    let budget = MemoryBudget::with_copies(10 * MIB, 2);
    let (first, second) = (budget.reservation(), budget.reservation());
    first.reserve(3 * MIB).await.unwrap();
    assert_eq!(budget.available(), 4 * MIB);
    first.release(MIB);
    assert_eq!(budget.available(), 6 * MIB);
    assert!(waits(&second, 6 * MIB).await);
    drop(first);
    second.reserve(6 * MIB).await.unwrap();
    assert_eq!(budget.available(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_growing_reservation_goes_before_new_ones() {
    let budget = MemoryBudget::new(10 * MIB);
    let [other, growing, new] = std::array::from_fn(|_| budget.reservation());
    other.reserve(6 * MIB).await.unwrap();
    growing.reserve(2 * MIB).await.unwrap();
    let started = Instant::now();
    let release = async {
        sleep(Duration::from_secs(1)).await;
        other.release(2 * MIB);
        sleep(Duration::from_secs(1)).await;
        other.release(4 * MIB);
    };
    let first = async {
        new.reserve(3 * MIB).await.unwrap();
        started.elapsed()
    };
    let second = async {
        growing.reserve(4 * MIB).await.unwrap();
        started.elapsed()
    };
    let (new_after, grown_after, ()) = tokio::join!(first, second, release);
    assert_eq!(grown_after, Duration::from_secs(1));
    assert_eq!(new_after, Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn of_two_reservations_that_wait_for_each_other_the_younger_is_refused() {
    let budget = MemoryBudget::new(4 * MIB);
    let (older, younger) = (budget.reservation(), budget.reservation());
    older.reserve(2 * MIB).await.unwrap();
    younger.reserve(2 * MIB).await.unwrap();
    let give_up = async {
        assert_eq!(younger.reserve(MIB).await, Err(MemoryError::Contended));
        drop(younger);
    };
    let (grown, ()) = tokio::join!(older.reserve(2 * MIB), give_up);
    assert_eq!(grown, Ok(()));
    assert_eq!(budget.available(), 0);
}

#[tokio::test(start_paused = true)]
async fn copies_of_shared_messages_do_not_wait_for_each_other() {
    let budget = MemoryBudget::new(10 * MIB);
    let [first, second, one, two] = std::array::from_fn(|_| budget.reservation());
    first.reserve(4 * MIB).await.unwrap();
    second.reserve(4 * MIB).await.unwrap();
    let copy_first = async {
        assert_eq!(one.reserve_copy(4 * MIB, &first).await, Ok(()));
    };
    let copy_second = async {
        let refused = two.reserve_copy(4 * MIB, &second).await;
        assert_eq!(refused, Err(MemoryError::Contended));
        drop(second);
    };
    let both = async { tokio::join!(copy_first, copy_second) };
    assert!(timeout(Duration::from_secs(1), both).await.is_ok());
    let error = two.reserve_copy(7 * MIB, &first).await;
    assert!(
        matches!(error, Err(MemoryError::TooLarge { .. })),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn concurrent_messages_of_one_reservation_both_wait() {
    let budget = MemoryBudget::new(6 * MIB);
    let (other, reservation) = (budget.reservation(), budget.reservation());
    other.reserve(4 * MIB).await.unwrap();
    let both = async { tokio::join!(reservation.reserve(3 * MIB), reservation.reserve(3 * MIB)) };
    let free = async {
        sleep(Duration::from_secs(1)).await;
        drop(other);
    };
    let done = timeout(Duration::from_secs(2), async { tokio::join!(both, free) });
    assert_eq!(done.await.unwrap().0, (Ok(()), Ok(())));
    assert_eq!(budget.available(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_wait_reserves_nothing() {
    let budget = MemoryBudget::new(4 * MIB);
    let [first, cancelled, next] = std::array::from_fn(|_| budget.reservation());
    first.reserve(2 * MIB).await.unwrap();
    assert!(waits(&cancelled, 4 * MIB).await);
    assert!(!waits(&next, 2 * MIB).await);
    // Granted, and dropped before it was polled again.
    {
        let mut waiting = pin!(cancelled.reserve(3 * MIB));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        drop((first, next));
    }
    assert_eq!(budget.available(), 4 * MIB);
}

#[tokio::test]
async fn an_absorbed_reservation_lives_as_long_as_the_other() {
    let (budget, elsewhere) = (MemoryBudget::new(4 * MIB), MemoryBudget::new(4 * MIB));
    let [reservation, other] = std::array::from_fn(|_| budget.reservation());
    let foreign = elsewhere.reservation();
    other.reserve(MIB).await.unwrap();
    foreign.reserve(MIB).await.unwrap();
    reservation.absorb(other);
    reservation.absorb(foreign);
    assert_eq!(
        (budget.available(), elsewhere.available()),
        (3 * MIB, 3 * MIB)
    );
    assert!(!reservation.is_empty());
    drop(reservation);
    assert_eq!(
        (budget.available(), elsewhere.available()),
        (4 * MIB, 4 * MIB)
    );
}

#[tokio::test]
async fn kept_values_leave_when_their_memory_is_needed() {
    let budget = MemoryBudget::new(4 * MIB);
    let kept: Vec<_> = (0..4).map(|n| budget.keep(n, MIB).unwrap()).collect();
    assert_eq!(budget.available(), 0);
    assert!(budget.keep(4, 1).is_none());
    let reservation = budget.reservation();
    reservation.reserve(2 * MIB).await.unwrap();
    let left: Vec<Option<i32>> = kept.iter().map(Kept::get).collect();
    assert_eq!(left, [None, None, Some(2), Some(3)]);
    drop(kept);
    assert_eq!(budget.available(), 2 * MIB);
}

/// Numbers that look random and are the same in each run.
fn noise(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

/// Reserves up to five messages one after the other; `false` if one was refused or the wait for it was cancelled.
async fn reserve_several(budget: MemoryBudget, seed: u64) -> bool {
    let mut below = noise(seed);
    sleep(Duration::from_millis(below(2000))).await;
    let reservation = budget.reservation();
    for _ in 0..=below(4) {
        let bytes = MIB + below(12 * MIB);
        let patience = Duration::from_secs(1 + below(200));
        match timeout(patience, reservation.reserve(bytes)).await {
            Ok(Ok(())) => sleep(Duration::from_millis(below(500))).await,
            Ok(Err(_)) | Err(_) => return false,
        }
    }
    true
}

#[tokio::test(start_paused = true)]
async fn many_callers_that_each_hold_a_part_all_come_to_an_end() {
    let budget = MemoryBudget::with_copies(32 * MIB, 2);
    let mut callers = JoinSet::new();
    for seed in 1..=300 {
        callers.spawn(reserve_several(budget.clone(), seed));
    }
    let outcomes = timeout(Duration::from_secs(600), callers.join_all());
    let n_served = outcomes.await.unwrap().into_iter().filter(|served| *served);
    let n_served = n_served.count();
    assert!(n_served > 100, "{n_served} of 300");
    assert_eq!(budget.available(), 32 * MIB);
}
