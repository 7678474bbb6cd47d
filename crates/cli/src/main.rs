//! A local secrets engine with a plugin system: no secret lies in a dotfile.

fn main() {}
