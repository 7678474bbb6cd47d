//! The client itself.

use std::time::Duration;

use http::HeaderValue;
use keyway_proto::MAY_ASK_USER_HEADER;
use keyway_proto::health::v1::{GetVersionRequest, VersionServiceClient};
use keyway_proto::keyway::v1::{CatalogServiceClient, ListSecretsRequest};
use keyway_proto::resolver::v1::{
    AuthorizeRequest, AuthorizerServiceClient, GetSecretsRequest, ResolverServiceClient,
};
use keyway_rpc::Request;
use keyway_rpc::client::{Client, Config, Transport};
use keyway_secrets::{Envelope, Id, Pattern};
use tokio::time::{Instant, sleep_until};

use crate::{Authorization, Catalog, GetOneError, ResolveError, Secrets, failure, read, retry};

/// The default of [`Resolver::with_timeout`]: long enough for a provider that asks the user.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The default of [`Resolver::with_max_answer`].
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Asks a daemon for secrets, over any transport: a tower service that carries HTTP requests.
///
/// Clones share the transport. Every method is one request; dropping its future gives the request up, and the daemon
/// then gives up asking its providers.
///
/// ```no_run
/// use keyway_resolver::{DaemonSocket, Resolver};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let resolver = Resolver::new(DaemonSocket::from_env()?);
/// let token = resolver.get_one(&"api/token".parse()?).await?;
/// assert!(!token.value.is_empty());
///
/// let all = resolver.get(&"database/**".parse()?).await?;
/// for failure in &all.failures {
///     eprintln!("{} failed ({}): some secrets may be missing", failure.name, failure.kind.name());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Resolver<S> {
    client: Client<S>,
    options: Options,
}

#[derive(Clone, Copy, Debug)]
struct Options {
    timeout: Duration,
    max_answer: usize,
    may_ask_user: bool,
    retry: bool,
}

impl<S: Transport> Resolver<S> {
    /// A client over a transport, such as a [`DaemonSocket`](crate::DaemonSocket).
    pub fn new(transport: S) -> Self {
        let options = Options {
            timeout: TIMEOUT,
            max_answer: MAX_ANSWER,
            may_ask_user: true,
            retry: false,
        };
        Self::configured(transport, options)
    }

