//! Rounds of faults, and the resources that they may leave.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use keyway_test_support::process::{in_group, stat};
use keyway_test_support::{copy_executable, require};
use keyway_tests::Home;
use rustix::process::Pid;
use tokio::time::sleep;

use crate::PLUGIN;
use crate::callers::{Callers, resolve_once};
use crate::census::{Census, groups, resident};
use crate::control::Control;
use crate::daemon;
use crate::daemon_faults::{DaemonLane, crowd};
use crate::faults::{Lane, SECOND};
use crate::model::Model;
use crate::outside::OutsideLane;
use crate::world::{Plugin, audit, configuration, has_value, ids, is_large};

/// The seed without `KEYWAY_CHAOS_SEED`.
const SEED: u64 = 1;

/// The least number of rounds: two warm up, and the daemon's memory is compared after the others.
const MIN_ROUNDS: usize = 3;

/// Number of faults of each launched plugin in a round: three rounds inject every kind twice.
const N_PLUGIN_FAULTS: usize = 4;

/// Number of faults of the daemon in a round: three rounds inject every kind once.
const N_DAEMON_FAULTS: usize = 4;

/// Number of faults of external processes in a round: three rounds inject every kind once.
const N_OUTSIDE_FAULTS: usize = 2;

/// The bound of a round: longer than all its waits that fail by themselves.
const ROUND_LIMIT: Duration = Duration::from_secs(900);

/// Number of large values that are queried at once before memory is looked at.
const BURST_LEN: usize = 48;

/// The number of bursts.
const N_BURSTS: usize = 2;

/// Limit for the end of connections, threads and processes when nothing uses them any more.
const CLEANUP_LIMIT: Duration = Duration::from_secs(180);

/// The pause between two counts of the resources that are left.
const PAUSE: Duration = Duration::from_millis(50);

/// A number in the environment.
fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
    )
}

/// A home with the plugins of the test.
fn home() -> Home {
    let home = Home::new(PLUGIN);
    for plugin in Plugin::ALL {
        home.change(plugin.name(), &plugin.script());
        if plugin.is_launched() {
            home.add(plugin.name());
        }
    }
    let second = home.join(SECOND);
    home.create_dir(second.parent().expect("below the home"));
    copy_executable(PLUGIN, &second);
    home.write("config.toml", configuration(home.path(), false));
    home
}

