//! How the process was started: launched by a runtime with a connection, or by hand without one.

use std::io;
use std::os::unix::net::UnixStream;

use keyway_local::{Credentials, ForeignPeer, KnownUids, Rule};
use keyway_proto::{LAUNCH_VARIABLE, LaunchConfig, LaunchConfigError};
use rustix::net::sockopt::socket_type;

use crate::inherited::{self, NotAlone};

/// How the process was started.
#[derive(Debug)]
pub(crate) enum Start {
    /// By a runtime, which has handed over one end of a socket pair.
    Launched {
        config: LaunchConfig,
        socket: UnixStream,
    },
    /// By a person or a service manager: the plugin looks for the daemon itself.
    ByHand,
}

/// Why a launched plugin cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The launch variable cannot be read.
    #[error(transparent)]
    Config(#[from] LaunchConfigError),
    /// The descriptor is not the connection that was promised.
    #[error("the inherited descriptor {fd} that {LAUNCH_VARIABLE} names cannot be used: {source}")]
    Descriptor {
        /// The number.
        fd: i32,
        /// What the system says.
        source: io::Error,
    },
    /// The kernel does not say who made the connection.
    #[error("the kernel does not say which user launched this plugin: {0}")]
    Credentials(io::Error),
    /// The runtime belongs to another user.
    #[error(
        "this plugin was launched by user {owner}, but runs as user {user}; it does not talk to a stranger"
    )]
    ForeignRuntime {
        /// Who made the connection.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// The launch variable cannot be removed any more.
    #[error(
        "this process has {threads} threads already, so that {LAUNCH_VARIABLE} cannot be taken out of its environment; call keyway_plugin_sdk::run from a plain `fn main`, before anything starts a thread"
    )]
    Threads {
        /// How many there are.
        threads: usize,
    },
}

/// Finds out how the process was started, and takes over what it was given. Call it once, before any thread is started.
pub(crate) fn detect() -> Result<Start, StartError> {
    let taken = inherited::take_variable(LAUNCH_VARIABLE);
    let text = taken.map_err(|NotAlone { threads }| StartError::Threads { threads })?;
    let Some(text) = text else {
        return Ok(Start::ByHand);
    };
    // A text that is not UTF-8 is not JSON either, and is refused as such.
    let config = LaunchConfig::from_json(&text.to_string_lossy())?;
    let socket = take_socket(config.fd).map_err(|source| StartError::Descriptor {
        fd: config.fd,
        source,
    })?;
    check_owner(&socket)?;
    Ok(Start::Launched { config, socket })
}

fn take_socket(fd: i32) -> io::Result<UnixStream> {
    let descriptor = inherited::take_descriptor(fd)?;
    // Fails for what is not a socket.
    socket_type(&descriptor)?;
    let socket = UnixStream::from(descriptor);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Checks the runtime's user. The credentials of a socket pair are those of the process that made it.
fn check_owner(socket: &UnixStream) -> Result<(), StartError> {
    let credentials = Credentials::of_peer(socket).map_err(StartError::Credentials)?;
    // Root may launch plugins as another user.
    match Rule::OwnOrRoot.check(credentials, &KnownUids::read()) {
        Ok(()) => Ok(()),
        Err(ForeignPeer { uid, own, .. }) => Err(StartError::ForeignRuntime {
            owner: uid,
            user: own,
        }),
    }
}
