//! Registering: what a plugin says about itself, and the rules it has to keep (protocol.md section 7).

use keyway_proto::{plugins, resolver};
use keyway_rpc::Error;
use keyway_secrets::{ParsePatternError, Pattern};

use crate::name::{ParsePluginNameError, PluginName};
use crate::registry::Kind;

/// Which generation of the protocol a plugin speaks, told by the path at which it registers.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RegistrationRequest {
    pub(crate) generation: Generation,
    name: String,
    version: String,
    metadata: Metadata,
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
}

/// Why a registration was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RegistrationError {
    #[error("the registration names no plugin")]
    NoName,
    #[error("the plugin's name is not valid: {0}")]
    Name(ParsePluginNameError),
    #[error(
        "the plugin was launched as {expected:?} and must register with that name, not as {actual:?}"
    )]
    WrongName {
        expected: PluginName,
        actual: String,
    },
    #[error("plugin {name}: the version {version:?} is not a Go semantic version like v1.2.3")]
    Version { name: PluginName, version: String },
    #[error("plugin {name}: the pattern is not valid: {source}")]
    Pattern {
        name: PluginName,
        source: ParsePatternError,
    },
    #[error("plugin {0}: the registration says neither secrets provider nor access-control module")]
    NoKind(PluginName),
    #[error("a plugin with the name {0:?} is registered already")]
    Taken(PluginName),
    #[error("the name {0:?} belongs to a plugin that the daemon launches itself")]
    Reserved(PluginName),
    #[error("configuration does not allow plugin {0:?} to be started by hand (`[manual] allow`)")]
    ManualRefused(PluginName),
    #[error("plugin {0:?} is disabled: run `keyway plugins enable {0}`")]
    Disabled(PluginName),
    #[error("this connection has registered already; one connection is one plugin")]
    Twice,
    #[error("the daemon is stopping")]
    Stopping,
}

impl From<RegistrationError> for Error {
    fn from(error: RegistrationError) -> Self {
        use RegistrationError as E;
        let message = error.to_string();
        match error {
            E::NoName
            | E::Name(_)
            | E::WrongName { .. }
            | E::Version { .. }
            | E::Pattern { .. }
            | E::NoKind(_) => Self::invalid_argument(message),
            E::Taken(_) | E::Reserved(_) => Self::already_exists(message),
            E::ManualRefused(_) | E::Disabled(_) | E::Twice => Self::failed_precondition(message),
            E::Stopping => Self::unavailable(message),
        }
    }
}

impl RegistrationRequest {
    /// A request at the current path.
    pub(crate) fn current(message: plugins::v1::RegisterPluginRequest) -> Self {
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
        }
    }

    /// A request at one of the older paths.
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
        }
    }

    /// Checks everything that can be judged without knowing the other plugins. `launched_as` is the name that the plugin was
    /// given when it was launched.
    pub(crate) fn validate(
        self,
        launched_as: Option<&PluginName>,
    ) -> Result<Registration, RegistrationError> {
        let name = parse_name(&self.name, launched_as)?;
        if !is_go_semver(&self.version) {
            return Err(RegistrationError::Version {
                name,
                version: shorten(&self.version),
            });
        }
        let kind = match self.metadata {
            Metadata::Provider { pattern } => {
                let pattern: Result<Pattern, _> = pattern.parse();
                Kind::Provider(pattern.map_err(|source| RegistrationError::Pattern {
                    name: name.clone(),
                    source,
                })?)
            }
            Metadata::AccessControl => Kind::AccessControl,
            Metadata::Missing => return Err(RegistrationError::NoKind(name)),
        };
        Ok(Registration {
            generation: self.generation,
            name,
            version: self.version,
            kind,
        })
    }
}

fn parse_name(
    text: &str,
    launched_as: Option<&PluginName>,
) -> Result<PluginName, RegistrationError> {
    if text.is_empty() {
        return Err(RegistrationError::NoName);
    }
    if let Some(expected) = launched_as.filter(|expected| expected.as_str() != text) {
        return Err(RegistrationError::WrongName {
            expected: expected.clone(),
            actual: shorten(text),
        });
    }
    text.parse().map_err(RegistrationError::Name)
}

