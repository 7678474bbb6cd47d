//! Scripted plugins at the other end of in-memory connections, and views without any, for the tests of this crate.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;
use keyway_http::{Exchange, Limits, serve};
use keyway_mux::{Connector, Listener, Session};
use keyway_proto::accesscontrol::v1 as access;
use keyway_proto::keyway::store::v1 as store;
use keyway_proto::keyway::v1::{
    self as keyway, FailureKind, PluginDescription, PluginState as WireState,
};
use keyway_proto::plugins::v1 as plugins;
use keyway_proto::resolver::v1 as resolver;
use keyway_proto::{DESCRIBE_HEADER, INCOMPLETE_HEADER, MAY_ASK_USER_HEADER};
use keyway_rpc::{BinaryMetadata as _, Error, Request, Response, Router};
use prost::Message as _;

use super::calls::Handle;
use super::connection::{OpenOptions, PluginConnection, Registrant, open};
use super::view::{Availability, View};
use crate::config::{Config, PluginSettings, Settings, VersionInfo};
use crate::model::state::State;
use crate::model::{Class, Kind, PluginName, Rank};
use crate::wait::OwnedTask;

/// The reply of a scripted plugin to a request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Returns these ids with these values.
    Values(Vec<(&'static str, &'static str)>),
    /// As `Values`, marked as incomplete.
    Incomplete(Vec<(&'static str, &'static str)>, FailureKind),
    /// Fails.
    Error(Error),
    /// Decides as an access-control module.
    Decide(access::Decision),
    /// Waits first.
    After(Duration, Box<Self>),
    /// Never responds.
    Never,
}

/// A request that a scripted plugin received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenCall {
    pub(crate) pattern: String,
    pub(crate) may_ask_user: bool,
}

/// A plugin with scripted responses.
#[derive(Clone)]
pub(crate) struct Script {
    name: &'static str,
    /// `None`: an access-control module.
    pattern: Option<&'static str>,
    description: Option<PluginDescription>,
    shared: Arc<Shared>,
}

struct Shared {
    reply: Mutex<Reply>,
    calls: Mutex<Vec<SeenCall>>,
    /// The plugin's end of its last connection.
    session: Mutex<Option<Session>>,
}

impl Script {
    /// Returns a provider of the ids that match `pattern`.
    pub(crate) fn provider(name: &'static str, pattern: &'static str, reply: Reply) -> Self {
        Self {
            name,
            pattern: Some(pattern),
            description: None,
            shared: Arc::new(Shared {
                reply: Mutex::new(reply),
                calls: Mutex::default(),
                session: Mutex::default(),
            }),
        }
    }

    /// Returns an access-control module.
    pub(crate) fn module(name: &'static str, reply: Reply) -> Self {
        Self {
            pattern: None,
            ..Self::provider(name, "", reply)
        }
    }

    /// Describes itself beside its registration.
    pub(crate) fn described(mut self, description: PluginDescription) -> Self {
        self.description = Some(description);
        self
    }

    /// Returns the requests so far.
    pub(crate) fn calls(&self) -> Vec<SeenCall> {
        self.shared.calls.lock().expect("the calls").clone()
    }

    /// Returns the number of requests so far.
    pub(crate) fn n_calls(&self) -> usize {
        self.calls().len()
    }

    /// Replies so from now on.
    pub(crate) fn set_reply(&self, reply: Reply) {
        *self.shared.reply.lock().expect("the reply") = reply;
    }

    /// Takes no more calls.
    pub(crate) fn go_away(&self) {
        self.session().go_away();
    }

    /// Returns the plugin's end of its last connection.
    pub(crate) fn session(&self) -> Session {
        let session = self.shared.session.lock().expect("no panic");
        session.clone().expect("connected")
    }

