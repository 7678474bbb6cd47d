//! The builder of a [`TestDaemon`], and its registration service.

use std::ffi::OsString;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;
use keyway_http::{Limits, serve};
use keyway_local::with_causes;
use keyway_mux::{Config, Listener, Session};
use keyway_proto::DESCRIBE_HEADER;
use keyway_proto::keyway::v1::{
    ChangedRequest, ChangedResponse, HostService, HostServiceServer, PluginDescription,
};
use keyway_proto::plugins::v1::register_plugin_request::Metadata;
use keyway_proto::plugins::v1::{
    RegisterPluginRequest, RegisterPluginResponse, RegisterService, RegisterServiceServer,
};
use keyway_proto::registration::{InvalidDescription, check_registration};
use keyway_rpc::{BinaryMetadata as _, Error, Request, Response, Router};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::{Registration, TestDaemon};
use crate::connection::{self, RegisterError};
use crate::plugin::DEFAULT_ANSWER_MEMORY;
use crate::registration::RegistrationRequest;
use crate::service::{Access, Provider, Role};
use crate::{AccessControl, Daemon, Description, SecretsProvider};

/// The most reports of changed secrets that a test has not read; further ones wait.
const MAX_UNREAD_CHANGES: usize = 64;

/// Builds a [`TestDaemon`].
#[derive(Clone, Debug)]
pub struct TestDaemonBuilder {
    pub(super) name: String,
    request_timeout: Duration,
    refusal: Option<String>,
    answer_memory: u64,
    /// `true` if the plugin must register with `name`, as a launched plugin must.
    is_launched: bool,
    daemon: Daemon,
    pub(super) variables: Vec<(OsString, OsString)>,
}

impl Default for TestDaemonBuilder {
    fn default() -> Self {
        Self {
            name: "test".to_owned(),
            request_timeout: Duration::from_secs(10),
            refusal: None,
            answer_memory: DEFAULT_ANSWER_MEMORY,
            is_launched: false,
            daemon: Daemon::new(),
            variables: Vec::new(),
        }
    }
}

impl TestDaemonBuilder {
    /// Sets the name of the plugin. Default: `test`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the timeout of calls without a deadline. Default: 10 s.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Sets the memory budget of large responses, as [`Plugin::answer_memory`](crate::Plugin::answer_memory).
    #[must_use]
    pub fn answer_memory(mut self, bytes: u64) -> Self {
        self.answer_memory = bytes;
        self
    }

    /// Connects the handle of a provider; see [`Plugin::daemon`](crate::Plugin::daemon).
    #[must_use]
    pub fn daemon(mut self, daemon: &Daemon) -> Self {
        self.daemon = daemon.clone();
        self
    }

    /// Makes the daemon refuse the registration with `reason`.
    #[must_use]
    pub fn refuse(mut self, reason: impl Into<String>) -> Self {
        self.refusal = Some(reason.into());
        self
    }

    /// Starts the daemon with a provider. Registration and description are validated by the rules of the daemon.
    ///
    /// # Errors
    ///
    /// Returns [`RegisterError::Invalid`] if they are invalid, or another error of the registration.
    pub async fn start(self, provider: impl SecretsProvider) -> Result<TestDaemon, RegisterError> {
        let role = Provider::new(provider, self.answer_memory);
        self.register(Box::new(role)).await
    }

    /// Starts the daemon with an access-control module.
    ///
    /// # Errors
    ///
    /// Returns the [`RegisterError`] of a failed registration.
    pub async fn start_access_control(
        self,
        module: impl AccessControl,
    ) -> Result<TestDaemon, RegisterError> {
        self.register(Box::new(Access(Arc::new(module)))).await
    }

