//! The callers: each queries ids in its own manner until it is stopped, and has every response judged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keyway_local::Address;
use keyway_proto::resolver::v1::GetSecretsRequest;
use keyway_resolver::{
    DaemonSocket, GetOneError, ProviderFailure, ResolveError, Resolver, blocking,
};
use prost::Message as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::http2;
use crate::model::{Call, Model, Outcome};
use crate::random::Random;
use crate::wire::{self, Pace};
use crate::world::{Plugin, ids, is_large};

/// Number of callers.
const N_CALLERS: usize = 64;

/// The deadline of most calls: longer than any fault lasts, so a call that runs into it has failed.
const PATIENT: Duration = Duration::from_secs(120);

/// The deadline of hasty calls.
const HASTY: Duration = Duration::from_millis(200);

/// The time after its deadline by which a call must have returned on a busy machine.
const SLACK: Duration = Duration::from_secs(60);

/// One in so many calls queries a large value.
const LARGE_ONE_IN: usize = 16;

/// The longest pause of a caller between two calls.
const MAX_PAUSE: usize = 120;

/// The state that all callers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) address: Address,
    pub(crate) model: Arc<Model>,
    pub(crate) is_stopped: AtomicBool,
}

/// The callers that run.
#[derive(Debug)]
pub(crate) struct Callers {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Callers {
    /// Starts all callers. They close their connections when they are stopped.
    pub(crate) fn start(address: &Address, model: &Arc<Model>, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            address: address.clone(),
            model: Arc::clone(model),
            is_stopped: AtomicBool::new(false),
        });
        let socket = DaemonSocket::at(address.clone()).connect_timeout(PATIENT);
        let resolver = Resolver::new(socket).with_timeout(PATIENT);
        let mut tasks = JoinSet::new();
        for number in 0..N_CALLERS {
            let caller = Caller {
                random: Random::of(seed, &format!("caller {number}")),
                shared: Arc::clone(&shared),
                resolver: resolver.clone(),
            };
            tasks.spawn(caller.run(number));
        }
        Self { shared, tasks }
    }

    /// Stops the callers, and waits for those that are still waiting for a response.
    pub(crate) async fn stop(mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        while let Some(done) = self.tasks.join_next().await {
            done.expect("a caller does not panic");
        }
    }
}

struct Caller {
    shared: Arc<Shared>,
    random: Random,
    resolver: Resolver<DaemonSocket>,
}

impl Caller {
    async fn run(mut self, number: usize) {
        while !self.shared.is_stopped.load(Ordering::SeqCst) {
            match number % 16 {
                0..=4 => self.resolve().await,
                5 => self.resolve_hastily().await,
                6 | 7 => self.cancel().await,
                8 => self.block().await,
                9 => self.list_shared().await,
                10 | 11 => self.speak_http().await,
                12 => self.speak_http2().await,
                13 => self.read_slowly().await,
                14 => self.send_half().await,
                _ => self.get_version().await,
            }
            let pause = self.random.below(MAX_PAUSE);
            sleep(Duration::from_millis(pause as u64)).await;
        }
    }

    fn call(&mut self, caller: &'static str, timeout: Duration) -> Call {
        let wants_large = self.random.below(LARGE_ONE_IN) == 0;
        let ids: Vec<_> = ids().filter(|id| is_large(id) == wants_large).collect();
        let id = self.random.pick(&ids).clone();
        Call {
            caller,
            id,
            started: Instant::now(),
            timeout,
        }
    }

    fn judge(&self, call: &Call, outcome: &Outcome) {
        self.shared.model.judge(call, outcome, SLACK);
    }

    async fn resolve(&mut self) {
        let call = self.call("resolver", PATIENT);
        let id = call.id.parse().expect("an id");
        let result = self.resolver.get_one(&id).await;
        self.judge(&call, &of_result(result));
    }

    async fn resolve_hastily(&mut self) {
        let call = self.call("hasty resolver", HASTY);
        let id = call.id.parse().expect("an id");
        let resolver = self.resolver.clone().with_timeout(HASTY);
        let outcome = of_result(resolver.get_one(&id).await);
        // The deadline of a call is that of each provider as well.
        if !matches!(outcome, Outcome::TimedOut | Outcome::Failed(_)) {
            self.judge(&call, &outcome);
        }
    }

    /// Drops a call at any moment.
    async fn cancel(&mut self) {
        let call = self.call("resolver that cancels", PATIENT);
        let id = call.id.parse().expect("an id");
        let limit = Duration::from_micros(self.random.below(20_000) as u64);
        if let Ok(result) = timeout(limit, self.resolver.get_one(&id)).await {
            self.judge(&call, &of_result(result));
        }
    }

    /// Uses the blocking client, a new one for each call.
    async fn block(&mut self) {
        let call = self.call("blocking resolver", PATIENT);
        let id = call.id.parse().expect("an id");
        let socket = DaemonSocket::at(self.shared.address.clone()).connect_timeout(PATIENT);
        let result = tokio::task::spawn_blocking(move || {
            let resolver = blocking::Resolver::new(socket).expect("an event queue");
            resolver.with_timeout(PATIENT).get_one(&id)
        });
        let result = result.await.expect("the client does not panic");
        self.judge(&call, &of_result(result));
    }

