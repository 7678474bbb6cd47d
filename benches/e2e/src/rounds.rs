//! Rounds in which every system is measured once.

use std::io::Result;
use std::time::{Duration, Instant};

use crate::process::{CpuTime, MachineTime, Pinned};
use crate::statistics::median;
use crate::system::System;

/// The callers of the busy measurement.
pub(crate) const MANY_CALLERS: usize = 64;

/// The number of parts of a measurement. The shorter they are, the more equally a burst of other processes disturbs all
/// systems, but a response of the slowest system must take a fraction of a part.
const PARTS: usize = 4;

/// A round is quiet if other processes took less than this share of one core in it.
pub(crate) const QUIET_SHARE: f64 = 0.08;

/// The figures of one measurement. Times are in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Requests per second.
    pub(crate) per_second: f64,
    /// The median time from a request to its response.
    pub(crate) p50: f64,
    /// The CPU time of the daemon for each request, in user and kernel mode.
    pub(crate) daemon_cpu: f64,
    /// The same of the provider's process.
    pub(crate) provider_cpu: f64,
    /// The same of the module's process; 0 without one.
    pub(crate) module_cpu: f64,
}

impl Figures {
    /// The CPU time of all processes for each request.
    pub(crate) fn cpu(&self) -> f64 {
        self.daemon_cpu + self.provider_cpu + self.module_cpu
    }
}

/// One system in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// With [`MANY_CALLERS`] callers, on all cores.
    pub(crate) many: Figures,
    /// With one caller, and every process on the same core.
    pub(crate) one: Figures,
}

/// The results of all rounds.
#[derive(Debug)]
pub(crate) struct Rounds {
    /// A row for each system, a column for each round.
    pub(crate) samples: Vec<Vec<Sample>>,
    /// The share of one core that other processes took in each round.
    pub(crate) others: Vec<f64>,
}

impl Rounds {
    /// Measures every system for twice `duration` in each of `n_rounds` rounds, in parts that alternate between the systems.
    /// Every second pass over the systems has the opposite order, so that a drift of the machine favours no system.
    ///
    /// # Errors
    ///
    /// Fails if a response is late or wrong, or if a process has exited; returns `Interrupted` after a signal.
    pub(crate) fn run(
        systems: &[System],
        n_rounds: usize,
        duration: Duration,
        mut report_progress: impl FnMut(usize),
    ) -> Result<Self> {
        let mut rounds = Self {
            samples: vec![Vec::with_capacity(n_rounds); systems.len()],
            others: Vec::with_capacity(n_rounds),
        };
        for round in 0..n_rounds {
            let others = Others::watch(systems)?;
            for (samples, sample) in rounds.samples.iter_mut().zip(run_round(systems, duration)?) {
                samples.push(sample);
            }
            rounds.others.push(others.share(systems)?);
            report_progress(round + 1);
        }
        Ok(rounds)
    }

    /// Returns in how many rounds other processes took less than [`QUIET_SHARE`] of one core.
    pub(crate) fn n_quiet(&self) -> usize {
        self.others
            .iter()
            .filter(|share| **share < QUIET_SHARE)
            .count()
    }
}

/// Measures every system once.
fn run_round(systems: &[System], duration: Duration) -> Result<Vec<Sample>> {
    let part = duration / PARTS as u32;
    let mut tallies: Vec<[Tally; 2]> = systems.iter().map(|_| Default::default()).collect();
    let mut pairs: Vec<_> = systems.iter().zip(&mut tallies).collect();
    for _ in 0..PARTS {
        for (system, [many, one]) in &mut pairs {
            many.measure(system, MANY_CALLERS, part)?;
            let processes: Vec<u32> = system.processes().collect();
            let _pinned = Pinned::to_one_core(&processes)?;
            one.measure(system, 1, part)?;
        }
        pairs.reverse();
    }
    let samples = tallies.iter().map(|[many, one]| Sample {
        many: many.figures(),
        one: one.figures(),
    });
    Ok(samples.collect())
}

/// The sums of the parts of one measurement.
#[derive(Default)]
struct Tally {
    latencies: Vec<Duration>,
    elapsed: Duration,
    /// The CPU times of the daemon, of the provider, and of the module.
    cpu: [Duration; 3],
}

impl Tally {
    fn measure(&mut self, system: &System, n_callers: usize, part: Duration) -> Result<()> {
        let mut load = system.load(n_callers)?;
        // Warms up connections, caches and the schedule of the cores.
        load.run(part / 10, || Ok(()))?;
        let processes = [Some(system.daemon), Some(system.provider), system.module];
        let measured = load.run(part, || {
            let [daemon, provider, module] =
                processes.map(|process| process.map(CpuTime::read).transpose());
            Ok([daemon?, provider?, module?])
        })?;
        self.latencies.extend(measured.latencies);
        self.elapsed += measured.elapsed;
        let [before, after] = &measured.marks;
        for (cpu, (before, after)) in self.cpu.iter_mut().zip(before.iter().zip(after)) {
            if let (Some(before), Some(after)) = (before, after) {
                *cpu += after.since(before);
            }
        }
        Ok(())
    }

    fn figures(&self) -> Figures {
        let n_requests = self.latencies.len() as f64;
        let [daemon_cpu, provider_cpu, module_cpu] = self.cpu.map(|cpu| micros(cpu) / n_requests);
        Figures {
            per_second: n_requests / self.elapsed.as_secs_f64(),
            p50: median(self.latencies.iter().map(|latency| micros(*latency))),
            daemon_cpu,
            provider_cpu,
            module_cpu,
        }
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// The CPU time of the machine beside that of this process and of the systems.
struct Others {
    started: Instant,
    machine: MachineTime,
    ours: Vec<CpuTime>,
}

impl Others {
    fn watch(systems: &[System]) -> Result<Self> {
        Ok(Self {
            started: Instant::now(),
            machine: MachineTime::read()?,
            ours: ours(systems)?,
        })
    }

    /// Returns the share of one core that other processes took since then.
    fn share(&self, systems: &[System]) -> Result<f64> {
        let machine = MachineTime::read()?.since(self.machine);
        let now = ours(systems)?;
        let ours: Duration = now
            .iter()
            .zip(&self.ours)
            .map(|(now, then)| now.since(then))
            .sum();
        let others = machine.saturating_sub(ours);
        Ok(others.as_secs_f64() / self.started.elapsed().as_secs_f64())
    }
}

fn ours(systems: &[System]) -> Result<Vec<CpuTime>> {
    let systems = systems.iter().flat_map(System::processes);
    systems
        .chain([std::process::id()])
        .map(CpuTime::read)
        .collect()
}
