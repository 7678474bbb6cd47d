//! Keyway provider: an age-encrypted store in a local directory.

fn main() {}
