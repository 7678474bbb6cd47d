//! The results of scripts.

use std::{collections::BTreeMap, fmt};

use crate::{class::Class, pairing::Pairing, script::Script, transcript::Transcript};

/// A failed script.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The pairing.
    pub pairing: Pairing,
    /// The script.
    pub script: Script,
    /// Its transcript.
    pub transcript: Transcript,
    /// The same with as few operations as could be found.
    pub smallest: Option<Box<(Script, Transcript)>>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Script { class, seed, .. } = self.script;
        writeln!(
            f,
            "KEYWAY_SEED={seed}, pairing {}, class {class} ({})",
            self.pairing,
            class.lessons()
        )?;
        writeln!(f, "{:?}\n{}", self.script.settings, self.transcript)?;
        if let Some(smallest) = &self.smallest {
            writeln!(f, "the same with fewer operations:\n{}", smallest.1)?;
        }
        Ok(())
    }
}

/// The results of the scripts of a class.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// The number of passed scripts.
    pub passed: usize,
    /// The number of failed scripts.
    pub failed: usize,
    /// The first failed script.
    pub first: Option<Failure>,
}

/// The classes of a campaign.
pub type Tallies = BTreeMap<Class, Tally>;
