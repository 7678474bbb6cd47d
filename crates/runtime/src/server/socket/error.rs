//! The errors of listening at an address.

use std::io;
use std::path::PathBuf;

use keyway_local::file::Offences;
use keyway_local::{Address, Credentials};

/// Error of listening at an address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Another process listens at the address.
    #[error("{address} is in use by {}", name_of(.holder.as_ref()))]
    InUse {
        /// The address.
        address: Address,
        /// The process that listens there, if the kernel reports it.
        holder: Option<Credentials>,
    },
    /// A file at the address is not a socket.
    #[error("{path} is not a socket and is not replaced", path = .path.display())]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// Other users can change the directory of the socket, and so replace the socket by their own.
    #[error("the directory of the socket is not safe")]
    Directory(#[source] Offences),
    /// A descriptor that the service manager passed is not a listening socket.
    #[error("cannot use a socket that the service manager passed: cannot {what}")]
    Inherited {
        /// The step that failed.
        what: &'static str,
        /// The error of the operating system, or the fault of the socket.
        source: io::Error,
    },
    /// The operating system returned an error.
    #[error("cannot listen at {address}: {what}")]
    Io {
        /// The address.
        address: Address,
        /// The step that failed.
        what: &'static str,
        /// The error of the operating system.
        source: io::Error,
    },
}

impl ListenError {
    /// Makes the error of one step at `address` from that of the operating system.
    pub(super) fn at(address: &Address, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            address: address.clone(),
            what,
            source,
        }
    }

    /// Returns `true` if systemd listens at the address for a service.
    pub fn is_service_manager(&self) -> bool {
        self.holder()
            .is_some_and(|holder| holder.is_service_manager())
    }

    /// Returns the process that listens at the address, if that is the error and the kernel reports
    /// it.
    pub(crate) fn holder(&self) -> Option<Credentials> {
        match self {
            Self::InUse { holder, .. } => *holder,
            _ => None,
        }
    }
}

fn name_of(holder: Option<&Credentials>) -> String {
    match holder {
        // Its pid would be taken for that of the daemon.
        Some(holder) if holder.is_service_manager() => "a socket unit of systemd".to_owned(),
        Some(holder) => holder.to_string(),
        None => "another process".to_owned(),
    }
}