    async fn reply(&self, pattern: &str, headers: &HeaderMap) -> Reply {
        let call = SeenCall {
            pattern: pattern.to_owned(),
            may_ask_user: headers
                .get(MAY_ASK_USER_HEADER)
                .is_none_or(|value| value != "0"),
        };
        self.shared.calls.lock().expect("the calls").push(call);
        let mut reply = self.shared.reply.lock().expect("the reply").clone();
        while let Reply::After(delay, next) = reply {
            tokio::time::sleep(delay).await;
            reply = *next;
        }
        match reply {
            Reply::Never => std::future::pending().await,
            reply => reply,
        }
    }

    fn registration(&self) -> Request<plugins::RegisterPluginRequest> {
        use plugins::register_plugin_request::Metadata;
        let metadata = match self.pattern {
            Some(pattern) => Metadata::SecretsProvider(plugins::SecretsProvider {
                pattern: Some(pattern.into()),
            }),
            None => Metadata::AccessControlModule(plugins::AccessControlModule {}),
        };
        let mut request = Request::new(plugins::RegisterPluginRequest {
            name: Some(self.name.into()),
            version: Some("v1".into()),
            metadata: Some(metadata),
        });
        if let Some(description) = &self.description {
            let bytes = description.encode_to_vec();
            let headers = request.metadata_mut();
            headers
                .append_binary(DESCRIBE_HEADER, &bytes)
                .expect("a binary header");
        }
        request
    }

    /// Connects; the registration waits for its response.
    pub(crate) async fn connect(&self) -> (Registrant, OwnedTask<()>) {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (session, driver) = Session::client(far, keyway_mux::Config::default());
        *self.shared.session.lock().expect("no panic") = Some(session.clone());
        let script = self.clone();
        let plugin = OwnedTask::spawn(async move {
            let router = Router::new()
                .add_service(resolver::ResolverServiceServer::new(script.clone()))
                .add_service(access::AccessControlServiceServer::new(script.clone()))
                .add_service(keyway::CatalogServiceServer::new(script.clone()))
                .add_service(store::StoreServiceServer::new(script.clone()));
            let exchange = Exchange::new(Connector::new(session.clone()));
            let client = plugins::RegisterServiceClient::new(exchange);
            let register = client.register_plugin(script.registration());
            let listener = Listener::new(session);
            let served = serve(
                listener,
                |_, _| router.clone(),
                Limits::default(),
                std::future::pending(),
            );
            // A registration that is refused shows at the daemon's end.
            let _ = tokio::join!(driver, register, served);
        });
        let registrant = open(near, open_options()).await.expect("a registration");
        (registrant, plugin)
    }

    /// Connects and is accepted.
    pub(crate) async fn run(self, settings: &Settings) -> Connected {
        let (registrant, plugin) = self.connect().await;
        let settings = settings.plugin(&name(self.name));
        Connected {
            connection: registrant.accept(&settings, "v1.0.0"),
            settings,
            script: self,
            _plugin: plugin,
        }
    }
}

/// Returns a process that SIGSTOP has stopped.
pub(crate) fn stopped_process() -> keyway_test_support::Process {
    let mut command = std::process::Command::new("sleep");
    let process = keyway_test_support::Process::spawn(command.arg("600"));
    process.signal(rustix::process::Signal::STOP);
    while !keyway_local::is_stopped(process.pid()) {
        std::thread::yield_now();
    }
    process
}

/// Returns a response that is marked as incomplete.
fn incomplete<M>(message: M, kind: FailureKind) -> Response<M> {
    let mut response = Response::new(message);
    let detail = keyway::Failure::of_kind(kind).encode_to_vec();
    let headers = response.headers_mut();
    headers
        .append_binary(INCOMPLETE_HEADER, &detail)
        .expect("a binary header");
    response
}

