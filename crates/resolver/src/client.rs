//! The async client.

use std::time::Duration;

use http::HeaderValue;
use keyway_proto::health::v1::{GetVersionRequest, VersionServiceClient};
use keyway_proto::keyway::v1::{CatalogServiceClient, ListSecretsRequest};
use keyway_proto::resolver::v1::{
    AuthorizeRequest, AuthorizerServiceClient, GetSecretsRequest, ResolverServiceClient,
};
use keyway_proto::{COMMAND_HEADER, MAX_COMMAND_LEN, MAY_ASK_USER_HEADER};
use keyway_rpc::Request;
use keyway_rpc::client::{Client, Config, Transport};
use keyway_secrets::{Envelope, Id, Pattern};
use tokio::time::{Instant, sleep_until};

use crate::{Authorization, Catalog, GetOneError, ResolveError, Secrets, decode, failure, retry};

/// Default of [`Resolver::with_max_response_len`].
const MAX_RESPONSE_LEN: usize = 64 * 1024 * 1024;

/// A client of the daemon over any transport: a tower service that sends HTTP requests.
///
/// Clones share the transport. Dropping the future of a method cancels its request, and the daemon then cancels its
/// calls to providers.
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

#[derive(Clone, Debug)]
struct Options {
    timeout: Option<Duration>,
    max_response_len: usize,
    may_ask_user: bool,
    retry: bool,
    command: Option<HeaderValue>,
}

impl<S: Transport> Resolver<S> {
    /// Creates a client over a transport, such as a [`DaemonSocket`](crate::DaemonSocket).
    pub fn new(transport: S) -> Self {
        let options = Options {
            timeout: None,
            max_response_len: MAX_RESPONSE_LEN,
            may_ask_user: true,
            retry: false,
            command: None,
        };
        Self::configured(transport, options)
    }

