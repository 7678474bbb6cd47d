//! How a [`TestDaemon`] is started, and how it answers the registration.

use std::ffi::OsString;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyway_mux::{Config, Listener, Session};
use keyway_proto::plugins::v1::register_plugin_request::Metadata;
use keyway_proto::plugins::v1::{
    RegisterPluginRequest, RegisterPluginResponse, RegisterService, RegisterServiceServer,
};
use keyway_rpc::http1::{ServeConfig, serve};
use keyway_rpc::{Error, Request, Response, Router};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::{Registration, TestDaemon};
use crate::connection::{self, Introduction, RegisterError};
use crate::plugin::DEFAULT_ANSWER_MEMORY;
use crate::service::{Access, Provider, Role};
use crate::{AccessControl, SecretsProvider};

/// How a [`TestDaemon`] answers the registration.
#[derive(Clone, Debug)]
pub struct TestDaemonBuilder {
    pub(super) name: String,
    request_timeout: Duration,
    refusal: Option<String>,
    answer_memory: u64,
    pub(super) variables: Vec<(OsString, OsString)>,
}

impl Default for TestDaemonBuilder {
    fn default() -> Self {
        Self {
            name: "test".to_owned(),
            request_timeout: Duration::from_secs(10),
            refusal: None,
            answer_memory: DEFAULT_ANSWER_MEMORY,
            variables: Vec::new(),
        }
    }
}

impl TestDaemonBuilder {
    /// The name that the plugin gets. Default: `test`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The time that the plugin has for each call. Default: 10 s.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How much memory the plugin's large answers share, as [`Plugin::answer_memory`](crate::Plugin::answer_memory).
    #[must_use]
    pub fn answer_memory(mut self, bytes: u64) -> Self {
        self.answer_memory = bytes;
        self
    }

    /// Refuses the registration with this reason.
    #[must_use]
    pub fn refuse(mut self, reason: impl Into<String>) -> Self {
        self.refusal = Some(reason.into());
        self
    }

    /// Starts the daemon with a provider.
    ///
    /// # Errors
    ///
    /// The registration's.
    pub async fn start(self, provider: impl SecretsProvider) -> Result<TestDaemon, RegisterError> {
        let role = Provider::new(provider, self.answer_memory);
        self.register(Box::new(role)).await
    }

    /// Starts the daemon with an access-control module.
    ///
    /// # Errors
    ///
    /// The registration's.
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
    /// [`RegisterError::Lost`] when the connection ends first.
    pub async fn attach<T>(self, io: T) -> Result<TestDaemon, RegisterError>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let name = self.name.clone();
        let (session, driver) = Session::new(io, keyway_mux::Role::Server, Config::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // Its outcome shows in the calls.
            let _ = driver.await;
        });
        let (registrar, registered) = Registrar::new(self);
        let router = Router::new().add_service(RegisterServiceServer::new(registrar));
        let listener = Listener::new(session.clone());
        tasks.spawn(async move {
            serve(
                listener,
                |_| router.clone(),
                ServeConfig::default(),
                std::future::pending(),
            )
            .await;
        });
        tokio::select! {
            Ok(registration) = registered => {
                Ok(TestDaemon { session, registration, plugin: None, process: None, _tasks: tasks })
            }
            ended = session.closed() => {
                Err(RegisterError::Lost { name, source: ended.err().map(Into::into) })
            }
        }
    }

    async fn register(self, role: Box<dyn Role>) -> Result<TestDaemon, RegisterError> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let introduction = Introduction {
            name: self.name.clone(),
            registration_timeout: connection::REGISTRATION_TIMEOUT,
        };
        let plugin = tokio::spawn(async move {
            connection::run(far, &*role, &introduction, std::future::pending()).await
        });
        match self.attach(near).await {
            Ok(mut daemon) => {
                daemon.plugin = Some(plugin);
                Ok(daemon)
            }
            // The plugin knows better why it was not registered.
            Err(lost) => match plugin.await.expect("the plugin does not panic") {
                Err(error) => Err(error),
                Ok(_) => Err(lost),
            },
        }
    }
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
        let message = request.into_message();
        let registration = Registration {
            name: message.name.unwrap_or_default(),
            version: message.version.unwrap_or_default(),
            pattern: match message.metadata {
                Some(Metadata::SecretsProvider(provider)) => provider.pattern,
                Some(Metadata::AccessControlModule(_)) | None => None,
            },
        };
        let sender = self
            .registered
            .lock()
            .map(|mut sender| sender.take())
            .ok()
            .flatten();
        let sender = sender.ok_or_else(|| Error::failed_precondition("registered twice"))?;
        // A test that does not wait for it any more does not need it.
        let _ = sender.send(registration);
        Ok(Response::new(RegisterPluginResponse {
            engine_name: Some("test-daemon".to_owned()),
            engine_version: Some("v0.0.0".to_owned()),
            request_timeout: prost_types::Duration::try_from(self.settings.request_timeout).ok(),
        }))
    }
}
