//! The machine in virtual time, with actions that only record that they were called.

mod external;
mod failures;
mod harness;
mod launching;
mod restarts;
mod sequences;
mod stopping;
