//! The misbehaving plugin, on the layers below the SDK.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use keyway_http::{Exchange, Limits, serve};
use keyway_local::Address;
use keyway_mux::{Connector, Listener, Session};
use keyway_proto::accesscontrol::v1 as access;
use keyway_proto::keyway::v1::{CatalogServiceServer, PluginDescription};
use keyway_proto::plugins::v1 as plugins;
use keyway_proto::resolver::v1 as resolver;
use keyway_proto::{DESCRIBE_HEADER, LAUNCH_VARIABLE, LaunchConfig};
use keyway_rpc::client::Client;
use keyway_rpc::{BinaryMetadata as _, Error, Request, Router};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::behaviour::{Behaviour, VARIABLE};
use crate::caller;
use crate::script::{Place, Script};
use service::{Service, Wire};

mod daemon_call;
mod fault;
mod service;

/// The dummy value that a provider without a list of secrets has for `id`.
pub fn value_of(id: &str) -> Vec<u8> {
    format!("dummy-value-of-{id}").into_bytes()
}

/// Runs the process: a launched plugin, or a caller of a daemon, depending on the first argument.
pub fn run() -> ExitCode {
    let mut arguments = std::env::args();
    let executable = arguments.next().unwrap_or_default();
    match arguments.next().as_deref() {
        Some(caller::MODE) => {
            caller::run(arguments);
            return ExitCode::SUCCESS;
        }
        Some(caller::STAY) => {
            caller::stay(arguments);
            return ExitCode::SUCCESS;
        }
        Some(daemon_call::IN_SESSION) => {
            rustix::process::setsid().expect("it leads no group");
            caller::run(arguments);
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let launch = std::env::var(LAUNCH_VARIABLE).expect("started by a runtime");
    let launch = LaunchConfig::from_json(&launch).expect("a launch configuration");
    let behaviour = std::env::var(VARIABLE).map_or(Ok(Behaviour::Good), |text| text.parse());
    let behaviour: Behaviour = behaviour.expect("a behaviour");
    let socket = std::os::unix::net::UnixStream::from(crate::inherited::take(launch.fd));
    socket.set_nonblocking(true).expect("a socket");
    let raw = socket.try_clone().expect("a descriptor");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let socket = UnixStream::from_std(socket).expect("a socket");
        let player = Player {
            name: launch.name.clone(),
            behaviour,
            place: home_of(&executable).map(|home| Place::new(home, &launch.name)),
            daemon: home_of(&executable).map(|home| home.join("daemon.sock").into()),
            socket: Some(Arc::new(raw)),
        };
        live(player, socket).await
    })
}

/// The home of a daemon whose plugin directory holds this executable.
fn home_of(executable: &str) -> Option<&Path> {
    Path::new(executable).parent()?.parent()
}

/// The identity and the instructions of a plugin.
#[derive(Clone, Debug)]
pub(crate) struct Player {
    pub(crate) name: String,
    pub(crate) behaviour: Behaviour,
    /// The place of its script; without one it follows the behaviour alone.
    pub(crate) place: Option<Place>,
    /// The daemon's socket.
    pub(crate) daemon: Option<Address>,
    /// Another handle of a launched plugin's connection, for bytes that a session would not send.
    pub(crate) socket: Option<Arc<std::os::unix::net::UnixStream>>,
}

impl Player {
    /// The script as it is now.
    pub(crate) fn script(&self) -> Script {
        self.place.as_ref().map(Place::read).unwrap_or_default()
    }

    /// Records an event for the test.
    pub(crate) fn note(&self, event: &str) {
        if let Some(place) = &self.place {
            place.note(event);
        }
    }
}

async fn live(player: Player, mut socket: UnixStream) -> ExitCode {
    let mut stderr = std::io::stderr();
    let behaviour = player.behaviour;
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
            // It ends with its group.
            drop(helper.arg("600").spawn().expect("a helper"));
        }
        _ => {}
    }
    if behaviour == Behaviour::IgnoreShutdown {
        ignore_interrupt();
    }
    if let Some(place) = &player.place {
        if place.read().holds_registration {
            place.note("holds");
            place.wait(|script| !script.holds_registration).await;
        }
        if let Some(status) = place.read().exits_with {
            return ExitCode::from(status);
        }
        if place.read().starts_with_garbage {
            let garbage = [0xff; 64];
            socket.write_all(&garbage).await.expect("written");
        }
    }
    let outcome = start(player, socket).await;
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

