//! Many scripts with one pairing.

use std::{fmt, io};

use keyway_interop::{GoPrograms, go_programs};
use tokio::runtime::{Builder, Runtime};

use crate::{
    class::Class,
    known::{ENOUGH, doubtful},
    model::expect,
    pairing::{Pairing, Stage},
    play::play,
    random::Random,
    script::Script,
    shrink::shrink,
    tally::{Failure, Tallies},
    transcript::Transcript,
};

/// Plays scripts with one pairing.
pub struct Campaign {
    pairing: Pairing,
    // Dropped before the runtime that its sockets belong to.
    stage: Stage,
    runtime: Runtime,
}

impl fmt::Debug for Campaign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Campaign")
            .field("pairing", &self.pairing)
            .finish_non_exhaustive()
    }
}

/// The seeds of a campaign: so many, all classes in turn, or one class alone.
pub fn seeds(base: u64, count: usize, class: Option<Class>) -> impl Iterator<Item = u64> {
    let mut random = Random::new(base);
    let classes = class.map_or(Class::ALL.to_vec(), |class| vec![class]);
    // Short enough for a command line.
    (0..count).map(move |number| classes[number % classes.len()].seed(random.bits() >> 24))
}

impl Campaign {
    /// A campaign. `None` means that it needs Go, which is missing: the skip was reported.
    ///
    /// # Panics
    ///
    /// Panics if Go is missing and `KEYWAY_REQUIRE_ALL` is `1`, and if the Go programs do not build.
    pub fn new(pairing: Pairing) -> Option<Self> {
        let programs: Option<GoPrograms> = if pairing.needs_go() {
            Some(go_programs()?)
        } else {
            None
        };
        let mut builder = if pairing.is_threaded {
            Builder::new_multi_thread()
        } else {
            Builder::new_current_thread()
        };
        builder.enable_all().worker_threads(2);
        if !pairing.is_real() {
            // The connection is in memory: if all tasks wait, the clock can jump to the next timer.
            builder.start_paused(true);
        }
        let runtime = builder.build().expect("a runtime needs a few descriptors");
        Some(Self {
            pairing,
            stage: Stage::new(pairing, programs),
            runtime,
        })
    }

    /// Plays the script of a seed.
    ///
    /// # Errors
    ///
    /// Returns a failure if an outcome differs from the expected one.
    ///
    /// # Panics
    ///
    /// Panics if the Go program cannot be started.
    pub fn play_seed(&mut self, seed: u64) -> Result<Transcript, Box<Failure>> {
        let mut drains = self.pairing.drains();
        if drains.is_empty() && Class::of_seed(seed).needs_drain() {
            // The model alone is tested then.
            drains = crate::script::End::BOTH.to_vec();
        }
        let script = Script::from_seed(seed, &drains);
        match self.play(&script) {
            Ok(transcript) if transcript.parting().is_none() => Ok(transcript),
            Ok(transcript) => Err(Box::new(Failure {
                pairing: self.pairing,
                script,
                transcript,
                smallest: None,
            })),
            Err(error) => panic!("{}: {error}", self.pairing),
        }
    }

    /// Plays a script.
    ///
    /// # Errors
    ///
    /// Fails if the Go program cannot be started.
    ///
    /// # Panics
    ///
    /// Panics if the script has no single outcome.
    pub fn play(&mut self, script: &Script) -> io::Result<Transcript> {
        let expected = expect(script).unwrap_or_else(|why| panic!("seed {}: {why}", script.seed));
        let limit = self.pairing.limit(&script.settings);
        let (stage, runtime) = (&mut self.stage, &self.runtime);
        let transcript = runtime.block_on(async {
            let pair = stage.pair(&script.settings).await?;
            Ok::<_, io::Error>(play(script, &expected, &pair.actors, limit).await)
        })?;
        if transcript.parting().is_some() {
            self.stage.clear();
        }
        Ok(transcript)
    }

    /// Plays the scripts of many seeds, and shrinks the first of each class that fails.
    ///
    /// # Panics
    ///
    /// Panics if the Go program cannot be started.
    pub fn run(&mut self, seeds: impl Iterator<Item = u64>) -> Tallies {
        let mut tallies = Tallies::new();
        for seed in seeds {
            // A pairing without an end that drains cannot test draining.
            if Class::of_seed(seed).needs_drain() && self.pairing.drains().is_empty() {
                continue;
            }
            let outcome = self.play_seed(seed);
            let tally = tallies.entry(Class::of_seed(seed)).or_default();
            match outcome {
                Ok(_) => tally.passed += 1,
                Err(failure) => {
                    tally.failed += 1;
                    tally.first.get_or_insert(*failure);
                }
            }
        }
        tallies
    }

    /// Plays more scripts of the classes that passed although the list says that they fail, until one fails or enough have
    /// passed.
    ///
    /// # Panics
    ///
    /// Panics if the Go program cannot be started.
    pub fn insist(&mut self, base: u64, tallies: &mut Tallies) {
        for class in doubtful(self.pairing, tallies) {
            let tally = tallies.entry(class).or_default();
            for seed in seeds(base, ENOUGH, Some(class)) {
                match self.play_seed(seed) {
                    Ok(_) => tally.passed += 1,
                    Err(failure) => {
                        tally.failed += 1;
                        tally.first = Some(*failure);
                        break;
                    }
                }
            }
        }
    }

    /// Finds fewer operations that fail in the same way.
    pub fn shrink(&mut self, failure: &mut Failure) {
        let symptom = failure.transcript.symptom();
        failure.smallest = shrink(&failure.script, |script| {
            let transcript = self.play(script).ok()?;
            (transcript.symptom() == symptom).then_some(transcript)
        })
        .map(Box::new);
    }
}