    /// Starts the daemon for a plugin at the other end of a byte stream, such as a process that runs your executable.
    ///
    /// # Errors
    ///
    /// Returns [`RegisterError::Lost`] if the connection ends before the registration.
    pub async fn attach<T>(self, io: T) -> Result<TestDaemon, RegisterError>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let name = self.name.clone();
        let (session, driver) = Session::server(io, Config::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // Calls report its result.
            let _ = driver.await;
        });
        let (registrar, registered) = Registrar::new(self);
        let (sender, changes) = mpsc::channel(MAX_UNREAD_CHANGES);
        let router = Router::new()
            .add_service(RegisterServiceServer::new(registrar))
            .add_service(HostServiceServer::new(Host(sender)));
        let listener = Listener::new(session.clone());
        tasks.spawn(async move {
            serve(
                listener,
                |_, _| router.clone(),
                Limits::default(),
                std::future::pending(),
            )
            .await;
        });
        tokio::select! {
            Ok(registration) = registered => {
                Ok(TestDaemon { session, registration, changes, plugin: None, process: None, _tasks: tasks })
            }
            ended = session.closed() => {
                Err(RegisterError::Lost { name, source: ended.err().map(Into::into) })
            }
        }
    }

    /// Requires the plugin to register with the name of the launch variable.
    pub(super) fn launched(mut self) -> Self {
        self.is_launched = true;
        self
    }

    async fn register(self, role: Box<dyn Role>) -> Result<TestDaemon, RegisterError> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let registration =
            RegistrationRequest::new(self.name.clone(), connection::REGISTRATION_TIMEOUT, &*role)?;
        let daemon = self.daemon.clone();
        let plugin = tokio::spawn(async move {
            connection::run(far, &*role, &registration, &daemon, std::future::pending()).await
        });
        match self.attach(near).await {
            Ok(mut daemon) => {
                daemon.plugin = Some(plugin);
                Ok(daemon)
            }
            // The plugin's error is more specific.
            Err(lost) => match plugin.await.expect("the plugin does not panic") {
                Err(error) => Err(error),
                Ok(_) => Err(lost),
            },
        }
    }
}

impl TestDaemonBuilder {
    /// Validates a registration by the rules of the daemon, so that a plugin accepted here is not refused there.
    fn check(&self, request: Request<RegisterPluginRequest>) -> Result<Registration, String> {
        let described = describe(request.metadata()).map_err(|error| with_causes(&error))?;
        let message = request.into_message();
        let (name, version) = (message.name(), message.version());
        if self.is_launched && name != self.name {
            let expected = &self.name;
            return Err(format!(
                "the plugin was launched as {expected:?} and must register with that name, not as {name:?}"
            ));
        }
        let pattern = match &message.metadata {
            Some(Metadata::SecretsProvider(provider)) => Some(provider.pattern()),
            Some(Metadata::AccessControlModule(_)) => None,
            None => {
                return Err(
                    "the registration names neither a secrets provider nor an access-control module"
                        .to_owned(),
                );
            }
        };
        let registered =
            check_registration(name, version, pattern).map_err(|error| with_causes(&error))?;
        let realm = match (&registered, &described) {
            (Some(registered), Some(described)) => described
                .check(registered)
                .map_err(|error| with_causes(&error))?,
            (registered, _) => registered.iter().cloned().collect(),
        };
        Ok(Registration {
            name: name.to_owned(),
            version: version.to_owned(),
            pattern: registered.map(|pattern| pattern.to_string()),
            realm,
            description: described.map(Description::from_wire),
        })
    }
}

fn describe(headers: &HeaderMap) -> Result<Option<PluginDescription>, InvalidDescription> {
    let header = headers.get_binary(DESCRIBE_HEADER).unwrap_or_default();
    header
        .first()
        .map(|bytes| PluginDescription::from_bytes(bytes))
        .transpose()
}

/// Serves the registration.
struct Registrar {
    settings: TestDaemonBuilder,
    registered: Mutex<Option<oneshot::Sender<Registration>>>,
}

