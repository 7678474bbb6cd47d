//! Whole sessions without sockets, in virtual time.

mod blocks;
mod closing;
mod flow;
mod hostile;
mod opening;
mod queue_space;
mod random;
mod rounds;
mod scripted;
mod timing;

use super::harness::pair;
