//! The commands of Keyway's maintainers.

fn main() {}
