//! Addresses as the standard library's sockets take them. The only platform-dependent code of this crate.

use std::io;
use std::os::unix::net::SocketAddr;

use super::Address;

impl Address {
    /// Returns the address for [`std::os::unix::net::UnixStream::connect_addr`] and
    /// [`std::os::unix::net::UnixListener::bind_addr`].
    ///
    /// # Errors
    ///
    /// An I/O error if the address is too long, or an abstract name on a system other than Linux and Android.
    pub fn to_socket_addr(&self) -> io::Result<SocketAddr> {
        self.check_length()?;
        match self {
            Self::Path(path) => SocketAddr::from_pathname(path),
            Self::Abstract(name) => from_abstract_name(name),
        }
    }
}

#[cfg(target_os = "linux")]
fn from_abstract_name(name: &str) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;
    SocketAddr::from_abstract_name(name)
}

#[cfg(target_os = "android")]
fn from_abstract_name(name: &str) -> io::Result<SocketAddr> {
    use std::os::android::net::SocketAddrExt as _;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn from_abstract_name(_name: &str) -> io::Result<SocketAddr> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "abstract socket names exist on Linux only",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_become_socket_addresses() {
        let path: Address = "/tmp/a.sock".parse().unwrap();
        assert_eq!(path.to_socket_addr().unwrap().as_pathname(), path.as_path());
        let name = Address::reference(7).to_socket_addr();
        if cfg!(target_os = "linux") {
            assert!(!name.unwrap().is_unnamed());
        }
    }
}
