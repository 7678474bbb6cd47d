//! The only `unsafe` code of this crate: system calls, and their parts.
//!
//! - [`ancestry`]: whether a process descends from this one;
//! - [`child`]: `fork`, `dup2` to a fixed number and `close_range`, for starting processes;
//! - [`children`]: `waitid` for every child;
//! - [`clock`]: the clock that advances while the machine sleeps;
//! - [`descriptors`]: the limit of open files, which children get back;
//! - [`group`]: the process group of a process;
//! - [`guardian`]: the process that outlives the daemon for a moment;
//! - [`image`]: `execve` and `execveat`.

#![allow(unsafe_code, reason = "each block states why it is sound")]

pub(crate) mod ancestry;
pub(crate) mod child;
pub(crate) mod children;
pub(crate) mod clock;
pub(crate) mod descriptors;
pub(crate) mod group;
pub(crate) mod guardian;
pub(crate) mod image;
