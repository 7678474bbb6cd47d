//! Ask the local Keyway daemon for secrets, async or blocking.
