//! The plugins of the chaos test: their values and ranks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use keyway_tests::script::Script;

/// The bytes by which the value of a large id is longer: more than the buffers of a socket hold.
const LARGE: usize = 320 * 1024;

/// The beginning of every value, which nothing else contains.
const CANARY: &str = "canary-value";

/// Returns `true` if a text contains a part of a value.
pub(crate) fn has_value(text: &str) -> bool {
    text.contains(CANARY)
}

/// A plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Plugin {
    /// Never has a fault of its own.
    Steady,
    /// Overrules `Mid` unless the priorities are swapped.
    Top,
    /// Has a helper process in its group.
    Mid,
    /// Takes few calls at a time.
    Solo,
    /// External: it runs in the test, connects and leaves.
    Outside,
    /// Holds every id at the lowest rank, so its values show results that overruled plugins must not decide. It ends only by
    /// SIGKILL.
    Low,
}

impl Plugin {
    pub(crate) const ALL: [Self; 6] = [
        Self::Steady,
        Self::Top,
        Self::Mid,
        Self::Solo,
        Self::Outside,
        Self::Low,
    ];

    /// The launched plugins that faults are injected into.
    pub(crate) const FAULTY: [Self; 4] = [Self::Top, Self::Mid, Self::Solo, Self::Low];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Top => "top",
            Self::Mid => "mid",
            Self::Solo => "solo",
            Self::Outside => "outside",
            Self::Low => "low",
        }
    }

    pub(crate) fn is_launched(self) -> bool {
        self != Self::Outside
    }

    /// The priority, with those of `Top` and `Mid` swapped or not.
    pub(crate) fn priority(self, is_swapped: bool) -> i64 {
        match self {
            Self::Steady => 40,
            Self::Top if is_swapped => 15,
            Self::Top => 30,
            Self::Mid => 20,
            Self::Solo => 10,
            Self::Outside => 5,
            Self::Low => 0,
        }
    }

    /// The configured realm.
    pub(crate) fn realm(self) -> &'static [&'static str] {
        match self {
            Self::Steady => &["steady/**"],
            Self::Top => &["shared/**", "top/**"],
            Self::Mid => &["shared/**", "mid/**"],
            Self::Solo => &["solo/**"],
            Self::Outside => &["outside/**"],
            Self::Low => &["**"],
        }
    }

    /// Returns `true` if the effective realm contains an id.
    pub(crate) fn may_hold(self, id: &str) -> bool {
        self.realm().iter().any(|pattern| {
            let prefix = pattern.trim_end_matches("**");
            id.starts_with(prefix)
        })
    }

    /// Returns `true` if the plugin has a value for an id.
    pub(crate) fn holds(self, id: &str) -> bool {
        let shared = id.strip_prefix("shared/");
        let shared = shared.and_then(|number| number.parse::<usize>().ok());
        match (self, shared) {
            _ if id.ends_with("absent") => false,
            (Self::Top, Some(number)) => number < 2,
            (Self::Mid, Some(number)) => number < 4,
            _ => self.may_hold(id),
        }
    }

    /// The value that the plugin has for an id, without the padding of large ones: it names both.
    pub(crate) fn value(self, id: &str) -> String {
        format!("{CANARY} of {} for {id}:", self.name())
    }

    /// Returns `true` if these bytes are the plugin's value for an id.
    pub(crate) fn is_value(self, id: &str, bytes: &[u8]) -> bool {
        let value = self.value(id);
        let padding = bytes.strip_prefix(value.as_bytes());
        let expected_len = if is_large(id) { LARGE } else { 0 };
        self.holds(id)
            && padding.is_some_and(|padding| {
                padding.len() == expected_len && padding.iter().all(|byte| *byte == b'.')
            })
    }

    /// An id whose value no plugin but this one decides.
    pub(crate) fn own_id(self) -> String {
        format!("{}/0", self.name())
    }

    /// Returns the script of the plugin while it has no fault.
    pub(crate) fn script(self) -> Script {
        let held: Vec<String> = ids().filter(|id| self.holds(id)).collect();
        let padding = held.iter().filter(|id| is_large(id));
        let padding = padding.map(|id| (id.clone(), LARGE)).collect();
        let values = held.into_iter().map(|id| {
            let value = self.value(&id);
            (id, value)
        });
        Script {
            // The configuration cuts it.
            pattern: Some("**".into()),
            secrets: Some(values.collect::<BTreeMap<_, _>>()),
            padding,
            ..Script::default()
        }
    }
}

pub(crate) fn is_large(id: &str) -> bool {
    id.ends_with("large")
}

/// The ids that callers query.
pub(crate) fn ids() -> impl Iterator<Item = String> {
    let shared = (0..6).map(|number| format!("shared/{number}"));
    let own = Plugin::ALL.into_iter().flat_map(|plugin| {
        ["0", "1", "absent", "large"].map(|id| format!("{}/{id}", plugin.name()))
    });
    shared.chain(own)
}

/// The plugins in rank order.
pub(crate) fn ranked(is_swapped: bool) -> [Plugin; 6] {
    let mut plugins = Plugin::ALL;
    plugins.sort_by_key(|plugin| std::cmp::Reverse(plugin.priority(is_swapped)));
    plugins
}

/// The audit log of the daemon in a home.
pub(crate) fn audit(home: &Path) -> PathBuf {
    home.join("audit/log.jsonl")
}

/// The configuration file of the daemon in a home.
pub(crate) fn configuration(home: &Path, is_swapped: bool) -> String {
    // `file` would be a candidate for every id.
    let mut text = format!(
        "answer_memory = \"16MiB\"\n\n[external]\nallow = [\"outside\"]\n\n[audit]\npath = {:?}\n\n[plugins.file]\nenabled = false\n",
        audit(home)
    );
    for plugin in Plugin::ALL {
        let (name, realm) = (plugin.name(), plugin.realm());
        let priority = plugin.priority(is_swapped);
        // A start and a response of a healthy plugin take seconds on a busy machine.
        write!(
            text,
            "\n[plugins.{name}]\nrealm = {realm:?}\npriority = {priority}\nstart_timeout = \"60s\"\ntimeout = \"60s\"\n"
        )
        .expect("a string takes all");
        match plugin {
            Plugin::Mid => text.push_str("env = { KEYWAY_TEST_BEHAVIOUR = \"StartHelper\" }\n"),
            Plugin::Low => text.push_str("env = { KEYWAY_TEST_BEHAVIOUR = \"IgnoreShutdown\" }\n"),
            Plugin::Solo => text.push_str("concurrency = 2\n"),
            _ => {}
        }
    }
    text
}
