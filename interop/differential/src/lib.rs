//! Differential tests of Keyway's multiplexer.
//!
//! A [`Script`] is a list of operations of two applications on one session: open, write, read,
//! half-close, reset, drop, GoAway, close, in both directions. It follows from a seed, and
//! belongs to a [`Class`] that covers one kind of failure. [`expect`] computes the outcome of each operation. A [`Campaign`] plays scripts with a [`Pairing`] of implementations (Keyway's, HashiCorp's
//! for Go, the crates `yamux` and `tokio-yamux`), each behind the trait [`Actor`], and compares
//! the observations of the applications with these outcomes.
//!
//! It tests the observations of applications, not the frames; the mux's own tests check those.
//!
//! ```
//! use keyway_differential::{Campaign, Pairing, seeds, verdict};
//!
//! let pairing: Pairing = "native-native".parse()?;
//! let mut campaign = Campaign::new(pairing).ok_or("this pairing needs Go")?;
//! let tallies = campaign.run(seeds(1, 20, None));
//! assert!(verdict(pairing, &tallies).is_empty());
//! # Ok::<(), String>(())
//! ```
#![forbid(unsafe_code)]

mod actor;
mod campaign;
mod class;
pub mod command;
pub mod content;
mod draft;
mod go;
mod implementations;
mod known;
mod local;
mod model;
mod multiplexer;
mod outcome;
mod pairing;
mod play;
mod random;
mod script;
mod seed;
mod shrink;
mod strand;
mod tally;
mod transcript;

pub use self::{
    actor::{Act, Actor, Performed, Performing},
    campaign::{Campaign, seeds},
    class::Class,
    go::{GoEnd, GoPeer, Reply},
    known::{Entry, entries, verdict},
    model::{Expected, expect},
    outcome::{Outcome, Saw},
    pairing::{Implementation, Pairing},
    random::Random,
    script::{End, Op, Pace, Script, Settings, Step, Wait},
    tally::{Failure, Tallies, Tally},
    transcript::{Line, Transcript},
};