    /// How long one request may take; the daemon is told, so that it gives up at the same time. Default: 5 minutes,
    /// because a provider may have to ask the user. The daemon has its own, shorter bound for each provider.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        self.change(|options| options.timeout = timeout)
    }

    /// Refuses answers of more than `bytes` bytes. Default: 64 MiB.
    #[must_use]
    pub fn with_max_answer(self, bytes: usize) -> Self {
        self.change(|options| options.max_answer = bytes)
    }

    /// Whether providers may ask the user. If not, a provider that would have to fails with
    /// [`FailureKind::NeedsUser`](crate::FailureKind::NeedsUser). Default: `true`. A [listing](Self::list) never asks.
    #[must_use]
    pub fn with_may_ask_user(self, allowed: bool) -> Self {
        self.change(|options| options.may_ask_user = allowed)
    }

    /// Whether [`get`](Self::get) and [`get_one`](Self::get_one) ask once more after providers that were just being started: if
    /// every failed provider gave a `retry_after` and the largest is at most 2 s, they wait that long, provided that the
    /// timeout allows it. Default: `false`.
    #[must_use]
    pub fn with_retry(self, retry: bool) -> Self {
        self.change(|options| options.retry = retry)
    }

    fn change(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        Self::configured(self.client.transport().clone(), self.options)
    }

    fn configured(transport: S, options: Options) -> Self {
        let config = Config::default()
            .timeout(options.timeout)
            .max_message_size(options.max_answer);
        Self {
            client: Client::with_config(transport, config),
            options,
        }
    }

    /// The client below, for services that this crate has no methods for: `SomeServiceClient::from(...)`.
    pub fn rpc(&self) -> Client<S> {
        self.client.clone()
    }

    /// Gets every secret that the pattern matches.
    ///
    /// # Errors
    ///
    /// Returns [`ResolveError::NotFound`] if there is none and every provider that could hold one has answered,
    /// [`ResolveError::Uncertain`] if providers failed and no id is certain, and [`ResolveError::Conflict`] if providers of
    /// equal rank disagree about every id. With at least one certain secret, the others are in [`Secrets::failures`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the request up and changes nothing.
    pub async fn get(&self, pattern: &Pattern) -> Result<Secrets, ResolveError> {
        let deadline = Instant::now().checked_add(self.options.timeout);
        let first = self.get_once(pattern, deadline).await;
        let Some(wait) = retry::wait(&first).filter(|_| self.options.retry) else {
            return first;
        };
        let again = Instant::now() + wait;
        if deadline.is_some_and(|deadline| deadline <= again) {
            return first;
        }
        sleep_until(again).await;
        self.get_once(pattern, deadline).await
    }

    async fn get_once(
        &self,
        pattern: &Pattern,
        deadline: Option<Instant>,
    ) -> Result<Secrets, ResolveError> {
        let mut request = Request::new(GetSecretsRequest {
            pattern: Some(pattern.to_string()),
        });
        request.set_deadline(deadline);
        if !self.options.may_ask_user {
            forbid_prompts(&mut request);
        }
        let response = ResolverServiceClient::from(self.rpc())
            .get_secrets(request)
            .await?;
        let failures = failure::of_headers(response.headers());
        Ok(read::secrets(pattern, response.into_message(), failures))
    }

    /// Gets the one secret with this id, if it is certain.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get). Also returns [`ResolveError::Uncertain`] if the response names a failed provider beside a value,
    /// [`ResolveError::InvalidResponse`] if it holds anything that was not asked for or cannot be read, and
    /// [`GetOneError::Ambiguous`] if it holds several values.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the request up and changes nothing.
    pub async fn get_one(&self, id: &Id) -> Result<Envelope, GetOneError> {
        let secrets = self.get(&id.into()).await?;
        read::only(id, secrets)
    }

    /// Asks whether secrets may be read, without reading them.
    ///
    /// # Errors
    ///
    /// A refusal may come as an answer or as [`ResolveError::Denied`], as the daemon likes.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the request up and changes nothing.
    pub async fn authorize(&self, patterns: &[Pattern]) -> Result<Authorization, ResolveError> {
        let request = AuthorizeRequest {
            patterns: patterns.iter().map(Pattern::to_string).collect(),
        };
        let response = AuthorizerServiceClient::from(self.rpc())
            .authorize(Request::new(request))
            .await?;
        Ok(read::authorization(response.into_message()))
    }

    /// Lists the secrets that the pattern matches, without their values. This asks Keyway's own service: a daemon of
    /// another make answers [`ResolveError::Unsupported`].
    ///
    /// # Errors
    ///
    /// Nothing found is an empty list and not an error.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the request up and changes nothing.
    pub async fn list(&self, pattern: &Pattern) -> Result<Catalog, ResolveError> {
        let mut request = Request::new(ListSecretsRequest {
            pattern: Some(pattern.to_string()),
        });
        forbid_prompts(&mut request);
        let response = CatalogServiceClient::from(self.rpc())
            .list_secrets(request)
            .await?;
        let failures = failure::of_headers(response.headers());
        Ok(read::catalog(response.into_message(), failures))
    }

    /// Asks for the daemon's version: Go semver, so it starts with `v`.
    ///
    /// # Errors
    ///
    /// No answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the request up and changes nothing.
    pub async fn version(&self) -> Result<String, ResolveError> {
        let response = VersionServiceClient::from(self.rpc())
            .get_version(GetVersionRequest {})
            .await?;
        Ok(response.into_message().version.unwrap_or_default())
    }
}

fn forbid_prompts<M>(request: &mut Request<M>) {
    let headers = request.metadata_mut();
    headers.insert(MAY_ASK_USER_HEADER, HeaderValue::from_static("0"));
}
