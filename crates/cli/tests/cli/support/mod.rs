//! The program in a home of its own, a terminal, and a daemon in the test's process whose responses a script chooses.

mod failing;
mod home;
mod inventory;
pub(crate) mod script;
mod store;
mod terminal;
pub(crate) mod user_manager;

pub(crate) use home::{Home, KEYWAY};
pub(crate) use terminal::{SHELLS, Terminal};
