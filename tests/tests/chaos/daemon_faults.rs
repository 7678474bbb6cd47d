//! The faults of the daemon's surroundings: its limits, its configuration, its time.

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, prlimit};
use tokio::time::sleep;

use crate::control::{Control, Reload};
use crate::model::Effect;
use crate::random::Random;
use crate::wire::connect;
use crate::world::{Plugin, audit, configuration};

/// A fault of the daemon's surroundings.
#[derive(Clone, Copy, Debug)]
enum DaemonFault {
    /// The daemon is suspended and continued.
    Suspend,
    /// The files that the daemon writes cannot grow.
    FillDisk,
    /// The daemon can open only this many more descriptors.
    ExhaustDescriptors(usize),
    /// More connections than the daemon serves at once, of which none sends anything.
    Crowd,
    /// The configuration changes and changes back.
    SwapPriorities(Reload),
    /// The configuration is invalid and is repaired.
    BreakConfiguration(Reload),
    /// A pin makes every plugin without one inadmissible.
    Pin,
}

/// Number of connections of a crowd: more than the daemon's limit.
const N_CROWD: usize = 1100;

const ALL: [DaemonFault; 10] = [
    DaemonFault::Crowd,
    DaemonFault::Suspend,
    DaemonFault::FillDisk,
    DaemonFault::ExhaustDescriptors(4),
    DaemonFault::ExhaustDescriptors(40),
    DaemonFault::SwapPriorities(Reload::Call),
    DaemonFault::SwapPriorities(Reload::Signal),
    DaemonFault::BreakConfiguration(Reload::Call),
    DaemonFault::BreakConfiguration(Reload::Signal),
    DaemonFault::Pin,
];

impl DaemonFault {
    fn effect(self) -> Effect {
        match self {
            Self::Suspend | Self::FillDisk | Self::Crowd => Effect::None,
            Self::BreakConfiguration(_) => Effect::Reloads,
            Self::ExhaustDescriptors(_) => Effect::Exhausts,
            Self::SwapPriorities(_) => Effect::SwapsPriorities,
            Self::Pin => Effect::FailsAll,
        }
    }

    async fn play(self, control: &Control, time: Duration) {
        match self {
            Self::Suspend => {
                control.signal(Signal::STOP);
                sleep(time).await;
                control.signal(Signal::CONT);
            }
            Self::FillDisk => {
                let audit = fs::metadata(audit(control.home.path()));
                // The next record does not fit as a whole.
                let length = audit.expect("an audit log").len() + 20;
                let former = limit(control, Resource::Fsize, length);
                sleep(time).await;
                restore(control, Resource::Fsize, former);
            }
            Self::ExhaustDescriptors(n_left) => {
                let open = fs::read_dir(format!("/proc/{}/fd", control.pid));
                let n_open = open.expect("the daemon runs").count();
                let former = limit(control, Resource::Nofile, (n_open + n_left) as u64);
                sleep(time).await;
                restore(control, Resource::Nofile, former);
                control.wait_until_all_healthy("a shortage").await;
            }
            Self::Crowd => crowd(control, time).await,
            Self::SwapPriorities(reload) => {
                control.set_priorities(true, reload).await;
                sleep(time).await;
                control.set_priorities(false, reload).await;
            }
            Self::BreakConfiguration(reload) => {
                control.configure("[plugins.top]\npriority = \"high\"\n");
                reload.request(control).await;
                sleep(time).await;
                control.configure(&configuration(control.home.path(), false));
                Reload::Call.request(control).await;
            }
            Self::Pin => {
                // While a plugin is pinned, each one with a table needs a pin.
                control.call("trust", Plugin::Steady.name()).await;
                sleep(time).await;
                control
                    .wait_until("the end of the pin", async || {
                        control.call("untrust", Plugin::Steady.name()).await;
                        let status = control.status(Plugin::Steady).await;
                        status.is_some_and(|status| status.sha256().is_empty())
                    })
                    .await;
                control.wait_until_all_healthy("a pin").await;
            }
        }
    }
}

/// Opens more connections than the daemon serves at once, and closes them after `time`.
pub(crate) async fn crowd(control: &Control, time: Duration) {
    let mut crowd = Vec::new();
    for _ in 0..N_CROWD {
        crowd.push(connect(&control.address()).await.expect("a connection"));
    }
    sleep(time).await;
}

/// Lowers a soft limit of the daemon, and returns the former limits.
fn limit(control: &Control, resource: Resource, soft: u64) -> Rlimit {
    let former = prlimit(
        Some(control.pid),
        resource,
        Rlimit {
            current: Some(soft),
            // The daemon has inherited it.
            maximum: getrlimit(resource).maximum,
        },
    );
    former.expect("a limit")
}

fn restore(control: &Control, resource: Resource, limits: Rlimit) {
    prlimit(Some(control.pid), resource, limits).expect("a limit");
}

/// The faults of the daemon, in an order that the seed decides.
#[derive(Debug)]
pub(crate) struct DaemonLane {
    control: Control,
    random: Random,
    deck: Vec<DaemonFault>,
}

impl DaemonLane {
    pub(crate) fn new(control: &Control, seed: u64) -> Self {
        Self {
            control: control.clone(),
            random: Random::of(seed, "daemon"),
            deck: Vec::new(),
        }
    }

    /// Injects the next faults, one after the other.
    pub(crate) async fn play(mut self, n_faults: usize) -> Self {
        for _ in 0..n_faults {
            let Some(fault) = self.random.deal(&mut self.deck, &ALL) else {
                continue;
            };
            let time = Duration::from_millis(200 + self.random.below(600) as u64);
            let active = self
                .control
                .model
                .begin(format!("daemon: {fault:?}"), fault.effect());
            fault.play(&self.control, time).await;
            active.end();
        }
        self
    }
}
