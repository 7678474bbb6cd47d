//! The engine of the Keyway daemon: launches plugins, supervises them and resolves secrets.
