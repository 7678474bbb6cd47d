//! Whole sessions without sockets, in virtual time.

mod blocks;
mod closing;
mod flow;
mod hostile;
mod opening;
mod random;
mod room;
mod scripted;
mod timing;
mod turns;

use super::harness::pair;
