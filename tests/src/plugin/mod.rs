//! The plugin that is built to misbehave, on the bare layers.

use std::io::Write as _;
use std::process::ExitCode;

use keyway_local::Address;
use keyway_mux::{Connector, Listener, Role, Session};
use keyway_proto::accesscontrol::v1 as access;
use keyway_proto::plugins::v1 as plugins;
use keyway_proto::resolver::v1 as resolver;
use keyway_proto::timestamp::Timestamp;
use keyway_proto::{LAUNCH_VARIABLE, LaunchConfig};
use keyway_rpc::client::Client;
use keyway_rpc::http1::{Exchange, ServeConfig, serve};
use keyway_rpc::{Error, Request, Response, Router};
use keyway_secrets::{Id, Pattern};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::behaviour::{Behaviour, VARIABLE};

/// What a provider that answers says for `id`. A dummy.
pub fn value_of(id: &str) -> Vec<u8> {
    format!("dummy-value-of-{id}").into_bytes()
}

/// The whole launched process.
pub fn run() -> ExitCode {
    let launch = std::env::var(LAUNCH_VARIABLE).expect("started by a runtime");
    let launch = LaunchConfig::from_json(&launch).expect("a launch configuration");
    let behaviour = std::env::var(VARIABLE).map_or(Ok(Behaviour::Good), |text| text.parse());
    let behaviour: Behaviour = behaviour.expect("a behaviour");
    let socket = std::os::unix::net::UnixStream::from(crate::inherited::take(launch.fd));
    socket.set_nonblocking(true).expect("a socket");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let socket = UnixStream::from_std(socket).expect("a socket");
        live(&launch.name, behaviour, socket).await
    })
}

async fn live(name: &str, behaviour: Behaviour, mut socket: UnixStream) -> ExitCode {
    let mut stderr = std::io::stderr();
    match behaviour {
        Behaviour::ExitBeforeHello => {
            writeln!(stderr, "the vault is not mounted").expect("stderr");
            return ExitCode::from(3);
        }
        Behaviour::Garbage => socket
            .write_all(b"HTTP/1.1 200 OK\r\n\r\n")
            .await
            .expect("written"),
        Behaviour::NeverRegister => {
            // Until the runtime closes the connection.
            let _ = socket.read_to_end(&mut Vec::new()).await;
            return ExitCode::SUCCESS;
        }
        Behaviour::HugeStderr => {
            for _ in 0..4096 {
                stderr.write_all(&[b'x'; 1024]).expect("stderr is drained");
            }
        }
        Behaviour::StartHelper => {
            let mut helper = tokio::process::Command::new("sleep");
            // Nobody waits for it: it ends with its group.
            drop(helper.arg("600").spawn().expect("a helper"));
        }
        _ => {}
    }
    if behaviour == Behaviour::IgnoreShutdown {
        // An ignored signal needs no handler of ours: this process blocks it.
        ignore_interrupt();
    }
    let outcome = connect(name, behaviour, socket).await;
    if behaviour == Behaviour::IgnoreShutdown {
        std::future::pending::<()>().await;
    }
    match outcome {
        Ok(plugin) => {
            plugin.ended().await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            writeln!(stderr, "refused: {error}").expect("stderr");
            ExitCode::FAILURE
        }
    }
}

/// Takes SIGINT and does nothing with it.
fn ignore_interrupt() {
    let mut interrupts = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
        .expect("a signal handler");
    tokio::spawn(async move { while interrupts.recv().await.is_some() {} });
}

/// A plugin that is registered.
#[derive(Debug)]
pub struct Plugin {
    session: Session,
    driver: tokio::task::JoinHandle<Result<(), keyway_mux::SessionError>>,
    server: tokio::task::JoinHandle<()>,
}

impl Plugin {
    /// Waits until the runtime ends the connection.
    pub async fn ended(self) {
        // However it ended, it is over.
        let _ = self.driver.await;
        self.server.abort();
    }

    /// Leaves: the connection ends.
    pub async fn leave(self) {
        let _ = self.session.close().await;
        self.ended().await;
    }
}

/// Registers on a connection and serves it.
///
/// # Errors
///
/// What the runtime answered to the registration.
pub async fn connect(
    name: &str,
    behaviour: Behaviour,
    socket: UnixStream,
) -> Result<Plugin, Error> {
    let (session, driver) = Session::new(socket, Role::Client, keyway_mux::Config::default());
    let driver = tokio::spawn(driver);
    let service = Service {
        name: name.into(),
        behaviour,
        session: session.clone(),
    };
    let mut router = Router::new()
        .add_service(plugins::PluginServiceServer::new(service.clone()))
        .add_service(resolver::PluginServiceServer::new(service.clone()))
        .add_service(access::AccessControlServiceServer::new(service.clone()));
    if behaviour != Behaviour::TooOld {
        router = router.add_service(resolver::ResolverServiceServer::new(service));
    }
    let listener = Listener::new(session.clone());
    let server = tokio::spawn(async move {
        serve(
            listener,
            |_| router.clone(),
            ServeConfig::default(),
            std::future::pending(),
        )
        .await;
    });
    register(name, behaviour, &session).await?;
    Ok(Plugin {
        session,
        driver,
        server,
    })
}

