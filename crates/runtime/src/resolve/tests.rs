//! The pure parts of resolving.
