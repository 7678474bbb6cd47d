//! Rounds in which every system is measured once.

use std::io::Result;
use std::time::{Duration, Instant};

use crate::process::{CpuTime, MachineTime, Pinned};
use crate::statistics::median;
use crate::system::System;

/// The callers of the busy measurement.
pub(crate) const MANY_CALLERS: usize = 64;

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

/// What the rounds measured.
#[derive(Debug)]
pub(crate) struct Rounds {
    /// A row for each system, a column for each round.
    pub(crate) samples: Vec<Vec<Sample>>,
    /// For each round, the share of one core that other processes took.
    pub(crate) others: Vec<f64>,
}

impl Rounds {
    /// Measures every system for twice `duration` in each of `n_rounds` rounds. Every second round has the opposite order, so
    /// that a drift of the machine favours no system.
    ///
    /// # Errors
    ///
    /// If a response is late or wrong, if a process has gone, or `Interrupted`.
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
            let mut order: Vec<usize> = (0..systems.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                let sample = sample(&systems[index], duration)?;
                rounds.samples[index].push(sample);
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

fn sample(system: &System, duration: Duration) -> Result<Sample> {
    let many = measure(system, MANY_CALLERS, duration)?;
    let processes: Vec<u32> = system.processes().collect();
    let _pinned = Pinned::to_one_core(&processes)?;
    let one = measure(system, 1, duration)?;
    Ok(Sample { many, one })
}

fn measure(system: &System, n_callers: usize, duration: Duration) -> Result<Figures> {
    let mut load = system.load(n_callers)?;
    // Warms up connections, caches and the schedule of the cores.
    load.run(duration / 10, || Ok(()))?;
    let measured = load.run(duration, || {
        let processes = [Some(system.daemon), Some(system.provider), system.module];
        let times = processes.map(|process| process.map(CpuTime::read).transpose());
        let [daemon, provider, module] = times;
        Ok([daemon?, provider?, module?])
    })?;
    let n_requests = measured.latencies.len() as f64;
    let [before, after] = &measured.marks;
    let cpu = |index: usize| match (&before[index], &after[index]) {
        (Some(before), Some(after)) => micros(after.since(before)) / n_requests,
        _ => 0.0,
    };
    Ok(Figures {
        per_second: n_requests / measured.elapsed.as_secs_f64(),
        p50: median(measured.latencies.iter().map(|latency| micros(*latency))),
        daemon_cpu: cpu(0),
        provider_cpu: cpu(1),
        module_cpu: cpu(2),
    })
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
