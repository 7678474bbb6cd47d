//! One call to a plugin, as a daemon makes it.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue};
use keyway_http::Exchange;
use keyway_mux::Connector;
use keyway_proto::keyway::store::v1::StoreServiceClient;
use keyway_proto::keyway::v1::{
    Failure, ListSecretsRequest, ListSecretsResponse, Secret, catalog_service_methods,
};
use keyway_proto::limits::{
    MAX_METADATA_ENTRIES, MAX_METADATA_LEN, MAX_RESPONSE_LEN, MAX_VALUE_LEN,
};
use keyway_proto::resolver::v1::{GetSecretsRequest, GetSecretsResponse, resolver_service_methods};
use keyway_proto::response::{Items, Measured, Undecoded};
use keyway_proto::{INCOMPLETE_HEADER, MAY_ASK_USER_HEADER, REQUEST_ID_HEADER, timestamp};
use keyway_rpc::client::{Client, Config};
use keyway_rpc::{BinaryMetadata as _, MethodSpec, Request};
use keyway_secrets::{Envelope, Pattern};
use prost::{Message, Name};
use prost_types::Timestamp;

use super::TestDaemon;
use crate::{Listed, ProviderError, ResultExt};

/// The request id of every call of a test.
const REQUEST_ID: HeaderValue = HeaderValue::from_static("00000000000000aa");

/// A call for a pattern, created by [`TestDaemon::call`].
#[derive(Debug)]
pub struct Call<'a> {
    daemon: &'a TestDaemon,
    pattern: String,
    may_ask_user: bool,
    timeout: Option<Duration>,
}

/// The response of a [`Call`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Found<T> {
    /// The returned secrets.
    pub found: Vec<T>,
    /// The error that makes the response incomplete; `None` if it is complete. Kind, remedy and `retry_after` are those of the provider;
    /// the message is empty.
    pub incomplete: Option<ProviderError>,
}

impl<'a> Call<'a> {
    pub(super) fn new(daemon: &'a TestDaemon, pattern: String) -> Self {
        Self {
            daemon,
            pattern,
            may_ask_user: true,
            timeout: None,
        }
    }

    /// Sets whether the provider may prompt the user. Default: `true`.
    #[must_use]
    pub fn may_ask_user(mut self, allowed: bool) -> Self {
        self.may_ask_user = allowed;
        self
    }

    /// Sets a deadline, `timeout` from now. Default: none, so that the request timeout of the registration applies.
    #[must_use]
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Gets the secrets.
    ///
    /// # Errors
    ///
    /// Returns the plugin's error, of kind [`NotFound`](crate::ErrorKind::NotFound) if no secret matches, and
    /// [`Internal`](crate::ErrorKind::Internal) for a response that exceeds the limits of a daemon.
    pub async fn get(self) -> Result<Found<Envelope>, ProviderError> {
        let request = GetSecretsRequest {
            pattern: Some(self.pattern.clone()),
        };
        let spec = &resolver_service_methods::GET_SECRETS;
        let response = self.send::<_, GetSecretsResponse>(spec, request).await?;
        let found: Result<_, _> = response.found.into_iter().map(Envelope::try_from).collect();
        Ok(Found {
            found: found.or_internal("an envelope is invalid")?,
            incomplete: response.incomplete,
        })
    }

    /// Lists the secrets.
    ///
    /// # Errors
    ///
    /// Returns the plugin's error, of kind [`CannotList`](crate::ErrorKind::CannotList) if it cannot list, and
    /// [`Internal`](crate::ErrorKind::Internal) for a response that exceeds the limits of a daemon.
    pub async fn list(self) -> Result<Found<Listed>, ProviderError> {
        let request = ListSecretsRequest {
            pattern: Some(self.pattern.clone()),
        };
        let spec = &catalog_service_methods::LIST_SECRETS;
        let response = self.send::<_, ListSecretsResponse>(spec, request).await?;
        let found = response.found.into_iter().map(to_listed);
        Ok(Found {
            found: found.collect::<Result<_, _>>()?,
            incomplete: response.incomplete,
        })
    }

    /// Calls a method and reads its response within the limits of a daemon.
    async fn send<In: Message + Name + 'static, M: Items + 'static>(
        &self,
        spec: &'static MethodSpec,
        message: In,
    ) -> Result<Found<M::Item>, ProviderError> {
        let config = Config::default()
            .accept_compression(false)
            .max_message_size(MAX_RESPONSE_LEN);
        let client = Client::with_config(self.daemon.transport(), config);
        let response = client
            .unary::<In, Undecoded<M>>(spec, self.request(message))
            .await
            .map_err(|error| read_error(&error, &self.pattern))?;
        let (parts, undecoded) = response.into_parts();
        let incomplete = incomplete(&parts.headers)?;
        let decoded = undecoded
            .measure()
            .and_then(Measured::into_items)
            .or_internal("a daemon refuses the response")?;
        match decoded.n_too_large {
            0 => Ok(Found {
                found: decoded.items,
                incomplete,
            }),
            count => Err(ProviderError::internal(format!(
                "a daemon refuses {count} of the secrets: a value has at most {MAX_VALUE_LEN} bytes, metadata at most {MAX_METADATA_ENTRIES} entries and {MAX_METADATA_LEN} bytes"
            ))),
        }
    }

    /// A client of the methods that write.
    pub(super) fn store(&self) -> StoreServiceClient<Exchange<Connector>> {
        StoreServiceClient::new(self.daemon.transport())
    }

    /// The pattern, or the id of a write.
    pub(super) fn pattern(&self) -> &str {
        &self.pattern
    }

    pub(super) fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        let headers = request.metadata_mut();
        headers.insert(REQUEST_ID_HEADER, REQUEST_ID);
        if !self.may_ask_user {
            headers.insert(MAY_ASK_USER_HEADER, HeaderValue::from_static("0"));
        }
        match self.timeout {
            Some(timeout) => request.timeout(timeout),
            None => request,
        }
    }
}

/// Converts an error as a daemon does. An invalid pattern counts as a pattern, not as a single id.
pub(super) fn read_error(error: &keyway_rpc::Error, query: &str) -> ProviderError {
    let pattern = query.parse::<Pattern>();
    let is_single = pattern.is_ok_and(|pattern| pattern.as_id().is_some());
    ProviderError::from_rpc(error, is_single)
}

fn incomplete(headers: &HeaderMap) -> Result<Option<ProviderError>, ProviderError> {
    let header = headers.get_binary(INCOMPLETE_HEADER);
    let header = header.or_internal("the header of an incomplete response is not base64")?;
    let Some(bytes) = header.first() else {
        return Ok(None);
    };
    let failure = Failure::decode(bytes.as_ref())
        .or_internal("the header of an incomplete response cannot be decoded")?;
    Ok(Some(ProviderError::from_failure(
        failure.within_limits(),
        String::new(),
    )))
}

fn to_listed(secret: Secret) -> Result<Listed, ProviderError> {
    let mut listed = Listed::new(secret.id.unwrap_or_default().parse()?);
    listed.version = secret.version.unwrap_or_default();
    listed.created_at = to_time(secret.created_at)?;
    listed.expires_at = to_time(secret.expires_at)?;
    listed.metadata = secret.metadata;
    Ok(listed)
}

pub(super) fn to_time(wire: Option<Timestamp>) -> Result<Option<SystemTime>, ProviderError> {
    timestamp::from_wire(wire).or_internal("a time is invalid")
}
