//! The faults of launched plugins, and the lanes that inject them one after the other.

use std::iter::StepBy;
use std::ops::RangeFrom;
use std::time::Duration;

use keyway_proto::keyway::v1::FailureKind;
use keyway_tests::fault::{Fault, Progress};
use keyway_tests::script::{Failing, QueryResponse, Script};
use rustix::process::{Signal, kill_process};
use tokio::time::sleep;

use crate::control::Control;
use crate::model::Effect;
use crate::random::Random;
use crate::world::Plugin;

/// The other copy of the executable in the home. It has the same name, by which processes are counted.
pub(crate) const SECOND: &str = "second/misbehaving-plugin";

/// A fault of a launched plugin.
#[derive(Clone, Debug)]
pub(crate) enum PluginFault {
    /// It follows another script.
    Script(Effect, Box<Script>),
    /// It is killed and follows another script when it is started again.
    Restart(Box<Script>),
    /// It is suspended and continued.
    Suspend,
    /// It is killed.
    Kill,
    /// Its executable is replaced.
    Replace,
    /// Its executable is removed and restored.
    Remove,
    /// It is disabled.
    Disable,
}

impl PluginFault {
    /// All faults of a plugin.
    fn all(plugin: Plugin) -> Vec<Self> {
        let responses = |effect, responses: Vec<QueryResponse>| {
            let faults = responses.into_iter().map(move |response| {
                let script = Script {
                    response,
                    ..plugin.script()
                };
                Self::Script(effect, script.into())
            });
            faults.collect::<Vec<_>>()
        };
        let mut all = responses(
            Effect::None,
            vec![
                QueryResponse::Fault(Fault::Delay(Duration::from_millis(150))),
                QueryResponse::Fault(Fault::WriteStderr(256 * 1024)),
            ],
        );
        all.extend(responses(
            Effect::Fails(plugin),
            vec![
                QueryResponse::Fault(Fault::OpenStreams(3000)),
                QueryResponse::Fault(Fault::Ping(10_000)),
                QueryResponse::Fault(Fault::SendGarbage),
                QueryResponse::Fault(Fault::CutConnection(Progress::Nothing)),
                QueryResponse::Fault(Fault::CutConnection(Progress::Half)),
                QueryResponse::Fault(Fault::ResetStream),
                QueryResponse::Garbage,
                QueryResponse::Exit(9),
                QueryResponse::Code("internal".into()),
                QueryResponse::Failure(Failing::new(FailureKind::Locked)),
                QueryResponse::Failure(Failing::new(FailureKind::Busy)),
            ],
        ));
        let inadmissible = [
            Script {
                unrequested: vec!["elsewhere/x".into(), "not an id".into()],
                ..plugin.script()
            },
            Script {
                expires_at: Some(1_000_000_000),
                ..plugin.script()
            },
        ];
        let inadmissible = inadmissible.map(Box::new).into_iter();
        all.extend(inadmissible.map(|script| Self::Script(Effect::Fails(plugin), script)));
        let starts = [
            Script {
                exits_with: Some(3),
                ..plugin.script()
            },
            Script {
                starts_with_garbage: true,
                ..plugin.script()
            },
            Script {
                holds_registration: true,
                ..plugin.script()
            },
        ];
        all.extend(starts.map(|script| Self::Restart(script.into())));
        all.extend([
            Self::Suspend,
            Self::Kill,
            Self::Replace,
            Self::Remove,
            Self::Disable,
        ]);
        all
    }

    fn effect(&self, plugin: Plugin) -> Effect {
        match self {
            Self::Script(effect, _) => *effect,
            Self::Restart(_) | Self::Kill => Effect::Fails(plugin),
            // Queries wait until it is continued.
            Self::Suspend => Effect::None,
            // Queries wait until a fresh process has registered.
            Self::Replace | Self::Remove => Effect::Replaces(plugin),
            Self::Disable => Effect::Excludes(plugin),
        }
    }