#[test]
fn callers_get_the_right_value_or_a_clear_error_under_every_fault() {
    if !require::has_root() {
        // The descriptors of a process that is not dumpable are closed to its own user.
        return;
    }
    let seed = variable("KEYWAY_CHAOS_SEED").unwrap_or(SEED);
    let time = variable("KEYWAY_CHAOS_SECONDS").map(Duration::from_secs);
    let model = Arc::new(Model::new());
    let home = Arc::new(home());
    let daemon = daemon::start(&home);
    let control = Control {
        home: Arc::clone(&home),
        model: Arc::clone(&model),
        pid: Pid::from_raw(daemon.id().cast_signed()).expect("a process"),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let pid = control.pid;
    runtime.block_on(Rounds::run(control, seed, time.unwrap_or_default()));
    runtime.shutdown_background();
    let groups = groups(pid);
    let stopped = Instant::now();
    let (status, log) = daemon.stop();
    let took = stopped.elapsed();
    if has_value(&log) {
        model.violation("the log contains a value".into());
    }
    if !status.success() {
        model.violation(format!("the daemon ended with {status}:\n{log}"));
    }
    check_audit(&audit(home.path()), &model);
    for group in groups {
        let processes = in_group(group);
        if !processes.is_empty() {
            model.violation(format!("group {group} is left with {processes:?}"));
        }
    }
    let counts = model.counts();
    assert!(
        model.is_right(),
        "KEYWAY_CHAOS_SEED={seed} stop took {took:?} {counts:?}\n{}",
        model.report()
    );
    // Otherwise a daemon that always fails could pass.
    assert!(
        counts.strict > counts.calls / 20 && counts.values > counts.calls / 4,
        "{counts:?}"
    );
    eprintln!("{counts:?}, stop took {took:?}");
}

/// No record contains a value, and none is joined to the part of one that did not fit on the full disk.
fn check_audit(path: &Path, model: &Model) {
    let text = std::fs::read_to_string(path).expect("an audit log");
    if has_value(&text) {
        model.violation("the audit log contains a value".into());
    }
    for line in text.lines() {
        // A record that did not fit may end early, but the next one begins on its own line.
        if line.matches("{\"time\":").count() > 1 {
            model.violation(format!("joined audit records: {line}"));
        }
    }
}

/// Waits until the daemon has ended.
async fn ended(daemon: Pid) {
    while stat(daemon.as_raw_nonzero().get()).is_some_and(|stat| stat.state != 'Z') {
        sleep(PAUSE).await;
    }
}

/// The rounds of one daemon.
struct Rounds {
    control: Control,
    seed: u64,
    lanes: Vec<Lane>,
    daemon: DaemonLane,
    outside: OutsideLane,
}

impl Rounds {
    /// Plays rounds until `time` has passed, or something is wrong.
    async fn run(control: Control, seed: u64, time: Duration) {
        let started = Instant::now();
        let outside = OutsideLane::connect(&control, seed).await;
        let lanes = Lane::all(&control, seed);
        let daemon = DaemonLane::new(&control, seed);
        let mut rounds = Self {
            control,
            seed,
            lanes,
            daemon,
            outside,
        };
        rounds.verify("the start").await;
        crowd(&rounds.control, Duration::ZERO).await;
        let before = Census::take(rounds.control.pid);
        let mut memory = Vec::new();
        while rounds.control.model.is_right()
            && (memory.len() < MIN_ROUNDS || started.elapsed() < time)
        {
            let what = format!("round {}", memory.len());
            let model = Arc::clone(&rounds.control.model);
            let pid = rounds.control.pid;
            rounds = tokio::select! {
                played = rounds.play(memory.len()) => played,
                () = sleep(ROUND_LIMIT) => {
                    model.violation(format!("{what} takes longer than {ROUND_LIMIT:?}"));
                    return;
                }
                () = ended(pid) => {
                    model.violation(format!("the daemon ended in {what}"));
                    return;
                }
            };
            rounds.verify(&what).await;
            rounds.burst().await;
            rounds.compare(&before, &what).await;
            memory.push(resident(rounds.control.pid));
            eprintln!(
                "{what}: {:.1?}, {} KiB, {:?}",
                started.elapsed(),
                memory.last().expect("pushed"),
                rounds.control.model.counts()
            );
        }
        // The first rounds warm up.
        if let [first, second, .., last] = *memory
            && let warm = first.max(second)
            && last > warm + warm / 10
        {
            let what = format!("the daemon's memory grew: {memory:?} KiB");
            rounds.control.model.violation(what);
        }
    }

    /// One round: callers, and faults in every lane at once.
    async fn play(self, number: usize) -> Self {
        let Self {
            control,
            seed,
            lanes,
            daemon,
            outside,
        } = self;
        let seed_of_callers = seed.wrapping_add(number as u64);
        let callers = Callers::start(&control.address(), &control.model, seed_of_callers);
        let lanes = lanes.into_iter().map(|lane| lane.play(N_PLUGIN_FAULTS));
        let (lanes, daemon, outside) = tokio::join!(
            join_all(lanes),
            daemon.play(N_DAEMON_FAULTS),
            outside.play(N_OUTSIDE_FAULTS)
        );
        callers.stop().await;
        // A soak would fill the disk.
        for plugin in Plugin::ALL {
            control.home.clear_events(plugin.name());
        }
        Self {
            control,
            seed,
            lanes,
            daemon,
            outside,
        }
    }

    /// Without faults every id has its value.
    async fn verify(&self, what: &str) {
        for plugin in Plugin::ALL {
            self.control.wait_until_healthy(plugin, what).await;
        }
        let resolver = self.control.resolver();
        for id in ids() {
            resolve_once(&self.control.model, &resolver, id).await;
        }
    }

    /// Queries large values at once, so that the daemon's memory budget was exhausted before each look at its memory.
    async fn burst(&self) {
        let large: Vec<_> = ids().filter(|id| is_large(id)).collect();
        for _ in 0..N_BURSTS {
            let resolver = self.control.resolver();
            let queries = large.iter().cycle().take(BURST_LEN).map(async |id| {
                resolve_once(&self.control.model, &resolver, id.clone()).await;
            });
            join_all(queries).await;
        }
    }

    /// Waits until the daemon holds no more than before.
    async fn compare(&self, before: &Census, what: &str) {
        let started = Instant::now();
        loop {
            let after = Census::take(self.control.pid);
            if !before.differs(&after) {
                return;
            }
            if started.elapsed() > CLEANUP_LIMIT {
                let left = format!("{what} left {after:?} instead of {before:?}");
                self.control.model.violation(left);
                return;
            }
            sleep(PAUSE).await;
        }
    }
}
