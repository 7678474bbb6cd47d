use std::sync::atomic::{AtomicUsize, Ordering};

use keyway_proto::resolver::v1::get_secrets_response::Envelope;
use keyway_proto::timestamp::{self, Timestamp};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::*;

const TTL: Duration = Duration::from_secs(60);

const KEEP: Sharing = Sharing {
    share: true,
    keep: Some(TTL),
};

const SHARE: Sharing = Sharing {
    share: true,
    keep: None,
};

/// A response without a plugin: which call it is of, its size, and how long it may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reply {
    call: usize,
    len: u64,
    freshness: Freshness,
}

impl Keep for Reply {
    fn memory_len(&self) -> u64 {
        self.len
    }

    fn freshness(&self) -> Freshness {
        self.freshness
    }
}

/// A plugin whose calls take one second, with a clock that a test sets.
struct Fixture {
    flights: Flights<Reply>,
    budget: MemoryBudget,
    clock: Arc<Mutex<Moment>>,
    n_calls: AtomicUsize,
    n_cancelled: Arc<AtomicUsize>,
}

/// Counts the calls that are dropped before they end.
struct Cancelled(Option<Arc<AtomicUsize>>);

impl Cancelled {
    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        if let Some(n_cancelled) = &self.0 {
            n_cancelled.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Fixture {
    fn new() -> Self {
        let start = Moment {
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000),
            boot: Duration::from_secs(1_000),
        };
        let clock = Arc::new(Mutex::new(start));
        let read = Arc::clone(&clock);
        Self {
            flights: Flights::with_clock(Arc::new(move || *read.lock().expect("the clock"))),
            budget: MemoryBudget::new(256 << 20),
            clock,
            n_calls: AtomicUsize::new(0),
            n_cancelled: Arc::default(),
        }
    }

    fn wall(&self) -> SystemTime {
        self.clock.lock().expect("the clock").wall
    }

    fn set(&self, change: impl FnOnce(&mut Moment)) {
        change(&mut self.clock.lock().expect("the clock"));
    }

    fn advance(&self, seconds: u64) {
        self.set(|now| {
            now.wall += Duration::from_secs(seconds);
            now.boot += Duration::from_secs(seconds);
        });
    }

    fn n_calls(&self) -> usize {
        self.n_calls.load(Ordering::Relaxed)
    }

    fn n_cancelled(&self) -> usize {
        self.n_cancelled.load(Ordering::Relaxed)
    }

    /// The number of the call whose response was returned.
    async fn get(&self, query: &str, sharing: Sharing) -> usize {
        self.get_of(query, sharing, 0, Freshness::Unlimited).await
    }

    async fn get_of(&self, query: &str, sharing: Sharing, len: u64, freshness: Freshness) -> usize {
        let call = || self.call(len, freshness);
        let reply = self
            .flights
            .get(key(query, true), sharing, &self.budget, call);
        reply.await.response.call
    }

    fn call(&self, len: u64, freshness: Freshness) -> Flight<Reply> {
        let call = self.n_calls.fetch_add(1, Ordering::Relaxed) + 1;
        let mut cancelled = Cancelled(Some(Arc::clone(&self.n_cancelled)));
        let reservation = self.budget.reservation();
        async move {
            sleep(Duration::from_secs(1)).await;
            cancelled.disarm();
            let response = Reply {
                call,
                len,
                freshness,
            };
            Arrived {
                response,
                reservation,
            }
        }
        .boxed()
    }

    fn kept_mebibytes(&self) -> u64 {
        lock(&self.flights.table).kept_len() >> 20
    }

    fn n_slots(&self) -> usize {
        lock(&self.flights.table).slots.len()
    }
}

fn key(query: &str, may_ask_user: bool) -> Key {
    Key {
        query: query.parse().expect("a pattern"),
        may_ask_user,
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_is_used_again_for_its_time() {
    let plugin = Fixture::new();
    assert_eq!(plugin.get("a/*", KEEP).await, 1);
    plugin.advance(59);
    assert_eq!(plugin.get("a/*", KEEP).await, 1);
    plugin.advance(1);
    assert_eq!(plugin.get("a/*", KEEP).await, 2);
    plugin.flights.clear();
    assert_eq!(plugin.get("a/*", KEEP).await, 3);
    assert_eq!(plugin.get("a/b", KEEP).await, 4);
}

#[tokio::test(start_paused = true)]
async fn time_asleep_and_a_changed_wall_clock_count() {
    type Change = fn(&mut Moment);
    let hour = Duration::from_secs(3600);
    let changes: [(Change, bool); 4] = [
        (|now| now.boot += Duration::from_secs(3600), false),
        (|now| now.wall += Duration::from_secs(3600), false),
        // A wall clock that is set back makes nothing younger by the boot clock.
        (
            |now| {
                now.wall -= Duration::from_secs(3600);
                now.boot += Duration::from_secs(60);
            },
            false,
        ),
        (|now| now.wall -= Duration::from_secs(3600), true),
    ];
    for (change, is_used) in changes {
        for freshness in [
            Freshness::Unlimited,
            Freshness::Until(Fixture::new().wall() + hour),
        ] {
            let plugin = Fixture::new();
            plugin.get_of("a", KEEP, 0, freshness).await;
            plugin.set(change);
            let expected = if is_used { 1 } else { 2 };
            assert_eq!(plugin.get("a", KEEP).await, expected, "{freshness:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_kept_response_never_outlives_a_secret_in_it() {
    let plugin = Fixture::new();
    let expiry = plugin.wall() + Duration::from_secs(10);
    plugin.get_of("a", KEEP, 0, Freshness::Until(expiry)).await;
    plugin.advance(9);
    assert_eq!(plugin.get("a", KEEP).await, 1);
    plugin.advance(1);
    assert_eq!(plugin.get("a", KEEP).await, 2);
    let past = plugin.wall() - Duration::from_secs(1);
    for freshness in [Freshness::Until(past), Freshness::Never] {
        plugin.flights.clear();
        let before = plugin.get_of("a", KEEP, 0, freshness).await;
        assert_eq!(plugin.get("a", KEEP).await, before + 1, "{freshness:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn equal_calls_in_flight_are_one_if_sharing_is_allowed() {
    let plugin = Fixture::new();
    let shared = tokio::join!(
        plugin.get("a", SHARE),
        plugin.get("a", SHARE),
        plugin.get("a", KEEP)
    );
    assert_eq!(shared, (1, 1, 1));
    // Nothing was kept.
    assert_eq!(plugin.get("a", SHARE).await, 2);
    assert_eq!(plugin.n_slots(), 0);
    let alone = Sharing::default();
    let separate = tokio::join!(plugin.get("a", alone), plugin.get("a", alone));
    assert_eq!(separate, (3, 4));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_prompt_the_user_is_not_shared_with_one_that_may_not() {
    let plugin = Fixture::new();
    let get = |may_ask_user| {
        plugin
            .flights
            .get(key("a", may_ask_user), KEEP, &plugin.budget, || {
                plugin.call(0, Freshness::Unlimited)
            })
    };
    let (prompting, silent) = tokio::join!(get(true), get(false));
    assert_ne!(prompting.response.call, silent.response.call);
    assert_eq!(get(true).await.response.call, prompting.response.call);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_cancelled_when_its_last_caller_leaves() {
    let plugin = Fixture::new();
    let hurry = Duration::from_millis(1);
    let (first, second) =
        tokio::join!(timeout(hurry, plugin.get("a", KEEP)), plugin.get("a", KEEP));
    assert!(first.is_err());
    assert_eq!((second, plugin.n_cancelled()), (1, 0));
    plugin.flights.clear();
    let (first, second) = tokio::join!(
        timeout(hurry, plugin.get("a", KEEP)),
        timeout(hurry, plugin.get("a", KEEP)),
    );
    assert!(first.is_err() && second.is_err());
    assert_eq!((plugin.n_calls(), plugin.n_cancelled()), (2, 1));
    assert_eq!(plugin.get("a", KEEP).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_began_before_a_clear_is_neither_joined_nor_kept() {
    let plugin = Fixture::new();
    let clear = async {
        sleep(Duration::from_millis(500)).await;
        plugin.flights.clear();
        plugin.get("a/b", KEEP).await
    };
    let (before, also_before, after) =
        tokio::join!(plugin.get("a/b", KEEP), plugin.get("a/b", KEEP), clear);
    assert_eq!((before, also_before, after), (1, 1, 2));
    assert_eq!(plugin.get("a/b", KEEP).await, 2);
}

#[tokio::test(start_paused = true)]
async fn waiters_of_one_call_do_not_extend_its_age() {
    let plugin = Fixture::new();
    let (release, released) = oneshot::channel::<()>();
    let slow = plugin
        .flights
        .get(key("a", true), KEEP, &plugin.budget, || {
            let call = plugin.call(0, Freshness::Unlimited);
            async move {
                released.await.expect("released");
                call.await
            }
            .boxed()
        });
    let late = async {
        release.send(()).expect("a waiter");
        plugin.get("a", KEEP).await
    };
    let (slow, late) = tokio::join!(slow, late);
    assert_eq!((slow.response.call, late), (1, 1));
    plugin.advance(59);
    assert_eq!(plugin.get("a", KEEP).await, 1);
    plugin.advance(1);
    assert_eq!(plugin.get("a", KEEP).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_shorter_timeout_of_new_settings_applies_at_once() {
    let plugin = Fixture::new();
    plugin.get("a", KEEP).await;
    plugin.advance(10);
    let shorter = Sharing {
        keep: Some(Duration::from_secs(5)),
        ..KEEP
    };
    assert_eq!(plugin.get("a", shorter).await, 2);
}

#[tokio::test(start_paused = true)]
async fn kept_responses_have_a_limit_in_bytes() {
    let plugin = Fixture::new();
    for (query, mebibytes, kept_then) in
        [("a", 20, 20), ("b", 10, 30), ("c", 20, 20), ("d", 33, 20)]
    {
        let len = mebibytes << 20;
        plugin.get_of(query, KEEP, len, Freshness::Unlimited).await;
        assert_eq!(plugin.kept_mebibytes(), kept_then, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn kept_responses_have_a_limit_in_number_that_spares_calls_in_flight() {
    let plugin = Fixture::new();
    let in_flight = plugin.get("in/flight", SHARE);
    let fill = async {
        let queries: Vec<String> = (0..MAX_RESPONSES).map(|n| format!("q/{n}")).collect();
        let all = queries.iter().map(|query| plugin.get(query, KEEP));
        futures::future::join_all(all).await;
        assert!(plugin.n_slots() <= MAX_RESPONSES);
        plugin.n_calls()
    };
    let (first, n_calls) = tokio::join!(in_flight, fill);
    assert_eq!((first, n_calls), (1, MAX_RESPONSES + 1));
    // The last query found only calls in flight, so it got no slot and was not kept.
    assert_eq!(plugin.get("q/0", KEEP).await, 2);
    let uncounted = format!("q/{}", MAX_RESPONSES - 1);
    assert_eq!(plugin.get(&uncounted, KEEP).await, MAX_RESPONSES + 2);
}

#[tokio::test(start_paused = true)]
async fn a_kept_response_leaves_when_its_memory_is_needed() {
    let plugin = Fixture::new();
    let len = 16 << 20;
    assert_eq!(plugin.get_of("a", KEEP, len, Freshness::Unlimited).await, 1);
    assert_eq!(plugin.get("a", KEEP).await, 1);
    assert_eq!(plugin.budget.available(), (256 << 20) - len);
    let reservation = plugin.budget.reservation();
    let reserved = reservation.reserve(256 << 20).await;
    assert_eq!(reserved, Ok(()));
    assert_eq!(plugin.get_of("a", KEEP, len, Freshness::Unlimited).await, 2);
    // There is no memory to keep it.
    assert_eq!(plugin.get("a", KEEP).await, 3);
    drop(reservation);
    plugin.flights.clear();
    assert_eq!(plugin.budget.available(), 256 << 20);
}

fn response(expires_at: Option<Timestamp>) -> SharedResponse {
    let mut envelope = Envelope::default();
    envelope.value = Some(b"not-a-real-token".to_vec());
    envelope.expires_at = expires_at;
    Arc::new(Ok(Secrets {
        envelopes: vec![envelope],
        n_too_large: 0,
        memory_len: 16,
        incomplete: None,
    }))
}

#[test]
fn the_freshness_of_a_response_is_that_of_its_first_secret_to_expire() {
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let wire = |time: SystemTime| Some(timestamp::to_wire(Some(time)));
    assert_eq!(response(wire(at(7))).freshness(), Freshness::Until(at(7)));
    assert_eq!(response(wire(at(7))).memory_len(), 16);
    for none in [None, wire(at(0)), Some(timestamp::to_wire(None))] {
        assert_eq!(response(none).freshness(), Freshness::Unlimited);
    }
    let invalid = Timestamp {
        seconds: 1,
        nanos: -1,
    };
    assert_eq!(response(Some(invalid)).freshness(), Freshness::Until(at(1)));
    let not_found = CallError::Rpc(keyway_rpc::Error::not_found("no matching secret"));
    let not_found: SharedResponse = Arc::new(Err(not_found));
    assert_eq!(not_found.freshness(), Freshness::Unlimited);
    let late: SharedResponse = Arc::new(Err(CallError::TimedOut(TTL)));
    assert_eq!(late.freshness(), Freshness::Never);
}
