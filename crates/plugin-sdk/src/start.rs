//! Detects how the process was started: launched by a runtime with a connection, or external without one.

use std::io;
use std::os::unix::net::UnixStream;

use keyway_local::{Credentials, ForeignPeer, KnownUids, Rule};
use keyway_proto::{LAUNCH_VARIABLE, LaunchConfig, LaunchConfigError};
use rustix::net::sockopt::socket_type;

use crate::inherited::{self, MultiThreaded};

/// The way in which the process was started.
#[derive(Debug)]
pub(crate) enum Start {
    /// Launched by a runtime, which passed one end of a socket pair.
    Launched {
        config: LaunchConfig,
        socket: UnixStream,
    },
    /// Started by the user or a service manager: the plugin connects to the daemon.
    External,
}

/// Error of starting a launched plugin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The launch variable is invalid.
    #[error(transparent)]
    Config(#[from] LaunchConfigError),
    /// The descriptor is not the promised connection.
    #[error("the inherited descriptor {fd} that {LAUNCH_VARIABLE} names cannot be used")]
    Descriptor {
        /// Number of the descriptor.
        fd: i32,
        /// The error of the system call.
        source: io::Error,
    },
    /// The credentials of the runtime cannot be read.
    #[error("cannot read the credentials of the process that launched this plugin")]
    Credentials(#[source] io::Error),
    /// The runtime belongs to another user.
    #[error(
        "this plugin was launched by user {owner}, but runs as user {user}; only its own user and root may launch it"
    )]
    ForeignRuntime {
        /// Uid of the runtime.
        owner: u32,
        /// Uid of this process.
        user: u32,
    },
    /// The launch variable cannot be removed because the process has several threads.
    #[error(
        "this process has {threads} threads already, so that {LAUNCH_VARIABLE} cannot be taken out of its environment; call keyway_plugin_sdk::run from a plain `fn main`, before anything starts a thread"
    )]
    Threads {
        /// Number of threads.
        threads: usize,
    },
}

/// Detects how the process was started and takes ownership of the inherited connection. Call it once, before any thread
/// is started.
pub(crate) fn detect() -> Result<Start, StartError> {
    let taken = inherited::take_variable(LAUNCH_VARIABLE);
    let text = taken.map_err(|MultiThreaded { threads }| StartError::Threads { threads })?;
    let Some(text) = text else {
        return Ok(Start::External);
    };
    // Text that is not UTF-8 is not JSON either and is refused as such.
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
    // Fails if the descriptor is not a socket.
    socket_type(&descriptor)?;
    let socket = UnixStream::from(descriptor);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Checks the runtime's user. The credentials of a socket pair are those of the process that created it.
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
