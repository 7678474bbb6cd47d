//! The results that a caller may get: by the ranking rules, from the faults that were active during its call.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::world::{Plugin, has_value, ranked};

/// The time for which ended faults are remembered: longer than any call takes.
const MEMORY: Duration = Duration::from_secs(400);

/// The least time for which the daemon waits for the calls of a process that it replaces.
const DRAIN: Duration = Duration::from_secs(2);

/// Number of faults that a violation lists.
const N_LISTED: usize = 30;

/// The effect that a fault may have on a call while it is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effect {
    /// Nothing: every call must succeed as without the fault.
    None,
    /// The plugin may fail.
    Fails(Plugin),
    /// The plugin's process is replaced: a call that takes longer than the daemon waits for it may fail.
    Replaces(Plugin),
    /// The plugin may be no candidate, so that its calls in flight do not count; one that takes longer than the daemon waits for it may
    /// fail if the plugin is a candidate again when it ends.
    Excludes(Plugin),
    /// Every plugin may fail.
    FailsAll,
    /// The settings are read again: a call during which they change twice fails and says so.
    Reloads,
    /// The same, and the other priorities may be in force.
    SwapsPriorities,
    /// The daemon may lack resources for connections and processes: any error is right, a wrong value is not.
    Exhausts,
}

/// The result of a call.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A value.
    Value(Vec<u8>),
    /// No provider holds the id.
    NotFound,
    /// These providers failed, each with the description of its failure.
    Failed(BTreeMap<String, String>),
    /// The id is missing in the result of a pattern for which these providers failed.
    Omitted(BTreeMap<String, String>),
    /// The deadline of the call passed.
    TimedOut,
    /// Any other error.
    Error(String),
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // All of it may be megabytes.
            Self::Value(value) => {
                let begin = String::from_utf8_lossy(&value[..value.len().min(64)]);
                write!(f, "Value({begin:?}, {} bytes)", value.len())
            }
            Self::NotFound => f.write_str("NotFound"),
            Self::Failed(names) => f.debug_tuple("Failed").field(names).finish(),
            Self::Omitted(names) => f.debug_tuple("Omitted").field(names).finish(),
            Self::TimedOut => f.write_str("TimedOut"),
            Self::Error(text) => f.debug_tuple("Error").field(text).finish(),
        }
    }
}

/// One call of a caller.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The kind of the caller, for the report.
    #[expect(dead_code, reason = "shown by `Debug` alone")]
    pub(crate) caller: &'static str,
    pub(crate) id: String,
    pub(crate) started: Instant,
    /// The deadline that the call carried.
    pub(crate) timeout: Duration,
}

/// A fault, active until it was undone and its plugin was healthy again.
#[derive(Clone, Debug)]
struct Active {
    what: String,
    effect: Effect,
    began: Instant,
    ended: Option<Instant>,
}

/// The faults so far and the judgement of every call.
#[derive(Debug)]
pub(crate) struct Model {
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    faults: VecDeque<Active>,
    n_forgotten: usize,
    violations: Vec<String>,
    counts: Counts,
}

/// Numbers of calls that were judged.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Calls.
    pub(crate) calls: usize,
    /// Calls that had to return one certain outcome.
    pub(crate) strict: usize,
    /// Calls that got a value.
    pub(crate) values: usize,
    /// Calls for which providers failed.
    pub(crate) failed: usize,
    /// Faults.
    pub(crate) faults: usize,
}

/// A fault that has begun. Its [`end`](Fault::end) says that everything is healthy again.
#[derive(Debug)]
#[must_use]
pub(crate) struct Fault<'a> {
    model: &'a Model,
    number: usize,
}

