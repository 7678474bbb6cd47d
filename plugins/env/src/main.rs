//! Keyway provider: environment variables that its configuration names.

fn main() {}
