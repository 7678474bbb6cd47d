//! The client of the daemon.

mod failure;
mod nearest;
mod query;

use std::env;
use std::time::Duration;

use keyway_local::{Address, EnvironmentError, Places, daemon_uid, given_address, with_causes};
use keyway_proto::keyway::v1::{ManagementServiceClient, StatusRequest, StatusResponse};
use keyway_resolver::{ConnectError, DaemonSocket, ResolveError, Resolver};
use tokio::runtime::Builder;

use crate::event_loop;
use crate::failure::Failure;
use crate::globals::Globals;

pub(crate) use failure::{
    ambiguous, explain_failure, not_found, not_running, request_failure, split_advice, unresponsive,
};
pub(crate) use query::QueryContext;

/// How long the status may take for a command that is of use without the daemon, unless `--timeout` says otherwise.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// A client of the daemon.
pub(crate) type Daemon = Resolver<DaemonSocket>;

/// Runs `requests` with a client of the daemon. The client connects with the first request. The failure of an id that is not found
/// gets the nearest ids.
pub(crate) fn with_client<T>(
    globals: &Globals,
    requests: impl AsyncFnOnce(Daemon) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let socket = socket(globals)?;
    let runtime = event_loop::build(&mut Builder::new_current_thread())?;
    let mut daemon = Resolver::new(socket)
        .with_may_ask_user(!globals.no_ask)
        .with_retry(true);
    if let Some(timeout) = globals.timeout {
        daemon = daemon.with_timeout(timeout);
    }
    let outcome = runtime.block_on(async {
        match requests(daemon.clone()).await {
            Err(failure) => Err(nearest::with_nearest_ids(&daemon, failure).await),
            done => done,
        }
    });
    outcome.map_err(|failure| without_given_address(globals, failure))
}

/// Returns what the daemon reports of itself.
///
/// # Errors
///
/// Returns the [`ResolveError`] of the request.
pub(crate) async fn status(daemon: &Daemon) -> Result<StatusResponse, ResolveError> {
    let client = ManagementServiceClient::from(daemon.rpc());
    let response = client.status(StatusRequest {}).await?;
    Ok(response.into_message())
}

/// Returns the [`status`] for a command that does not need a daemon: `None` if none is running.
///
/// # Errors
///
/// Returns the [`ResolveError`] of a daemon that runs and does not report its status, in 5 s unless `--timeout` says otherwise.
pub(crate) async fn status_if_running(
    globals: &Globals,
    daemon: Daemon,
) -> Result<Option<StatusResponse>, ResolveError> {
    let daemon = daemon.with_timeout(globals.timeout.unwrap_or(STATUS_TIMEOUT));
    match status(&daemon).await {
        Ok(status) => Ok(Some(status)),
        Err(ResolveError::NotRunning(error)) if error.is_not_running() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns `true` if no daemon is running and the command line names none, so that a command may use the file store instead.
pub(crate) fn is_absent(globals: &Globals, error: &ConnectError) -> bool {
    error.is_not_running() && globals.sockets().is_empty()
}

/// Leaves the address of --socket out of a failure. Arguments are not repeated: one may be a secret in the wrong place.
pub(crate) fn without_given_address(globals: &Globals, failure: Failure) -> Failure {
    match globals.socket() {
        Ok(Some(address)) => {
            failure.with_text_replaced(&format!(" at {address} ("), " at the address of --socket (")
        }
        _ => failure,
    }
}

/// Returns the socket of the daemon: its address and uid come from the command line, else from the environment.
fn socket(globals: &Globals) -> Result<DaemonSocket, Failure> {
    let socket = DaemonSocket::at_first_of(addresses(globals)?);
    Ok(match uid(globals)? {
        Some(uid) => socket.with_daemon_uid(uid),
        None => socket,
    })
}

/// Returns the addresses at which the daemon is looked for, in this order.
pub(crate) fn addresses(globals: &Globals) -> Result<Vec<Address>, Failure> {
    let address = match globals.socket()? {
        Some(address) => Some(address.clone()),
        None => given_address(|name| env::var_os(name)).map_err(invalid)?,
    };
    let places = uid(globals)?.map_or_else(Places::of_process, Places::of_user);
    Ok(places.candidates(address))
}

/// Returns the uid of the daemon, if it is given.
fn uid(globals: &Globals) -> Result<Option<u32>, Failure> {
    match globals.daemon_uid {
        Some(uid) => Ok(Some(uid)),
        None => daemon_uid(|name| env::var_os(name)).map_err(invalid),
    }
}

fn invalid(error: EnvironmentError) -> Failure {
    Failure::usage(
        with_causes(&error),
        "Correct the variable, or unset it for the default",
    )
}
