//! The client itself.

use std::time::Duration;

use http::HeaderMap;
use keyway_proto::FAILED_PROVIDERS_HEADER;
use keyway_proto::health::v1::{GetVersionRequest, VersionServiceClient};
use keyway_proto::keyway::v1::{CatalogServiceClient, ListSecretsRequest};
use keyway_proto::resolver::v1::{
    AuthorizeRequest, AuthorizerServiceClient, GetSecretsRequest, ResolverServiceClient,
};
use keyway_rpc::Request;
use keyway_rpc::client::{Client, Config, Transport};
use keyway_secrets::{Envelope, Id, Pattern};

use crate::{Authorization, Catalog, GetOneError, ResolveError, Secrets, read};

/// The default of [`Resolver::with_timeout`]: long enough for a person who is asked by a provider.
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
/// for provider in &all.failed_providers {
///     eprintln!("{provider} did not answer: some secrets may be missing");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Resolver<S> {
    client: Client<S>,
    timeout: Duration,
    max_answer: usize,
}

impl<S: Transport> Resolver<S> {
    /// A client over a transport, such as a [`DaemonSocket`](crate::DaemonSocket).
    pub fn new(transport: S) -> Self {
        Self::configured(transport, TIMEOUT, MAX_ANSWER)
    }

    /// How long one request may take; the daemon is told, so that it gives up at the same time. Default: 5 minutes,
    /// because a provider may have to ask a person. The daemon has its own, shorter bound for each provider.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self::configured(self.client.transport().clone(), timeout, self.max_answer)
    }

    /// Refuses answers of more than `bytes` bytes. Default: 64 MiB.
    #[must_use]
    pub fn with_max_answer(self, bytes: usize) -> Self {
        Self::configured(self.client.transport().clone(), self.timeout, bytes)
    }

    fn configured(transport: S, timeout: Duration, max_answer: usize) -> Self {
        let config = Config::default()
            .timeout(timeout)
            .max_message_size(max_answer);
        Self {
            client: Client::with_config(transport, config),
            timeout,
            max_answer,
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
    /// [`ResolveError::NotFound`] when there is none and every provider that could have one has answered;
    /// [`ResolveError::Unavailable`], naming the providers that failed, when there is none and some have not. With at
    /// least one secret found, failed providers are in [`Secrets::failed_providers`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the request up and changes nothing.
    pub async fn get(&self, pattern: &Pattern) -> Result<Secrets, ResolveError> {
        let request = GetSecretsRequest {
            pattern: Some(pattern.to_string()),
        };
        let response = ResolverServiceClient::from(self.rpc())
            .get_secrets(Request::new(request))
            .await?;
        let failed_providers = failed_providers(response.headers());
        Ok(read::secrets(
            pattern,
            response.into_message(),
            failed_providers,
        ))
    }

    /// Gets the one secret with this id.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), and [`GetOneError::Ambiguous`] when several providers have it and none has priority.
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
        let request = ListSecretsRequest {
            pattern: Some(pattern.to_string()),
        };
        let response = CatalogServiceClient::from(self.rpc())
            .list_secrets(Request::new(request))
            .await?;
        Ok(read::catalog(response.into_message()))
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

/// The providers that a daemon names as failed, in its order.
pub(crate) fn failed_providers(headers: &HeaderMap) -> Vec<String> {
    let lines = headers
        .get_all(FAILED_PROVIDERS_HEADER)
        .iter()
        .filter_map(|line| line.to_str().ok());
    let names = lines.flat_map(|line| line.split(',')).map(str::trim);
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_providers_may_share_a_line_or_not() {
        let mut headers = HeaderMap::new();
        assert!(failed_providers(&headers).is_empty());
        headers.append(FAILED_PROVIDERS_HEADER, "a, b,,".parse().unwrap());
        headers.append(FAILED_PROVIDERS_HEADER, "c".parse().unwrap());
        assert_eq!(failed_providers(&headers), ["a", "b", "c"]);
    }
}