impl Fault<'_> {
    pub(crate) fn end(self) {
        let mut state = self.model.lock();
        let at = self.number - state.n_forgotten;
        state.faults[at].ended = Some(Instant::now());
    }
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a fault, before it is injected.
    pub(crate) fn begin(&self, what: String, effect: Effect) -> Fault<'_> {
        let began = Instant::now();
        let mut state = self.lock();
        let is_old = |fault: &Active| {
            let age = |ended| began.duration_since(ended);
            fault.ended.map(age).is_some_and(|age| age > MEMORY)
        };
        while state.faults.front().is_some_and(is_old) {
            state.faults.pop_front();
            state.n_forgotten += 1;
        }
        state.counts.faults += 1;
        let number = state.n_forgotten + state.faults.len();
        state.faults.push_back(Active {
            what,
            effect,
            began,
            ended: None,
        });
        Fault {
            model: self,
            number,
        }
    }

    /// Returns `true` if a plugin has a fault now.
    pub(crate) fn is_faulty(&self, plugin: Plugin) -> bool {
        let state = self.lock();
        let mut active = state.faults.iter().filter(|fault| fault.ended.is_none());
        active
            .any(|fault| [Effect::Fails(plugin), Effect::Excludes(plugin)].contains(&fault.effect))
    }

    /// Judges the result of a call, which may return by `slack` later than its deadline.
    pub(crate) fn judge(&self, call: &Call, outcome: &Outcome, slack: Duration) {
        let took = call.started.elapsed();
        let mut state = self.lock();
        let effects: BTreeSet<Effect> = state
            .faults
            .iter()
            .filter(|fault| fault.ended.is_none_or(|ended| ended >= call.started))
            .flat_map(|fault| match fault.effect {
                effect @ (Effect::Replaces(plugin) | Effect::Excludes(plugin)) if took >= DRAIN => {
                    vec![effect, Effect::Fails(plugin)]
                }
                effect => vec![effect],
            })
            .collect();
        let allowed = Allowed::new(&call.id, &effects);
        state.counts.calls += 1;
        state.counts.strict += usize::from(allowed.is_strict());
        state.counts.values += usize::from(matches!(outcome, Outcome::Value(_)));
        state.counts.failed += usize::from(matches!(outcome, Outcome::Failed(_)));
        let is_late = took > call.timeout + slack;
        let is_leak = !matches!(outcome, Outcome::Value(_)) && has_value(&format!("{outcome:?}"));
        if is_late || is_leak || !allowed.permits(&call.id, outcome) {
            let began = call.started.duration_since(self.began);
            let violation = format!(
                "{call:?} at {began:.3?} took {took:.3?}: {outcome:?}, allowed {allowed:?}"
            );
            state.violations.push(violation);
        }
    }

    /// Notes anything else that is wrong.
    pub(crate) fn violation(&self, what: String) {
        self.lock().violations.push(what);
    }

    /// Returns the numbers of calls that were judged so far.
    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Returns `true` if nothing was wrong so far.
    pub(crate) fn is_right(&self) -> bool {
        self.lock().violations.is_empty()
    }

    /// The first violations and the last faults.
    pub(crate) fn report(&self) -> String {
        let state = self.lock();
        let mut lines = vec![format!("{} violations:", state.violations.len())];
        lines.extend(state.violations.iter().take(N_LISTED).cloned());
        lines.push("the last faults:".into());
        let at = |time: Instant| time.duration_since(self.began);
        let last = state.faults.iter().rev().take(N_LISTED);
        lines.extend(last.map(|fault| {
            let (began, ended) = (at(fault.began), fault.ended.map(at));
            format!(
                "{} ({:?}) from {began:.3?} to {ended:.3?}",
                fault.what, fault.effect
            )
        }));
        lines.join("\n")
    }
}

/// The results that a call may get.
#[derive(Debug, Default)]
struct Allowed {
    /// The plugins whose value is right; `None`: not found.
    deciding: BTreeSet<Option<Plugin>>,
    /// The plugins that may be named as failed, because one of them may have failed above or beside the deciding one.
    failing: BTreeSet<Plugin>,
    is_any_error: bool,
    /// `true` if the settings may have changed twice during the call.
    is_changing: bool,
}

/// The daemon's message if the settings changed twice during a call.
const CHANGED_TWICE: &str = "the configuration changed twice";

impl Allowed {
    fn new(id: &str, effects: &BTreeSet<Effect>) -> Self {
        let mut allowed = Self {
            is_any_error: effects.contains(&Effect::Exhausts),
            is_changing: [Effect::Reloads, Effect::SwapsPriorities, Effect::FailsAll]
                .iter()
                .any(|effect| effects.contains(effect)),
            ..Self::default()
        };
        let swaps = if effects.contains(&Effect::SwapsPriorities) {
            &[false, true][..]
        } else {
            &[false][..]
        };
        for is_swapped in swaps {
            allowed.add(id, effects, &ranked(*is_swapped));
        }
        allowed
    }

    /// Adds the results that one order of the plugins allows.
    fn add(&mut self, id: &str, effects: &BTreeSet<Effect>, ranked: &[Plugin]) {
        for plugin in ranked.iter().filter(|plugin| plugin.may_hold(id)) {
            let is_excluded = effects.contains(&Effect::Excludes(*plugin));
            let is_failing = [Effect::Fails(*plugin), Effect::FailsAll];
            if is_failing.iter().any(|effect| effects.contains(effect)) {
                self.failing.insert(*plugin);
            }
            if plugin.holds(id) {
                self.deciding.insert(Some(*plugin));
                if !is_excluded {
                    return;
                }
            }
        }
        self.deciding.insert(None);
    }

    fn is_strict(&self) -> bool {
        self.deciding.len() == 1 && self.failing.is_empty() && !self.is_any_error
    }

    fn permits(&self, id: &str, outcome: &Outcome) -> bool {
        let is_failing = |name: &String| self.failing.iter().any(|plugin| plugin.name() == name);
        match outcome {
            Outcome::Value(value) => {
                let mut deciding = self.deciding.iter().flatten();
                deciding.any(|plugin| plugin.is_value(id, value))
            }
            Outcome::NotFound => self.deciding.contains(&None),
            Outcome::Failed(names) => {
                self.is_any_error || (!names.is_empty() && names.keys().all(is_failing))
            }
            // All candidates that failed are named, and one of them makes the id uncertain.
            Outcome::Omitted(names) => self.is_any_error || names.keys().any(is_failing),
            Outcome::Error(text) if self.is_changing && text.contains(CHANGED_TWICE) => true,
            Outcome::TimedOut | Outcome::Error(_) => self.is_any_error,
        }
    }
}