/// Ignores SIGINT.
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
        // The reason of the end does not matter.
        let _ = self.driver.await;
        self.server.abort();
    }

    /// Closes the connection.
    pub async fn leave(self) {
        self.session.close();
        let _ = self.session.closed().await;
        self.ended().await;
    }
}

/// Registers on a connection and serves it.
///
/// # Errors
///
/// The daemon's response to the registration.
pub async fn connect(
    name: &str,
    behaviour: Behaviour,
    socket: UnixStream,
) -> Result<Plugin, Error> {
    let player = Player {
        name: name.into(),
        behaviour,
        place: None,
        daemon: None,
        socket: None,
    };
    start(player, socket).await
}

/// Registers on a connection and serves it by the script of `name` in the home at `home`.
///
/// # Errors
///
/// The daemon's response to the registration.
pub async fn connect_scripted(
    name: &str,
    home: &Path,
    socket: UnixStream,
) -> Result<Plugin, Error> {
    let player = Player {
        name: name.into(),
        behaviour: Behaviour::Good,
        place: Some(Place::new(home, name)),
        daemon: None,
        socket: None,
    };
    start(player, socket).await
}

async fn start(player: Player, socket: UnixStream) -> Result<Plugin, Error> {
    // As plugins on the SDK: a daemon that is silent is stopped or hangs.
    let config = keyway_mux::Config::new()
        .keep_alive_timeout(Duration::MAX)
        .write_timeout(Duration::MAX);
    let (session, driver) = Session::client(socket, config);
    let driver = tokio::spawn(driver);
    let service = Service::new(player.clone(), session.clone());
    let mut router = Router::new()
        .add_service(plugins::PluginServiceServer::new(service.clone()))
        .add_service(resolver::PluginServiceServer::new(service.clone()))
        .add_service(access::AccessControlServiceServer::new(service.clone()));
    if player.behaviour != Behaviour::TooOld {
        router = router
            .add_service(resolver::ResolverServiceServer::new(service.clone()))
            .add_service(CatalogServiceServer::new(service));
    }
    let listener = Listener::new(session.clone());
    let wire = Wire::new(player.clone(), router);
    let server = tokio::spawn(async move {
        serve(
            listener,
            |_, _| wire.clone(),
            Limits::default(),
            std::future::pending(),
        )
        .await;
    });
    let script = player.script();
    if script.calls_before_registration {
        daemon_call::all(&player, &session, &script.calls).await;
    }
    register(&player, &script, &session).await?;
    player.note("registered");
    if !script.calls_before_registration {
        daemon_call::all(&player, &session, &script.calls).await;
    }
    Ok(Plugin {
        session,
        driver,
        server,
    })
}

async fn register(player: &Player, script: &Script, session: &Session) -> Result<(), Error> {
    let (name, behaviour) = (player.name.as_str(), player.behaviour);
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
    let pattern = match &script.pattern {
        Some(pattern) => pattern.clone(),
        None if behaviour == Behaviour::OwnEverything => "**".into(),
        None => format!("{name}/**"),
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
    let is_module = script.is_module || behaviour == Behaviour::AccessControl;
    let metadata = if is_module {
        plugins::register_plugin_request::Metadata::AccessControlModule(
            plugins::AccessControlModule {},
        )
    } else {
        plugins::register_plugin_request::Metadata::SecretsProvider(plugins::SecretsProvider {
            pattern: Some(pattern),
        })
    };
    let mut request = Request::new(plugins::RegisterPluginRequest {
        name: Some(registered_name.into()),
        version: Some(version.into()),
        metadata: Some(metadata),
    });
    if let Some(description) = &script.description {
        let description = PluginDescription::from(description.clone()).encode_to_vec();
        request
            .metadata_mut()
            .append_binary(DESCRIBE_HEADER, &description)
            .expect("a binary header");
    }
    plugins::RegisterServiceClient::from(client)
        .register_plugin(request)
        .await
        .map(drop)
}

/// Upgrades a connection to a daemon to a plugin connection, as an external plugin does.
///
/// # Errors
///
/// The status line of a refusal, with the lines after it.
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
