//! Registrations: a plugin's statements about itself. The rules are those of [`keyway_proto::registration`].

use std::time::Duration;

use http::HeaderMap;
use keyway_local::{shortened, with_causes};
use keyway_proto::keyway::v1::PluginDescription;
use keyway_proto::limits::DEFAULT_CONCURRENCY;
use keyway_proto::registration::{InvalidDescription, InvalidRegistration, check_registration};
use keyway_proto::{DESCRIBE_HEADER, plugins, resolver};
use keyway_rpc::{BinaryMetadata, Error};
use keyway_secrets::Pattern;

use crate::config::PluginSettings;
use crate::model::{Kind, ParsePluginNameError, PluginName};

/// The longest part of a wrong name that a message repeats, in characters.
const MAX_NAME_CHARS: usize = 64;

/// Which generation of the protocol a plugin speaks, by the path at which it registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generation {
    /// `resolver.v1.EngineService`: plugin SDKs of 2025.
    Engine,
    /// `resolver.v1.RegisterService`: early 2026.
    ResolverRegister,
    /// `plugins.v1.RegisterService`: since July 2026.
    PluginsRegister,
}

/// A registration request, whichever path it came by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RegistrationRequest {
    pub(crate) generation: Generation,
    name: String,
    version: String,
    metadata: Metadata,
    /// `None` if the plugin sent none.
    description: Option<Result<PluginDescription, DescriptionError>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Metadata {
    Provider { pattern: String },
    AccessControl,
    Missing,
}

/// A registration that keeps the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) generation: Generation,
    pub(crate) name: PluginName,
    /// A Go semver, with its leading `v`.
    pub(crate) version: String,
    pub(crate) kind: Kind,
    /// The pattern of a provider, as it registered it; the described ones, which `kind` holds, are parts of it.
    pub(crate) pattern: Option<Pattern>,
    pub(crate) description: Description,
}

/// The description that a plugin sent beside its registration, with the defaults of the parts that it left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Description {
    /// `true` if the plugin sent a description.
    pub(crate) is_sent: bool,
    /// The most calls in flight.
    concurrency: Option<u32>,
    shareable: bool,
    interactive: bool,
    lists: Option<bool>,
    /// `true` if it stores secrets for clients.
    pub(crate) stores: bool,
    pub(crate) text: String,
    pub(crate) homepage: String,
}

/// Error of a refused registration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RegistrationError {
    #[error(transparent)]
    Invalid(#[from] InvalidRegistration),
    #[error(transparent)]
    Description(#[from] DescriptionError),
    #[error("the plugin's name is not valid")]
    Name(#[source] ParsePluginNameError),
    #[error(
        "the plugin was launched as {expected} and must register with that name, not as {actual:?}"
    )]
    WrongName {
        expected: PluginName,
        actual: String,
    },
    #[error("plugin {0}: the registration says neither secrets provider nor access-control module")]
    NoKind(PluginName),
    #[error(
        "plugin {0}: the configuration gives it a realm, so it must register as a secrets provider"
    )]
    NotProvider(PluginName),
    #[error("a plugin with the name {0} is registered already")]
    Taken(PluginName),
    #[error("the name {0} belongs to a plugin that the daemon launches itself")]
    Reserved(PluginName),
    #[error("the configuration does not allow the external plugin {0} (`[external] allow`)")]
    ExternalRefused(PluginName),
    #[error("plugins are pinned, so the external plugin {0} must be named in `[external] allow`")]
    Unnamed(PluginName),
    #[error(
        "{0} is listed in `[access] modules`: an external module must be named in `[external] allow`"
    )]
    UnnamedModule(PluginName),
    #[error("plugin {0} is disabled: run `keyway plugins enable {0}`")]
    Disabled(PluginName),
    #[error("this connection has registered already; one connection is one plugin")]
    Twice,
    #[error("the daemon is stopping")]
    Stopping,
}

/// Error of reading the header with the description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DescriptionError {
    #[error("the header `{DESCRIBE_HEADER}` is not one base64 value")]
    Header,
    #[error(transparent)]
    Invalid(#[from] InvalidDescription),
}

impl From<RegistrationError> for Error {
    fn from(error: RegistrationError) -> Self {
        use RegistrationError as E;
        let message = with_causes(&error);
        match error {
            E::Invalid(_) | E::Description(_) | E::Name(_) | E::WrongName { .. } | E::NoKind(_) => {
                Self::invalid_argument(message)
            }
            E::Taken(_) | E::Reserved(_) => Self::already_exists(message),
            E::ExternalRefused(_)
            | E::Unnamed(_)
            | E::UnnamedModule(_)
            | E::NotProvider(_)
            | E::Disabled(_)
            | E::Twice => Self::failed_precondition(message),
            E::Stopping => Self::unavailable(message),
        }
    }
}

