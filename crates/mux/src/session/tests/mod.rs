//! Whole sessions without sockets, in virtual time.

mod closing;
mod flow;
mod hostile;
mod opening;
mod pair;
mod random;
mod scripted;
mod timing;
