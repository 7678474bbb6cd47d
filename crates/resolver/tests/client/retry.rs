//! The one retry of a query whose providers were starting. The daemon is a router in this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keyway_proto::keyway::v1::FailureKind;
use keyway_proto::resolver::v1::{
    GetSecretsRequest, GetSecretsResponse, ResolverService, ResolverServiceServer,
};
use keyway_resolver::{GetOneError, ResolveError, Resolver};
use keyway_rpc::{Error, ErrorDetail, Request, Response, Router};
use tokio::time::Instant;

/// Returns the secret at the second request; at the first, `vault` is starting.
#[derive(Clone, Default)]
struct Starting {
    requests: Arc<AtomicUsize>,
    retry_after: Option<Duration>,
}

impl ResolverService for Starting {
    async fn get_secrets(
        &self,
        request: Request<GetSecretsRequest>,
    ) -> Result<Response<GetSecretsResponse>, Error> {
        if self.requests.fetch_add(1, Ordering::SeqCst) == 0 {
            let failures = crate::script::failures(FailureKind::Starting, self.retry_after);
            let error = Error::unavailable("vault is starting");
            return Err(error.with_detail(ErrorDetail::new(&failures)));
        }
        let envelope = crate::script::envelope(request.message().pattern(), "dummy", "vault");
        Ok(Response::new(GetSecretsResponse {
            envelopes: vec![envelope],
        }))
    }
}

/// The outcome of one query, the number of requests and the time that it took.
async fn query(
    retry_after: Option<Duration>,
    change: impl FnOnce(Resolver<Router>) -> Resolver<Router>,
) -> (Result<Vec<u8>, GetOneError>, usize, Duration) {
    let daemon = Starting {
        retry_after,
        ..Starting::default()
    };
    let service = ResolverServiceServer::<Starting>::new(daemon.clone());
    let resolver = change(Resolver::new(Router::new().add_service(service)));
    let started = Instant::now();
    let result = resolver.get_one(&"api/token".parse().unwrap()).await;
    (
        result.map(|envelope| envelope.value.expose().to_vec()),
        daemon.requests.load(Ordering::SeqCst),
        started.elapsed(),
    )
}

#[tokio::test(start_paused = true)]
async fn a_query_is_retried_once_after_the_providers_retry_after() {
    let wait = Duration::from_millis(700);
    let (result, requests, elapsed) = query(Some(wait), |resolver| resolver.with_retry(true)).await;
    assert_eq!((result.unwrap(), requests), (b"dummy".to_vec(), 2));
    assert!((wait..wait * 2).contains(&elapsed), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn there_is_no_retry_unless_enabled_and_within_two_seconds_and_the_timeout() {
    type Change = fn(Resolver<Router>) -> Resolver<Router>;
    let cases: [(Option<u64>, Change); 4] = [
        (Some(700), |resolver| resolver),
        (None, |resolver| resolver.with_retry(true)),
        (Some(2001), |resolver| resolver.with_retry(true)),
        (Some(700), |resolver| {
            let resolver = resolver.with_retry(true);
            resolver.with_timeout(Duration::from_millis(700))
        }),
    ];
    for (millis, change) in cases {
        let (result, requests, elapsed) = query(millis.map(Duration::from_millis), change).await;
        assert!(
            matches!(
                result,
                Err(GetOneError::Resolve(ResolveError::Uncertain { .. }))
            ),
            "{millis:?}"
        );
        assert_eq!((requests, elapsed), (1, Duration::ZERO), "{millis:?}");
    }
}