impl resolver::ResolverService for Script {
    async fn get_secrets(
        &self,
        request: Request<resolver::GetSecretsRequest>,
    ) -> Result<Response<resolver::GetSecretsResponse>, Error> {
        let message = |values: Vec<(&str, &str)>| resolver::GetSecretsResponse {
            envelopes: values
                .into_iter()
                .map(|(id, value)| envelope(id, value))
                .collect(),
        };
        let reply = self.reply(request.message().pattern(), request.metadata());
        match reply.await {
            Reply::Values(values) => Ok(Response::new(message(values))),
            Reply::Incomplete(values, kind) => Ok(incomplete(message(values), kind)),
            Reply::Error(error) => Err(error),
            Reply::Decide(_) | Reply::After(..) | Reply::Never => {
                Err(Error::unimplemented("not a provider"))
            }
        }
    }
}

impl keyway::CatalogService for Script {
    async fn list_secrets(
        &self,
        request: Request<keyway::ListSecretsRequest>,
    ) -> Result<Response<keyway::ListSecretsResponse>, Error> {
        let message = |values: Vec<(&str, &str)>| {
            let secrets = values.into_iter().map(|(id, _)| keyway::Secret {
                id: Some(id.into()),
                ..keyway::Secret::default()
            });
            keyway::ListSecretsResponse {
                secrets: secrets.collect(),
                ..keyway::ListSecretsResponse::default()
            }
        };
        let reply = self.reply(request.message().pattern(), request.metadata());
        match reply.await {
            Reply::Values(values) => Ok(Response::new(message(values))),
            Reply::Incomplete(values, kind) => Ok(incomplete(message(values), kind)),
            Reply::Error(error) => Err(error),
            _ => Err(Error::unimplemented("no catalog")),
        }
    }
}

impl store::StoreService for Script {
    async fn set(
        &self,
        request: Request<store::SetRequest>,
    ) -> Result<Response<store::SetResponse>, Error> {
        let reply = self.reply(request.message().id(), request.metadata());
        let version = version(reply.await)?;
        Ok(Response::new(store::SetResponse {
            version: Some(version),
            provider: None,
        }))
    }

    async fn remove(
        &self,
        request: Request<store::RemoveRequest>,
    ) -> Result<Response<store::RemoveResponse>, Error> {
        let reply = self.reply(request.message().id(), request.metadata());
        version(reply.await)?;
        Ok(Response::new(store::RemoveResponse {
            removed: Some(1),
            ..store::RemoveResponse::default()
        }))
    }

    async fn versions(
        &self,
        request: Request<store::VersionsRequest>,
    ) -> Result<Response<store::VersionsResponse>, Error> {
        let reply = self.reply(request.message().id(), request.metadata());
        let version = store::Version {
            version: Some(version(reply.await)?),
            ..store::Version::default()
        };
        Ok(Response::new(store::VersionsResponse {
            versions: vec![version],
            provider: None,
        }))
    }

    async fn restore(
        &self,
        request: Request<store::RestoreRequest>,
    ) -> Result<Response<store::RestoreResponse>, Error> {
        let reply = self.reply(request.message().id(), request.metadata());
        Ok(Response::new(store::RestoreResponse {
            version: Some(version(reply.await)?),
            provider: None,
        }))
    }
}

/// The version that a store returns.
fn version(reply: Reply) -> Result<String, Error> {
    match reply {
        Reply::Values(_) => Ok("7".to_owned()),
        Reply::Error(error) => Err(error),
        _ => Err(Error::unimplemented("no store")),
    }
}

impl access::AccessControlService for Script {
    async fn check_access(
        &self,
        request: Request<access::CheckAccessRequest>,
    ) -> Result<Response<access::CheckAccessResponse>, Error> {
        let reply = self.reply(request.message().pattern(), request.metadata());
        match reply.await {
            Reply::Decide(decision) => Ok(Response::new(access::CheckAccessResponse {
                decision: Some(decision.into()),
            })),
            Reply::Error(error) => Err(error),
            _ => Err(Error::unimplemented("not a module")),
        }
    }

    async fn authorize(
        &self,
        request: Request<access::AuthorizeRequest>,
    ) -> Result<Response<access::AuthorizeResponse>, Error> {
        let patterns = request.message().patterns.join(" ");
        match self.reply(&patterns, request.metadata()).await {
            Reply::Decide(decision) => Ok(Response::new(access::AuthorizeResponse {
                decision: Some(decision.into()),
                expires_at: None,
            })),
            Reply::Error(error) => Err(error),
            _ => Err(Error::unimplemented("not a module")),
        }
    }
}

