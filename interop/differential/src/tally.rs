//! What became of scripts.

use std::{collections::BTreeMap, fmt};

use crate::{class::Class, pairing::Pairing, script::Script, transcript::Transcript};

/// A script that did not lead to what it should have.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Who played.
    pub pairing: Pairing,
    /// What was played.
    pub script: Script,
    /// What came of it.
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

/// What became of the scripts of a class.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many led to what they should.
    pub passed: usize,
    /// How many did not.
    pub failed: usize,
    /// The first that did not.
    pub first: Option<Failure>,
}

/// The classes of a campaign.
pub type Tallies = BTreeMap<Class, Tally>;
