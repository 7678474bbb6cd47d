//! The registration request of a plugin, validated before it is sent.

use std::time::Duration;

use keyway_proto::DESCRIBE_HEADER;
use keyway_proto::plugins::v1::RegisterPluginRequest;
use keyway_proto::registration::{InvalidRegistration, check_registration};
use keyway_rpc::{BinaryMetadata as _, Request};
use prost::Message as _;

use crate::service::Role;

/// The registration request that the plugin sends on each of its connections.
#[derive(Clone, Debug)]
pub(crate) struct RegistrationRequest {
    pub(crate) name: String,
    pub(crate) timeout: Duration,
    message: RegisterPluginRequest,
    /// The encoded description; empty for an access-control module.
    description: Vec<u8>,
}

impl RegistrationRequest {
    /// Creates the request of a role and validates it by the rules of the daemon.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidRegistration`] if the name, version, realm or description breaks a rule.
    pub(crate) fn new(
        name: String,
        timeout: Duration,
        role: &dyn Role,
    ) -> Result<Self, InvalidRegistration> {
        let version = role.version();
        let pattern = role.pattern();
        let registered = check_registration(
            &name,
            &version,
            pattern.as_ref().map(keyway_secrets::Pattern::as_str),
        )?;
        let mut description = Vec::new();
        if let (Some(registered), Some(described)) = (registered, role.description()) {
            described.check(&registered)?;
            description = described.encode_to_vec();
        }
        let message = RegisterPluginRequest {
            name: Some(name.clone()),
            version: Some(version),
            metadata: Some(role.metadata()),
        };
        Ok(Self {
            name,
            timeout,
            message,
            description,
        })
    }

    /// Returns the message with its headers.
    pub(crate) fn to_request(&self) -> Request<RegisterPluginRequest> {
        let mut request = Request::new(self.message.clone());
        if !self.description.is_empty() {
            request
                .metadata_mut()
                .append_binary(DESCRIBE_HEADER, &self.description)
                .expect("the name of the header is a constant");
        }
        request
    }
}