impl Registration {
    /// Returns how long a request may take at most, for plugins that request it at their registration.
    pub(crate) fn request_timeout(&self, settings: &PluginSettings) -> Duration {
        if self.is_interactive(settings) {
            settings.timeout.max(settings.user_timeout)
        } else {
            settings.timeout
        }
    }

    /// Returns `true` if a call may ask the user or has an effect.
    pub(crate) fn is_interactive(&self, settings: &PluginSettings) -> bool {
        settings.interactive.unwrap_or(self.description.interactive)
    }

    /// Returns `true` if one response may serve several callers.
    pub(crate) fn is_shareable(&self, settings: &PluginSettings) -> bool {
        settings.shareable.unwrap_or(self.description.shareable)
    }

    /// Returns `true` if it can enumerate its secrets; `None`: unknown until the first list call.
    pub(crate) fn lists(&self, settings: &PluginSettings) -> Option<bool> {
        settings.lists.or(self.description.lists)
    }

    /// Returns the most calls in flight: the smaller of the configuration and the description.
    pub(crate) fn concurrency(&self, settings: &PluginSettings) -> u32 {
        let described = self.description.concurrency.unwrap_or(DEFAULT_CONCURRENCY);
        settings
            .concurrency
            .map_or(described, |limit| limit.min(described))
    }
}

impl RegistrationRequest {
    /// Returns a request at the current path.
    pub(crate) fn current(
        message: plugins::v1::RegisterPluginRequest,
        headers: &HeaderMap,
    ) -> Self {
        use plugins::v1::register_plugin_request::Metadata as Wire;
        let metadata = match message.metadata {
            Some(Wire::SecretsProvider(provider)) => Metadata::Provider {
                pattern: provider.pattern.unwrap_or_default(),
            },
            Some(Wire::AccessControlModule(_)) => Metadata::AccessControl,
            None => Metadata::Missing,
        };
        Self {
            generation: Generation::PluginsRegister,
            name: message.name.unwrap_or_default(),
            version: message.version.unwrap_or_default(),
            metadata,
            description: headers
                .contains_key(DESCRIBE_HEADER)
                .then(|| read_description(headers)),
        }
    }

    /// Returns a request at one of the older paths.
    pub(crate) fn legacy(
        generation: Generation,
        message: resolver::v1::RegisterPluginRequest,
    ) -> Self {
        Self {
            generation,
            name: message.name.unwrap_or_default(),
            version: message.version.unwrap_or_default(),
            metadata: Metadata::Provider {
                pattern: message.pattern.unwrap_or_default(),
            },
            description: None,
        }
    }

    /// Checks everything that can be checked without knowing the other plugins. `launched_as` is the name that the plugin was
    /// given when it was launched.
    pub(crate) fn validate(
        self,
        launched_as: Option<&PluginName>,
    ) -> Result<Registration, RegistrationError> {
        let pattern = match &self.metadata {
            Metadata::Provider { pattern } => Some(pattern.as_str()),
            Metadata::AccessControl | Metadata::Missing => None,
        };
        let registered = check_registration(&self.name, &self.version, pattern)?;
        let name = parse_name(&self.name, launched_as)?;
        let described = self.description.transpose()?;
        let kind = match (self.metadata, registered.clone()) {
            (Metadata::Missing, _) => return Err(RegistrationError::NoKind(name)),
            (_, None) => Kind::AccessControl,
            (_, Some(registered)) => Kind::Provider(match &described {
                Some(described) => described
                    .check(&registered)
                    .map_err(DescriptionError::from)?,
                None => vec![registered],
            }),
        };
        Ok(Registration {
            generation: self.generation,
            name,
            version: self.version,
            kind,
            pattern: registered,
            description: described.map(Description::from).unwrap_or_default(),
        })
    }
}

impl From<PluginDescription> for Description {
    fn from(described: PluginDescription) -> Self {
        Self {
            is_sent: true,
            concurrency: described.concurrency,
            shareable: described.shareable(),
            interactive: described.interactive(),
            lists: described.lists,
            stores: described.stores(),
            text: described.description().to_owned(),
            homepage: described.homepage().to_owned(),
        }
    }
}

/// Reads the one binary value of the header.
fn read_description(headers: &HeaderMap) -> Result<PluginDescription, DescriptionError> {
    let values = headers.get_binary(DESCRIBE_HEADER).unwrap_or_default();
    match values.as_slice() {
        [value] => Ok(PluginDescription::from_bytes(value)?),
        _ => Err(DescriptionError::Header),
    }
}

fn parse_name(
    text: &str,
    launched_as: Option<&PluginName>,
) -> Result<PluginName, RegistrationError> {
    if let Some(expected) = launched_as.filter(|expected| expected.as_str() != text) {
        return Err(RegistrationError::WrongName {
            expected: expected.clone(),
            actual: shortened(text, MAX_NAME_CHARS),
        });
    }
    text.parse().map_err(RegistrationError::Name)
}

#[cfg(test)]
mod tests;
