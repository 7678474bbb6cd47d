//! What answers at each address of the daemon.

use futures::future::join_all;
use keyway_local::{Address, Credentials};
use keyway_proto::keyway::v1::StatusResponse;
use keyway_resolver::{DaemonSocket, ResolveError, Resolver};

use crate::daemon;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::inventory::{self, Plugin};

/// What was found at the addresses where clients look.
pub(super) struct Examined {
    pub(super) probes: Vec<Probe>,
    /// The status of the daemon that clients use.
    pub(super) status: Result<StatusResponse, ResolveError>,
    /// Its plugins; none if it does not list them.
    pub(super) plugins: Vec<Plugin>,
}

/// What was found at one address.
pub(super) struct Probe {
    pub(super) address: Address,
    /// The process that listens, if one does.
    pub(super) listener: Result<Credentials, std::io::Error>,
    /// The pid that a daemon of this user reports there.
    pub(super) daemon_pid: Option<i32>,
}

/// Asks for the status at all addresses.
pub(super) fn examine(globals: &Globals) -> Result<Examined, Failure> {
    let addresses = daemon::addresses(globals)?;
    daemon::with_client(globals, async |daemon| {
        let (status, probes) = futures::join!(
            daemon::status(&daemon),
            join_all(addresses.into_iter().map(Probe::of))
        );
        let plugins = match &status {
            Ok(_) => inventory::list(&daemon).await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        Ok(Examined {
            probes,
            status,
            plugins,
        })
    })
}

impl Probe {
    async fn of(address: Address) -> Self {
        let listener =
            keyway_local::connect(&address).and_then(|stream| Credentials::of_peer(&stream));
        let daemon = Resolver::new(DaemonSocket::at(address.clone()));
        let status = daemon::status(&daemon).await;
        Self {
            address,
            listener,
            daemon_pid: status.ok().and_then(|status| status.pid),
        }
    }
}