impl Registrar {
    fn new(settings: TestDaemonBuilder) -> (Self, oneshot::Receiver<Registration>) {
        let (sender, receiver) = oneshot::channel();
        (
            Self {
                settings,
                registered: Mutex::new(Some(sender)),
            },
            receiver,
        )
    }
}

impl RegisterService for Registrar {
    async fn register_plugin(
        &self,
        request: Request<RegisterPluginRequest>,
    ) -> Result<Response<RegisterPluginResponse>, Error> {
        if let Some(reason) = &self.settings.refusal {
            return Err(Error::failed_precondition(reason.clone()));
        }
        let registration = self
            .settings
            .check(request)
            .map_err(Error::invalid_argument)?;
        let sender = self
            .registered
            .lock()
            .map(|mut sender| sender.take())
            .ok()
            .flatten();
        let sender = sender.ok_or_else(|| Error::failed_precondition("registered twice"))?;
        // The receiver is gone if the test no longer waits.
        let _ = sender.send(registration);
        Ok(Response::new(RegisterPluginResponse {
            engine_name: Some("test-daemon".to_owned()),
            engine_version: Some("v0.0.0".to_owned()),
            request_timeout: prost_types::Duration::try_from(self.settings.request_timeout).ok(),
        }))
    }
}

/// Takes the reports of the plugin.
struct Host(mpsc::Sender<Vec<String>>);

impl HostService for Host {
    async fn changed(
        &self,
        request: Request<ChangedRequest>,
    ) -> Result<Response<ChangedResponse>, Error> {
        // The receiver is gone if the test has ended.
        let _ = self.0.send(request.into_message().patterns).await;
        Ok(Response::new(ChangedResponse {}))
    }
}

#[cfg(test)]
mod tests {
    use keyway_proto::plugins::v1::{AccessControlModule, SecretsProvider as Wire};
    use prost::Message as _;

    use super::*;

    fn request(name: &str, version: &str, pattern: &str) -> Request<RegisterPluginRequest> {
        let pattern = Some(pattern.to_owned());
        Request::new(RegisterPluginRequest {
            name: Some(name.to_owned()),
            version: Some(version.to_owned()),
            metadata: Some(Metadata::SecretsProvider(Wire { pattern })),
        })
    }

    fn refusal(request: Request<RegisterPluginRequest>) -> String {
        let builder = TestDaemonBuilder::default().launched();
        builder.check(request).unwrap_err()
    }

    #[test]
    fn a_plugin_of_any_sdk_is_refused_by_the_rules_of_the_daemon() {
        assert_eq!(
            refusal(request("other", "v1", "a/**")),
            "the plugin was launched as \"test\" and must register with that name, not as \"other\""
        );
        assert_eq!(
            refusal(request("test", "1.2.3", "a/**")),
            "the version \"1.2.3\" is not a Go semantic version like v1.2.3"
        );
        assert!(refusal(request("test", "v1", "a//b")).contains("is not an id or a pattern"));
        let mut outside = request("test", "v1", "a/**");
        let description = PluginDescription {
            patterns: vec!["b/*".to_owned()],
            ..PluginDescription::default()
        };
        let headers = outside.metadata_mut();
        headers
            .append_binary(DESCRIBE_HEADER, &description.encode_to_vec())
            .unwrap();
        assert_eq!(
            refusal(outside),
            "the described pattern b/* is not within the registered pattern a/**"
        );
        let mut nothing = request("test", "v1", "a");
        nothing.message_mut().metadata = None;
        assert!(refusal(nothing).starts_with("the registration names neither"));
    }

    #[test]
    fn a_valid_registration_is_accepted() {
        let builder = TestDaemonBuilder::default();
        let provider = builder.check(request("any", "v1", "a/**")).unwrap();
        assert_eq!((provider.realm.len(), provider.description), (1, None));
        let mut module = request("any", "v1", "");
        module.message_mut().metadata = Some(Metadata::AccessControlModule(AccessControlModule {}));
        assert_eq!(builder.check(module).unwrap().pattern, None);
    }
}