    fn describe(&self, plugin: Plugin) -> String {
        let name = plugin.name();
        match self {
            Self::Script(_, script) if script.response != QueryResponse::Secrets => {
                format!("{name}: {:?}", script.response)
            }
            Self::Script(_, script) => format!(
                "{name}: unrequested {:?}, expires at {:?}",
                script.unrequested, script.expires_at
            ),
            Self::Restart(script) => format!(
                "{name}: killed, exits with {:?}, garbage {}, holds registration {}",
                script.exits_with, script.starts_with_garbage, script.holds_registration
            ),
            other => format!("{name}: {other:?}"),
        }
    }

    /// Injects the fault, and undoes it after `time`.
    async fn play(&self, plugin: Plugin, control: &Control, time: Duration) {
        let home = &control.home;
        let name = plugin.name();
        match self {
            Self::Script(_, script) => {
                home.change(name, script);
                sleep(time).await;
                home.change(name, &plugin.script());
            }
            Self::Restart(script) => {
                home.change(name, script);
                control.signal_plugin(plugin, Signal::KILL).await;
                sleep(time).await;
                home.change(name, &plugin.script());
            }
            Self::Suspend => {
                let pid = control.signal_plugin(plugin, Signal::STOP).await;
                sleep(time).await;
                if let Some(pid) = pid {
                    // A reload may have replaced it meanwhile.
                    let _ = kill_process(pid, Signal::CONT);
                }
            }
            Self::Kill => {
                control.signal_plugin(plugin, Signal::KILL).await;
            }
            Self::Replace => {
                let former = control.status(plugin).await.and_then(|status| status.pid);
                replace(plugin, control);
                control
                    .wait_until("a fresh process", async || {
                        let status = control.status(plugin).await;
                        status.is_some_and(|status| status.pid.is_some() && status.pid != former)
                    })
                    .await;
            }
            Self::Remove => {
                home.remove(name);
                sleep(time).await;
                home.add(name);
            }
            Self::Disable => {
                control.call("disable", name).await;
                sleep(time).await;
            }
        }
    }
}

/// Replaces the link that is a plugin's executable by one to the other copy of the executable.
fn replace(plugin: Plugin, control: &Control) {
    let link = control.home.plugin(plugin.name());
    let current = std::fs::read_link(&link).expect("a link");
    let first = control.home.executable();
    let next = if current == first {
        control.home.join(SECOND)
    } else {
        first.to_owned()
    };
    let fresh = control.home.join(format!("{}.link", plugin.name()));
    std::os::unix::fs::symlink(next, &fresh).expect("a link");
    std::fs::rename(fresh, link).expect("a link");
}

/// The faults of one plugin, in an order that the seed decides.
#[derive(Debug)]
pub(crate) struct Lane {
    plugin: Plugin,
    control: Control,
    random: Random,
    /// The positions of this lane in the order of all kinds: each lane takes every fourth, beginning elsewhere each time.
    positions: StepBy<RangeFrom<usize>>,
    /// All kinds in the order that every lane has.
    order: Vec<usize>,
}

impl Lane {
    /// The lanes of all plugins with faults. Together they inject every kind before they repeat one.
    pub(crate) fn all(control: &Control, seed: u64) -> Vec<Self> {
        let n_kinds = PluginFault::all(Plugin::Top).len();
        let mut order: Vec<_> = (0..n_kinds).collect();
        Random::of(seed, "kinds").shuffle(&mut order);
        let lanes = Plugin::FAULTY.into_iter().enumerate();
        let lanes = lanes.map(|(number, plugin)| Self {
            plugin,
            control: control.clone(),
            random: Random::of(seed, plugin.name()),
            positions: (number..).step_by(Plugin::FAULTY.len()),
            order: order.clone(),
        });
        lanes.collect()
    }

    /// Injects the next faults. Each of them is undone, and the plugin healthy again, before the next one.
    pub(crate) async fn play(mut self, n_faults: usize) -> Self {
        let faults = PluginFault::all(self.plugin);
        for position in self.positions.by_ref().take(n_faults) {
            let fault = &faults[self.order[position % faults.len()]];
            let what = fault.describe(self.plugin);
            let time = Duration::from_millis(100 + self.random.below(400) as u64);
            let effect = fault.effect(self.plugin);
            let active = self.control.model.begin(what.clone(), effect);
            fault.play(self.plugin, &self.control, time).await;
            self.control.wait_until_healthy(self.plugin, &what).await;
            active.end();
        }
        self
    }
}