    /// Sets the timeout of one query, which is sent to the daemon as the deadline. Default: none, because a provider may have
    /// to prompt the user. The daemon has a timeout for each provider, and a [`DaemonSocket`](crate::DaemonSocket) ends a
    /// query without a timeout if the daemon does not respond. Another transport should end such a query as well.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        self.change(|options| options.timeout = Some(timeout))
    }

    /// Sets the largest accepted response in bytes. Default: 64 MiB.
    #[must_use]
    pub fn with_max_response_len(self, bytes: usize) -> Self {
        self.change(|options| options.max_response_len = bytes)
    }

    /// Sets whether providers may prompt the user. If not, a provider that needs to fails with
    /// [`FailureKind::NeedsUser`](crate::FailureKind::NeedsUser). Default: `true`. A [listing](Self::list) never prompts.
    #[must_use]
    pub fn with_may_ask_user(self, allowed: bool) -> Self {
        self.change(|options| options.may_ask_user = allowed)
    }

    /// Sets whether [`get`](Self::get) and [`get_one`](Self::get_one) repeat a query once if providers were starting. If
    /// every failed provider gave a `retry_after` and the largest is at most 2 s, they wait that long before the repetition,
    /// provided that the timeout allows it. Default: `false`.
    #[must_use]
    pub fn with_retry(self, retry: bool) -> Self {
        self.change(|options| options.retry = retry)
    }

    /// Names the command for which queries are made, for the daemon's audit log: its file name without a path and arguments.
    /// Characters other than printable ASCII become `_`, and more than 64 bytes are cut. Default: none.
    #[must_use]
    pub fn with_command(self, name: &str) -> Self {
        let printable = |c: char| if c.is_ascii_graphic() { c } else { '_' };
        let name: String = name.chars().map(printable).take(MAX_COMMAND_LEN).collect();
        // Printable ASCII is valid in a header.
        self.change(|options| options.command = HeaderValue::try_from(name).ok())
    }

    fn change(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        Self::configured(self.client.transport().clone(), self.options.clone())
    }

    fn configured(transport: S, options: Options) -> Self {
        let mut config = Config::default().max_message_size(options.max_response_len);
        if let Some(timeout) = options.timeout {
            config = config.timeout(timeout);
        }
        Self {
            client: Client::with_config(transport, config),
            options,
        }
    }

    /// Returns the underlying RPC client, for services that this crate has no methods for: `SomeServiceClient::from(...)`.
    pub fn rpc(&self) -> Client<S> {
        self.client.clone()
    }

    pub(crate) fn may_ask_user(&self) -> bool {
        self.options.may_ask_user
    }

    /// Gets every secret that the pattern matches.
    ///
    /// # Errors
    ///
    /// Returns [`ResolveError::NotFound`] if no secret matches and no provider that could hold one failed,
    /// [`ResolveError::Uncertain`] if providers failed and no id is certain, and [`ResolveError::Conflict`] if providers of
    /// equal rank disagree about every id. With at least one certain secret the result is `Ok`, and the providers that
    /// failed are in [`Secrets::failures`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the request and changes nothing.
    pub async fn get(&self, pattern: &Pattern) -> Result<Secrets, ResolveError> {
        let timeout = self.options.timeout;
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let first = self.get_once(pattern, deadline).await;
        let Some(wait) = retry::wait(&first).filter(|_| self.options.retry) else {
            return first;
        };
        let retry_at = Instant::now() + wait;
        if deadline.is_some_and(|deadline| deadline <= retry_at) {
            return first;
        }
        sleep_until(retry_at).await;
        self.get_once(pattern, deadline).await
    }

    async fn get_once(
        &self,
        pattern: &Pattern,
        deadline: Option<Instant>,
    ) -> Result<Secrets, ResolveError> {
        let mut request = Request::new(GetSecretsRequest {
            pattern: Some(pattern.to_string()),
        })
        .deadline_at(deadline);
        if !self.options.may_ask_user {
            forbid_prompts(&mut request);
        }
        if let Some(command) = &self.options.command {
            let headers = request.metadata_mut();
            headers.insert(COMMAND_HEADER, command.clone());
        }
        let response = ResolverServiceClient::from(self.rpc())
            .get_secrets(request)
            .await?;
        let failures = failure::from_headers(response.headers());
        Ok(decode::secrets(pattern, response.into_message(), failures))
    }

    /// Gets the one secret with this id, if it is certain.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`get`](Self::get). Also returns [`ResolveError::Uncertain`] if the response names a failed
    /// provider beside a value, [`ResolveError::InvalidResponse`] if it holds anything that was not requested or is invalid,
    /// and [`GetOneError::Ambiguous`] if it holds several values.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the request and changes nothing.
    pub async fn get_one(&self, id: &Id) -> Result<Envelope, GetOneError> {
        let secrets = self.get(&id.into()).await?;
        decode::only(id, secrets)
    }

    /// Checks whether secrets may be read, without reading them.
    ///
    /// # Errors
    ///
    /// Returns [`ResolveError::Denied`] if the daemon reports a denial as an error; daemons may also return an
    /// [`Authorization`] that is not allowed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the request and changes nothing.
    pub async fn authorize(&self, patterns: &[Pattern]) -> Result<Authorization, ResolveError> {
        let request = AuthorizeRequest {
            patterns: patterns.iter().map(Pattern::to_string).collect(),
        };
        let response = AuthorizerServiceClient::from(self.rpc())
            .authorize(Request::new(request))
            .await?;
        Ok(decode::authorization(response.into_message()))
    }

    /// Lists the secrets that the pattern matches, without their values. The catalog is empty if none matches.
    ///
    /// # Errors
    ///
    /// Returns [`ResolveError::Unsupported`] if the daemon does not implement Keyway's catalog service.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the request and changes nothing.
    pub async fn list(&self, pattern: &Pattern) -> Result<Catalog, ResolveError> {
        let mut request = Request::new(ListSecretsRequest {
            pattern: Some(pattern.to_string()),
        });
        forbid_prompts(&mut request);
        let response = CatalogServiceClient::from(self.rpc())
            .list_secrets(request)
            .await?;
        let failures = failure::from_headers(response.headers());
        Ok(decode::catalog(response.into_message(), failures))
    }

    /// Returns the daemon's version, a Go semver that starts with `v`.
    ///
    /// # Errors
    ///
    /// Returns a [`ResolveError`] if the daemon does not respond.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the request and changes nothing.
    pub async fn version(&self) -> Result<String, ResolveError> {
        let response = VersionServiceClient::from(self.rpc())
            .get_version(GetVersionRequest {})
            .await?;
        Ok(response.into_message().version.unwrap_or_default())
    }
}

pub(crate) fn forbid_prompts<M>(request: &mut Request<M>) {
    let headers = request.metadata_mut();
    headers.insert(MAY_ASK_USER_HEADER, HeaderValue::from_static("0"));
}