/// A scripted plugin that has registered. Dropped, its connection ends.
pub(crate) struct Connected {
    pub(crate) script: Script,
    connection: PluginConnection,
    settings: Arc<PluginSettings>,
    _plugin: OwnedTask<()>,
}

impl Connected {
    /// Calls it.
    pub(crate) fn handle(&self) -> Arc<Handle> {
        Arc::clone(self.connection.handle())
    }

    /// Returns its view in the registry.
    pub(crate) fn view(&self) -> View {
        let registration = Arc::clone(self.connection.registration());
        View {
            kind: Some(registration.kind.clone()),
            registration: Some(registration),
            message: String::new(),
            ..view(
                self.script.name,
                None,
                Availability::Running(self.handle()),
                &self.settings,
            )
        }
        .with_settings(Arc::clone(&self.settings))
    }
}

/// Returns the options of a connection whose process is not known.
pub(crate) fn open_options() -> OpenOptions<'static> {
    OpenOptions {
        launched_as: None,
        process: None,
        limit: Duration::from_secs(5),
        keep_alive: Duration::from_secs(30),
        version: VersionInfo::new("v1.0.0"),
    }
}

/// Returns a plugin name.
pub(crate) fn name(text: &str) -> PluginName {
    text.parse().expect("a name")
}

/// Returns the settings of a configuration file with this text.
pub(crate) fn settings(text: &str) -> Settings {
    generation(text, 1)
}

/// As [`settings`], as the result of a reload.
pub(crate) fn generation(text: &str, generation: u64) -> Settings {
    let mut config = Config::new("@test".parse().expect("an address"), "/state");
    config
        .read_text(text, Path::new("config.toml"))
        .expect("a configuration");
    Settings::new(config, &State::default(), generation)
}

/// Returns a provider of these patterns, or a plugin of unknown kind.
pub(crate) fn view(
    plugin: &str,
    patterns: Option<&[&str]>,
    availability: Availability,
    settings: &Arc<PluginSettings>,
) -> View {
    let patterns = patterns.map(|patterns| {
        let patterns = patterns.iter().map(|text| text.parse());
        patterns.collect::<Result<_, _>>().expect("patterns")
    });
    let state = match &availability {
        Availability::Running(_) => WireState::Running,
        Availability::Starting { .. } => WireState::Starting,
        Availability::Failed {
            kind: FailureKind::Refused,
            ..
        } => WireState::Refused,
        Availability::Failed { .. } => WireState::Crashed,
        Availability::Excluded => WireState::Disabled,
    };
    View {
        name: name(plugin),
        class: Class::Launched,
        settings: Arc::clone(settings),
        state,
        availability,
        kind: patterns.map(Kind::Provider),
        rank: Rank {
            priority: 0,
            class: Class::Launched,
            interactive: false,
        },
        realm: None,
        registration: None,
        pid: None,
        executable: None,
        message: "process ended".into(),
        n_restarts: 0,
        record: Arc::default(),
    }
    .with_settings(Arc::clone(settings))
}

/// It has failed and is not started again by itself.
pub(crate) fn failed(kind: FailureKind) -> Availability {
    Availability::Failed {
        kind,
        next_start: None,
    }
}

/// It is starting, for at most `limit`.
pub(crate) fn starting(limit: Duration) -> Availability {
    Availability::Starting {
        until: (tokio::time::Instant::now() + limit).into_std(),
        is_awaited: true,
    }
}

/// Returns an envelope with nothing but an id and a value.
pub(crate) fn envelope(id: &str, value: &str) -> resolver::get_secrets_response::Envelope {
    let mut envelope = resolver::get_secrets_response::Envelope::default();
    envelope.id = Some(id.into());
    envelope.value = Some(value.as_bytes().to_vec());
    envelope
}