    /// Queries a pattern and judges each of its ids.
    async fn list_shared(&mut self) {
        let mut call = self.call("resolver of a pattern", PATIENT);
        let pattern = "shared/*".parse().expect("a pattern");
        let result = self.resolver.get(&pattern).await;
        for id in ids().filter(|id| id.starts_with("shared/")) {
            let outcome = match &result {
                Ok(secrets) => {
                    let mut envelopes = secrets.envelopes.iter();
                    match envelopes.find(|envelope| envelope.id.to_string() == id) {
                        Some(envelope) => Outcome::Value(envelope.value.expose().to_vec()),
                        None if secrets.failures.is_empty() => Outcome::NotFound,
                        None => Outcome::Omitted(names(&secrets.failures)),
                    }
                }
                Err(ResolveError::Uncertain { failures, .. }) => Outcome::Omitted(names(failures)),
                Err(error) => Outcome::Error(format!("{error:?}")),
            };
            call.id = id;
            self.judge(&call, &outcome);
        }
    }

    async fn speak_http(&mut self) {
        let call = self.call("http", PATIENT);
        let outcome = wire::query(&self.shared.address, &call, Pace::Fast).await;
        self.judge(&call, &outcome);
    }

    async fn read_slowly(&mut self) {
        let mut call = self.call("slow reader", PATIENT);
        let plugin = *self.random.pick(&Plugin::ALL);
        call.id = format!("{}/large", plugin.name());
        let outcome = wire::query(&self.shared.address, &call, Pace::Slow).await;
        self.judge(&call, &outcome);
    }

    /// Sends a part of a request, waits and leaves.
    async fn send_half(&mut self) {
        let call = self.call("half a request", PATIENT);
        let request = wire::request(&call);
        let length = self.random.below(request.len());
        let pause = Duration::from_millis(self.random.below(500) as u64);
        // Only a daemon without descriptors refuses the connection, which other callers judge.
        let Ok(mut stream) = wire::connect(&self.shared.address).await else {
            return;
        };
        if stream.write_all(&request[..length]).await.is_ok() {
            sleep(pause).await;
        }
    }

    /// Several calls over one HTTP/2 connection, some of them reset.
    async fn speak_http2(&mut self) {
        let n_calls = 1 + self.random.below(4);
        let calls: Vec<_> = (0..n_calls)
            .map(|_| {
                let call = self.call("http/2", PATIENT);
                (call, self.random.below(4) == 0)
            })
            .collect();
        let stream = wire::connect(&self.shared.address).await;
        for (call, outcome) in http2::query_all(stream, calls).await {
            self.judge(&call, &outcome);
        }
    }

    /// The version is served at any time.
    async fn get_version(&mut self) {
        let mut call = self.call("version", PATIENT);
        call.id = Plugin::Steady.own_id();
        let outcome = match timeout(PATIENT, self.resolver.version()).await {
            // Judged as the query whose outcome no fault of a plugin changes.
            Ok(Ok(_)) => Outcome::Value(Plugin::Steady.value(&call.id).into_bytes()),
            Ok(Err(error)) => Outcome::Error(format!("{error:?}")),
            Err(_) => Outcome::TimedOut,
        };
        self.judge(&call, &outcome);
    }
}

/// One query of a resolver, judged.
pub(crate) async fn resolve_once(model: &Model, resolver: &Resolver<DaemonSocket>, id: String) {
    let call = Call {
        caller: "verification",
        id,
        started: Instant::now(),
        timeout: PATIENT,
    };
    let id = call.id.parse().expect("an id");
    let outcome = of_result(resolver.get_one(&id).await);
    model.judge(&call, &outcome, SLACK);
}

fn names(failures: &[ProviderFailure]) -> BTreeMap<String, String> {
    let failures = failures.iter().map(|failure| {
        let text = format!("{:?}: {}", failure.kind, failure.message);
        (failure.name.clone(), text)
    });
    failures.collect()
}

/// Returns the meaning of a resolver's result.
pub(crate) fn of_result(result: Result<keyway_secrets::Envelope, GetOneError>) -> Outcome {
    match result {
        Ok(envelope) => Outcome::Value(envelope.value.expose().to_vec()),
        Err(GetOneError::Resolve(ResolveError::NotFound { .. })) => Outcome::NotFound,
        Err(GetOneError::Resolve(ResolveError::TimedOut { .. })) => Outcome::TimedOut,
        Err(GetOneError::Resolve(ResolveError::Uncertain { failures, .. })) => {
            Outcome::Failed(names(&failures))
        }
        Err(error) => Outcome::Error(format!("{error:?}")),
    }
}

/// The message of a query for one id.
pub(crate) fn message(id: &str) -> Vec<u8> {
    let request = GetSecretsRequest {
        pattern: Some(id.to_owned()),
    };
    request.encode_to_vec()
}

/// A connection, or the error of the daemon's socket.
pub(crate) type Connected = std::io::Result<UnixStream>;
