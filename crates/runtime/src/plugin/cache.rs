//! Answers of one plugin that may be used again, where configuration says so (`cache_ttl`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use keyway_proto::resolver::v1::GetSecretsResponse;
use keyway_proto::timestamp;
use tokio::time::Instant;

use super::CallError;

/// How many answers are kept for one plugin. Their values are in the daemon's memory for that long.
const MAX_ANSWERS: usize = 256;

/// How many bytes their values have together; an answer that is larger by itself is not kept.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// An answer that several callers share.
pub(crate) type SharedAnswer = Arc<Result<GetSecretsResponse, CallError>>;

type Flight = BoxFuture<'static, SharedAnswer>;

/// The answers of one plugin by question. It is dropped with the plugin's registration, and the values in it are wiped then.
///
/// Where there is no room for another answer, all are forgotten.
///
/// Callers that ask the same at the same time share one request; it is given up when the last of them has left.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<HashMap<String, Slot>>);

#[derive(Debug)]
enum Slot {
    Asked(WeakShared<Flight>),
    Answered {
        answer: SharedAnswer,
        until: Instant,
    },
}

impl Cache {
    /// The answer to `question`, from the cache or by `ask`; it is kept for at most `ttl`.
    pub(crate) async fn get(
        &self,
        question: &str,
        ttl: Duration,
        ask: impl FnOnce() -> Flight,
    ) -> SharedAnswer {
        let flight = match self.look_up(question, ask) {
            Ok(answer) => return answer,
            Err(flight) => flight,
        };
        let answer = flight.await;
        if let Some(lifetime) = lifetime(&answer, ttl, SystemTime::now()) {
            self.insert(question, &answer, Instant::now() + lifetime);
        }
        answer
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn look_up(
        &self,
        question: &str,
        ask: impl FnOnce() -> Flight,
    ) -> Result<SharedAnswer, Shared<Flight>> {
        let mut slots = self.lock();
        match slots.get(question) {
            Some(Slot::Answered { answer, until }) if Instant::now() < *until => {
                return Ok(Arc::clone(answer));
            }
            Some(Slot::Asked(flight)) => {
                if let Some(flight) = flight.upgrade() {
                    return Err(flight);
                }
            }
            _ => {}
        }
        let flight = ask().shared();
        if let Some(weak) = flight.downgrade() {
            make_room(&mut slots, 0);
            slots.insert(question.to_owned(), Slot::Asked(weak));
        }
        Err(flight)
    }

    fn insert(&self, question: &str, answer: &SharedAnswer, until: Instant) {
        let size = answer.as_ref().as_ref().map_or(0, size);
        let mut slots = self.lock();
        slots.remove(question);
        if size > MAX_BYTES {
            return;
        }
        make_room(&mut slots, size);
        let answer = Arc::clone(answer);
        slots.insert(question.to_owned(), Slot::Answered { answer, until });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many bytes the values of an answer have.
pub(crate) fn size(response: &GetSecretsResponse) -> u64 {
    let values = response.envelopes.iter();
    values.map(|envelope| envelope.value().len() as u64).sum()
}

fn kept(slots: &HashMap<String, Slot>) -> u64 {
    let sizes = slots.values().map(|slot| match slot {
        Slot::Asked(_) => 0,
        Slot::Answered { answer, .. } => answer.as_ref().as_ref().map_or(0, size),
    });
    sizes.sum()
}

/// Makes room for one more answer of `size` bytes.
fn make_room(slots: &mut HashMap<String, Slot>, size: u64) {
    let is_full = |slots: &HashMap<_, _>| {
        slots.len() >= MAX_ANSWERS || (size > 0 && kept(slots) + size > MAX_BYTES)
    };
    if !is_full(slots) {
        return;
    }
    let now = Instant::now();
    slots.retain(|_, slot| match slot {
        Slot::Asked(flight) => flight.upgrade().is_some(),
        Slot::Answered { until, .. } => now < *until,
    });
    if is_full(slots) {
        slots.clear();
    }
}

/// How long an answer may be used: not at all when it is a failure, and never longer than a secret in it is valid. That
/// there is nothing is an answer too.
fn lifetime(answer: &SharedAnswer, ttl: Duration, now: SystemTime) -> Option<Duration> {
    let response = match answer.as_ref() {
        Ok(response) => response,
        Err(error) => return error.is_not_found().then_some(ttl),
    };
    let expiries = response
        .envelopes
        .iter()
        .filter_map(|envelope| timestamp::from_wire(envelope.expires_at).ok()?);
    let valid = expiries
        .map(|at| at.duration_since(now).unwrap_or_default())
        .min();
    Some(valid.map_or(ttl, |valid| valid.min(ttl))).filter(|lifetime| !lifetime.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn answer(expires_at: Option<SystemTime>) -> SharedAnswer {
        let mut response = GetSecretsResponse::default();
        let mut envelope = keyway_proto::resolver::v1::get_secrets_response::Envelope::default();
        envelope.expires_at = Some(timestamp::to_wire(expires_at));
        response.envelopes.push(envelope);
        Arc::new(Ok(response))
    }

    /// A cache, and how often the plugin was asked.
    #[derive(Default)]
    struct Asked(Cache, AtomicUsize);

    impl Asked {
        async fn get(&self, answer: SharedAnswer) -> SharedAnswer {
            let ask = || {
                self.1.fetch_add(1, Ordering::Relaxed);
                async move {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    answer
                }
                .boxed()
            };
            self.0.get("a/*", Duration::from_secs(60), ask).await
        }

        fn count(&self) -> usize {
            self.1.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_used_again_until_its_time_is_over() {
        let asked = Asked::default();
        asked.get(answer(None)).await;
        tokio::time::advance(Duration::from_secs(59)).await;
        asked.get(answer(None)).await;
        assert_eq!(asked.count(), 1);
        tokio::time::advance(Duration::from_secs(2)).await;
        asked.get(answer(None)).await;
        assert_eq!(asked.count(), 2);
        asked.0.clear();
        asked.get(answer(None)).await;
        assert_eq!(asked.count(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn callers_at_the_same_time_share_one_request_that_ends_with_the_last_of_them() {
        let asked = Asked::default();
        tokio::join!(
            asked.get(answer(None)),
            asked.get(answer(None)),
            asked.get(answer(None))
        );
        assert_eq!(asked.count(), 1);
        asked.0.clear();
        let hurry = Duration::from_millis(1);
        let (one, other) = tokio::join!(
            tokio::time::timeout(hurry, asked.get(answer(None))),
            tokio::time::timeout(hurry, asked.get(answer(None))),
        );
        assert!(one.is_err() && other.is_err());
        assert_eq!(asked.count(), 2);
        // Nobody waits for that request any more, so the next caller makes another.
        asked.get(answer(None)).await;
        assert_eq!(asked.count(), 3);
    }

    fn large(mebibytes: usize) -> SharedAnswer {
        let mut response = GetSecretsResponse::default();
        let mut envelope = keyway_proto::resolver::v1::get_secrets_response::Envelope::default();
        envelope.value = Some(vec![0; mebibytes << 20]);
        response.envelopes.push(envelope);
        Arc::new(Ok(response))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_has_a_limit() {
        let asked = Asked::default();
        for (answer, kept_then) in [
            (large(20), 20),
            (large(10), 30),
            (large(20), 20),
            (large(33), 20),
        ] {
            let question = format!("a/{}", asked.count());
            let flight = || async { answer }.boxed();
            asked
                .0
                .get(&question, Duration::from_secs(60), flight)
                .await;
            asked.1.fetch_add(1, Ordering::Relaxed);
            assert_eq!(kept(&asked.0.lock()) >> 20, kept_then);
        }
    }

    #[test]
    fn failures_and_expired_secrets_are_not_kept() {
        let (ttl, now) = (
            Duration::from_secs(60),
            SystemTime::UNIX_EPOCH + Duration::from_secs(1000),
        );
        let kept = |answer: &SharedAnswer| lifetime(answer, ttl, now);
        assert_eq!(kept(&answer(None)), Some(ttl));
        assert_eq!(
            kept(&answer(Some(now + Duration::from_secs(5)))),
            Some(Duration::from_secs(5))
        );
        assert_eq!(kept(&answer(Some(now - Duration::from_secs(5)))), None);
        assert_eq!(kept(&Arc::new(Err(CallError::TimedOut(ttl)))), None);
        let nothing = CallError::Rpc(keyway_rpc::Error::not_found("nothing"));
        assert_eq!(kept(&Arc::new(Err(nothing))), Some(ttl));
    }
}
