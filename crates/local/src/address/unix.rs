//! Addresses as the standard library's sockets take them. The only platform-dependent code of this crate.

use std::io;
use std::os::unix::net::SocketAddr;

use super::{Address, ParseAddressError};

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

/// The address of a bound socket. An unnamed one is [`ParseAddressError::Empty`].
impl TryFrom<&SocketAddr> for Address {
    type Error = ParseAddressError;

    fn try_from(address: &SocketAddr) -> Result<Self, ParseAddressError> {
        if let Some(path) = address.as_pathname() {
            return Ok(Self::Path(path.into()));
        }
        let name = abstract_name(address).ok_or(ParseAddressError::Empty)?;
        let name = str::from_utf8(name).map_err(|_| ParseAddressError::NotUtf8)?;
        Ok(Self::Abstract(name.to_owned()))
    }
}

#[cfg(target_os = "linux")]
fn abstract_name(address: &SocketAddr) -> Option<&[u8]> {
    use std::os::linux::net::SocketAddrExt as _;
    address.as_abstract_name()
}

#[cfg(target_os = "android")]
fn abstract_name(address: &SocketAddr) -> Option<&[u8]> {
    use std::os::android::net::SocketAddrExt as _;
    address.as_abstract_name()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn abstract_name(_address: &SocketAddr) -> Option<&[u8]> {
    None
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
    fn both_kinds_become_socket_addresses_and_are_read_back() {
        let path: Address = "/tmp/a.sock".parse().unwrap();
        let address = path.to_socket_addr().unwrap();
        assert_eq!(address.as_pathname(), path.as_path());
        assert_eq!(Address::try_from(&address), Ok(path));
        let name = Address::reference(7).to_socket_addr();
        if cfg!(target_os = "linux") {
            assert_eq!(Address::try_from(&name.unwrap()), Ok(Address::reference(7)));
        }
    }
}