async fn register(name: &str, behaviour: Behaviour, session: &Session) -> Result<(), Error> {
    let client = Client::new(Exchange::new(Connector::new(session.clone())));
    let registered_name = if behaviour == Behaviour::WrongName {
        "impostor"
    } else {
        name
    };
    let version = if behaviour == Behaviour::WrongVersion {
        "1.0"
    } else {
        "v1.2.3"
    };
    let pattern = if behaviour == Behaviour::OwnEverything {
        "**".into()
    } else {
        format!("{name}/**")
    };
    if behaviour == Behaviour::TooOld {
        let client = resolver::EngineServiceClient::from(client);
        let request = resolver::RegisterPluginRequest {
            name: Some(registered_name.into()),
            version: Some(version.into()),
            pattern: Some(pattern),
        };
        return client.register_plugin(request).await.map(drop);
    }
    let metadata = match behaviour {
        Behaviour::AccessControl => {
            plugins::register_plugin_request::Metadata::AccessControlModule(
                plugins::AccessControlModule {},
            )
        }
        _ => {
            plugins::register_plugin_request::Metadata::SecretsProvider(plugins::SecretsProvider {
                pattern: Some(pattern),
            })
        }
    };
    let request = plugins::RegisterPluginRequest {
        name: Some(registered_name.into()),
        version: Some(version.into()),
        metadata: Some(metadata),
    };
    plugins::RegisterServiceClient::from(client)
        .register_plugin(request)
        .await
        .map(drop)
}

/// Turns a connection to a daemon into a plugin connection, as a plugin that is started by hand does.
///
/// # Errors
///
/// The status line of a refusal, with what follows it.
pub async fn hijack(address: &Address) -> Result<UnixStream, String> {
    let path = address.as_path().expect("tests listen at paths");
    let mut socket = UnixStream::connect(path)
        .await
        .map_err(|error| error.to_string())?;
    let request = b"GET /hijack HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n";
    socket
        .write_all(request)
        .await
        .map_err(|error| error.to_string())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.map_err(|error| error.to_string())?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    if head.starts_with("HTTP/1.1 101 ") {
        Ok(socket)
    } else {
        Err(head)
    }
}

#[derive(Clone)]
struct Service {
    name: String,
    behaviour: Behaviour,
    session: Session,
}

impl Service {
    fn end(&self) {
        if self.behaviour != Behaviour::IgnoreShutdown {
            // Refuses new streams and ends when the open ones are done, this answer's included.
            drop(self.session.close());
        }
    }
}

impl plugins::PluginService for Service {
    async fn shutdown(
        &self,
        _: Request<plugins::ShutdownRequest>,
    ) -> Result<Response<plugins::ShutdownResponse>, Error> {
        self.end();
        Ok(Response::new(plugins::ShutdownResponse {}))
    }
}

impl resolver::PluginService for Service {
    async fn shutdown(
        &self,
        _: Request<resolver::ShutdownRequest>,
    ) -> Result<Response<resolver::ShutdownResponse>, Error> {
        self.end();
        Ok(Response::new(resolver::ShutdownResponse {}))
    }
}

impl access::AccessControlService for Service {
    async fn check_access(
        &self,
        request: Request<access::CheckAccessRequest>,
    ) -> Result<Response<access::CheckAccessResponse>, Error> {
        let denied = request.message().pattern().ends_with("denied");
        let decision = if denied {
            access::Decision::Deny
        } else {
            access::Decision::Allow
        };
        Ok(Response::new(access::CheckAccessResponse {
            decision: Some(decision.into()),
        }))
    }
}

impl resolver::ResolverService for Service {
    async fn get_secrets(
        &self,
        request: Request<resolver::GetSecretsRequest>,
    ) -> Result<Response<resolver::GetSecretsResponse>, Error> {
        let pattern = request.into_message().pattern.unwrap_or_default();
        match self.behaviour {
            Behaviour::CrashOnRequest if pattern.ends_with("crash") => std::process::exit(4),
            Behaviour::Slow if pattern.ends_with("slow") => std::future::pending::<()>().await,
            Behaviour::Fail => return Err(Error::internal("backend exploded")),
            Behaviour::BackendTimedOut => {
                return Err(Error::deadline_exceeded("the \x1b[31mvault\x1b[0m slept"));
            }
            _ => {}
        }
        let mut ids: Vec<String> = vec![format!("{}/a", self.name), format!("{}/b", self.name)];
        if let Ok(id) = pattern.parse::<Id>() {
            ids = vec![id.to_string()];
        }
        let query: Pattern = pattern
            .parse()
            .map_err(|_| Error::invalid_argument("not a pattern"))?;
        ids.retain(|id| id.parse().is_ok_and(|id| query.matches(&id)) && !id.ends_with("absent"));
        if self.behaviour == Behaviour::OutsideRealm {
            ids.extend([
                "stolen/id".into(),
                "not an id".into(),
                format!("{}/unasked", self.name),
            ]);
        }
        if ids.is_empty() {
            return Err(Error::not_found("nothing"));
        }
        if self.behaviour == Behaviour::Careless {
            ids.extend(ids.clone());
        }
        let envelopes = ids.into_iter().map(|id| {
            let mut envelope = resolver::get_secrets_response::Envelope::default();
            envelope.value = Some(value_of(&id));
            envelope.id = Some(id);
            envelope.provider = Some("somebody else".into());
            if self.behaviour == Behaviour::Careless {
                let seconds = i64::MAX;
                envelope.expires_at = Some(Timestamp { seconds, nanos: -1 });
            }
            envelope
        });
        Ok(Response::new(resolver::GetSecretsResponse {
            envelopes: envelopes.collect(),
        }))
    }
}