/// At most 64 characters of what a peer sent, for a message.
fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Whether Go's `semver.IsValid` accepts the text: `v1`, `v1.2`, `v1.2.3-rc.1+build`. The leading `v` is required.
fn is_go_semver(text: &str) -> bool {
    let Some(text) = text.strip_prefix('v') else {
        return false;
    };
    let (text, build) = split_suffix(text, '+');
    let (numbers, prerelease) = split_suffix(text, '-');
    let numbers: Vec<&str> = numbers.split('.').collect();
    // Go knows no shorthand with a suffix: `v1-rc` is not valid.
    let has_suffix = build.is_some() || prerelease.is_some();
    let right_count = if has_suffix {
        numbers.len() == 3
    } else {
        numbers.len() <= 3
    };
    right_count
        && numbers.iter().all(|number| is_number(number))
        && prerelease.is_none_or(|text| {
            text.split('.')
                .all(|part| is_identifier(part) && !has_leading_zero(part))
        })
        && build.is_none_or(|text| text.split('.').all(is_identifier))
}

fn split_suffix(text: &str, separator: char) -> (&str, Option<&str>) {
    text.split_once(separator)
        .map_or((text, None), |(head, tail)| (head, Some(tail)))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && !has_leading_zero(text)
}

fn has_leading_zero(text: &str) -> bool {
    text.len() > 1 && text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use plugins::v1::register_plugin_request::Metadata as Wire;

    fn provider(name: &str, version: &str, pattern: &str) -> RegistrationRequest {
        let provider = plugins::v1::SecretsProvider {
            pattern: Some(pattern.into()),
        };
        RegistrationRequest::current(plugins::v1::RegisterPluginRequest {
            name: Some(name.into()),
            version: Some(version.into()),
            metadata: Some(Wire::SecretsProvider(provider)),
        })
    }

    fn name(text: &str) -> PluginName {
        text.parse().expect("a name")
    }

    #[test]
    fn go_semver_is_what_go_takes() {
        for good in [
            "v1",
            "v1.2",
            "v1.2.3",
            "v0.0.0",
            "v1.2.3-rc.1+build",
            "v1.2.3+01",
            "v1.2.3--",
            "v10.20.30-a.b-c",
        ] {
            assert!(is_go_semver(good), "{good}");
        }
        for bad in [
            "",
            "1.2.3",
            "v",
            "v1.",
            "v01",
            "v1.2.3.4",
            "v1.2.3-",
            "v1.2.3+",
            "v1-rc",
            "v1.2+b",
            "v1.2.3-01",
            "v1.2.3-a_b",
            "V1",
            "v1.2.x",
        ] {
            assert!(!is_go_semver(bad), "{bad}");
        }
    }

    #[test]
    fn a_registration_that_keeps_the_rules_is_accepted_at_every_path() {
        let current = provider("demo", "v1.2.3", "demo/**")
            .validate(Some(&name("demo")))
            .expect("accepted");
        assert_eq!(
            current.kind,
            Kind::Provider("demo/**".parse().expect("a pattern"))
        );
        for generation in [Generation::Engine, Generation::ResolverRegister] {
            let message = resolver::v1::RegisterPluginRequest {
                name: Some("demo".into()),
                version: Some("v1".into()),
                pattern: Some("**".into()),
            };
            let legacy = RegistrationRequest::legacy(generation, message)
                .validate(None)
                .expect("accepted");
            assert_eq!((legacy.generation, legacy.name), (generation, name("demo")));
        }
    }

    #[test]
    fn each_broken_rule_is_named() {
        let check =
            |request: RegistrationRequest, launched_as: Option<&PluginName>, expected: &str| {
                let error = request.validate(launched_as).expect_err(expected);
                assert!(error.to_string().contains(expected), "{error}");
                assert_eq!(Error::from(error).code(), keyway_rpc::Code::InvalidArgument);
            };
        check(provider("", "v1", "**"), None, "names no plugin");
        check(provider(&"a".repeat(257), "v1", "**"), None, "not valid");
        check(
            provider("other", "v1", "**"),
            Some(&name("demo")),
            "launched as \"demo\"",
        );
        check(
            provider("demo", "1.0", "**"),
            None,
            "\"1.0\" is not a Go semantic version",
        );
        check(
            provider("demo", "v1", "a//b"),
            None,
            "the pattern is not valid",
        );
        let missing = plugins::v1::RegisterPluginRequest {
            name: Some("demo".into()),
            version: Some("v1".into()),
            metadata: None,
        };
        check(
            RegistrationRequest::current(missing),
            None,
            "neither secrets provider nor access-control module",
        );
    }

    #[test]
    fn a_taken_name_is_already_exists() {
        let code = |error: RegistrationError| Error::from(error).code();
        assert_eq!(
            code(RegistrationError::Taken(name("demo"))),
            keyway_rpc::Code::AlreadyExists
        );
        assert_eq!(
            code(RegistrationError::Twice),
            keyway_rpc::Code::FailedPrecondition
        );
    }
}
