//! The messages of the Keyway plugin protocol, with optional Connect clients and servers.
