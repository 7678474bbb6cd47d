//! The error that ends a plugin process, and its exit status.

use std::io;

use keyway_local::with_causes;

use crate::connection::RegisterError;
use crate::dial::DialError;
use crate::start::StartError;
use crate::{ErrorKind, ProviderError};

/// Exit status of a misconfigured plugin: `EX_CONFIG` of `sysexits.h`.
const EX_CONFIG: u8 = 78;

/// Error that ends a plugin process with an exit status other than 0.
#[derive(Debug)]
#[non_exhaustive]
pub(super) enum RunError {
    Dial(DialError),
    NoName,
    Provider(ProviderError),
    Register(RegisterError),
    Runtime(io::Error),
    Start(StartError),
}

impl RunError {
    /// Returns `true` if a later attempt to connect may succeed.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Dial(error) => error.is_temporary(),
            Self::Register(error) => error.is_temporary(),
            Self::NoName | Self::Provider(_) | Self::Runtime(_) | Self::Start(_) => false,
        }
    }

    /// Returns 78 if a restart cannot succeed before something has changed, otherwise 1.
    pub(super) fn exit_status(&self) -> u8 {
        let is_permanent = match self {
            Self::Dial(DialError::Environment(_)) | Self::NoName | Self::Start(_) => true,
            Self::Provider(error) => error.kind() == ErrorKind::Fatal,
            Self::Register(error) => matches!(error, RegisterError::Invalid(_)),
            Self::Dial(_) | Self::Runtime(_) => false,
        };
        match is_permanent {
            true => EX_CONFIG,
            false => 1,
        }
    }
}

impl RunError {
    /// Returns the text for the log: with the causes, except that of a provider's error, whose text may hold a value.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Dial(error) => with_causes(error),
            Self::NoName => "the plugin has no name; give it one with Plugin::new".to_owned(),
            Self::Provider(error) => match error.remedy() {
                Some(remedy) => format!("{error}; {remedy}"),
                None => error.to_string(),
            },
            Self::Register(error) => with_causes(error),
            Self::Runtime(error) => {
                format!("cannot set up the event loop of the plugin: {error}")
            }
            Self::Start(error) => with_causes(error),
        }
    }
}

impl From<DialError> for RunError {
    fn from(error: DialError) -> Self {
        Self::Dial(error)
    }
}

impl From<RegisterError> for RunError {
    fn from(error: RegisterError) -> Self {
        Self::Register(error)
    }
}

impl From<StartError> for RunError {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use keyway_local::{EnvironmentError, ParseAddressError};
    use keyway_proto::registration::{InvalidRegistration, check_pattern};
    use keyway_test_support::assert_causes_said_once;

    use super::*;
    use crate::CommandError;
    use crate::hijack::HijackError;

    #[test]
    fn only_permanent_errors_end_with_78() {
        let status = |error: RunError| error.exit_status();
        assert_eq!(status(RunError::NoName), 78);
        assert_eq!(status(RunError::Provider(ProviderError::fatal(""))), 78);
        let invalid = RegisterError::Invalid(InvalidRegistration::NoName);
        assert_eq!(status(invalid.into()), 78);
        assert_eq!(status(RunError::Provider(ProviderError::locked(""))), 1);
        let lost = RegisterError::Lost {
            name: String::new(),
            source: None,
        };
        assert_eq!(status(lost.into()), 1);
        let attempts = Vec::new();
        assert_eq!(status(DialError::NotListening { attempts }.into()), 1);
    }

    #[test]
    fn a_failed_set_up_reports_the_remedy() {
        let error = ProviderError::fatal("NOTES_DIR is not set")
            .with_remedy("set it to the directory with the notes")
            .with_source("canary");
        assert_eq!(
            RunError::Provider(error).text(),
            "NOTES_DIR is not set; set it to the directory with the notes"
        );
    }

    #[test]
    fn no_error_contains_the_text_of_its_cause() {
        let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
        let program = || "tool".to_owned();
        let errors: [Box<dyn Error>; 8] = [
            Box::new(DialError::from(EnvironmentError::from(
                ParseAddressError::Empty,
            ))),
            Box::new(DialError::Hijack {
                address: "/daemon.sock".parse().unwrap(),
                source: HijackError::Io(reset()),
            }),
            Box::new(RegisterError::Invalid(
                check_pattern("a//b")
                    .map_err(InvalidRegistration::from)
                    .unwrap_err(),
            )),
            Box::new(RegisterError::Lost {
                name: program(),
                source: Some(reset().into()),
            }),
            Box::new(StartError::Descriptor {
                fd: 3,
                source: reset(),
            }),
            Box::new(StartError::Credentials(reset())),
            Box::new(CommandError::Io {
                program: program(),
                source: reset(),
            }),
            Box::new(CommandError::Start {
                program: program(),
                source: reset(),
            }),
        ];
        for error in errors {
            assert_causes_said_once(&*error);
        }
    }

    #[test]
    fn the_text_for_the_log_has_the_causes() {
        let error = StartError::Credentials(io::ErrorKind::ConnectionReset.into());
        assert_eq!(
            RunError::from(error).text(),
            "cannot read the credentials of the process that launched this plugin: connection reset"
        );
    }
}
