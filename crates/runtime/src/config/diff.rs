//! The differences between the settings before and after a reload, in the user's terms.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Duration;

use super::values::{format_duration, format_size};
use super::{
    AuditConfig, AuditFailure, Config, ExternalPlugins, PluginSettings, Settings, Variables,
};
use crate::model::PluginName;

/// The differences between two settings. Every line names the setting, the old and the new value; of the values of `env` only
/// the names of the variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Changes that take effect by the reload.
    pub(crate) changed: Vec<String>,
    /// Changes that take effect when the daemon is started again.
    pub(crate) needs_restart: Vec<String>,
    /// The plugins whose process would not notice: they need a fresh one.
    pub(crate) fresh_processes: BTreeSet<PluginName>,
}

impl Difference {
    /// Compares the settings of two generations.
    pub(crate) fn between(old: &Settings, new: &Settings) -> Self {
        let mut difference = Self {
            needs_restart: restart_lines(&old.config, &new.config),
            changed: daemon_lines(&old.config, &new.config),
            fresh_processes: BTreeSet::new(),
        };
        let names: BTreeSet<&PluginName> =
            old.resolved_names().chain(new.resolved_names()).collect();
        for name in names {
            let (old, new) = (old.plugin(name), new.plugin(name));
            difference.changed.extend(plugin_lines(name, &old, &new));
            if old.needs_fresh_process(&new) {
                difference.fresh_processes.insert(name.clone());
            }
        }
        difference
    }
}

impl PluginSettings {
    /// Returns whether a process that was started with these settings does not notice others: its environment and pin are fixed
    /// at its start. Time-outs travel with each call.
    pub(crate) fn needs_fresh_process(&self, other: &Self) -> bool {
        let fixed = |settings: &Self| {
            (
                settings.env.clone(),
                settings.pass_env.clone(),
                settings.sha256,
            )
        };
        fixed(self) != fixed(other)
    }
}

/// Collects lines for the values that differ.
#[derive(Default)]
struct Lines(Vec<String>);

impl Lines {
    /// Adds a line if the two differ.
    fn compare<T: PartialEq, S: Display>(
        &mut self,
        what: impl Display,
        old: &T,
        new: &T,
        show: impl Fn(&T) -> S,
    ) {
        if old != new {
            self.0
                .push(format!("{what}: {} -> {}", show(old), show(new)));
        }
    }
}

fn restart_lines(old: &Config, new: &Config) -> Vec<String> {
    let mut lines = Lines::default();
    lines.compare("listen", &old.listen, &new.listen, |v| list(v));
    lines.compare(
        "abstract",
        &old.abstract_socket,
        &new.abstract_socket,
        bool::to_string,
    );
    lines.compare(
        "docker_socket",
        &old.docker_socket,
        &new.docker_socket,
        bool::to_string,
    );
    lines.compare("state_dir", &old.state_dir, &new.state_dir, |path| {
        path.display().to_string()
    });
    lines.0
}

fn daemon_lines(old: &Config, new: &Config) -> Vec<String> {
    let mut lines = Lines::default();
    let directories = |config: &Config| -> Vec<String> {
        let all = config.available_dirs.iter().chain(&config.plugin_dirs);
        all.map(|path| path.display().to_string()).collect()
    };
    lines.compare("plugin_dirs", &directories(old), &directories(new), |v| {
        list(v)
    });
    lines.compare("allow_uids", &old.allow_uids, &new.allow_uids, |v| list(v));
    lines.compare(
        "answer_memory",
        &old.answer_memory,
        &new.answer_memory,
        |bytes| format_size(*bytes),
    );
    lines.compare("external allow", &old.external, &new.external, external);
    lines.compare(
        "access modules",
        &old.access_modules,
        &new.access_modules,
        |v| list(v),
    );
    lines.compare(
        "access contained",
        &old.access_contained,
        &new.access_contained,
        bool::to_string,
    );
    lines.compare(
        "store default",
        &old.store_default,
        &new.store_default,
        PluginName::to_string,
    );
    lines.compare(
        "store docker_writes",
        &old.docker_writes,
        &new.docker_writes,
        bool::to_string,
    );
    audit_lines(&mut lines, old.audit.as_ref(), new.audit.as_ref());
    lines.0
}

fn audit_lines(lines: &mut Lines, old: Option<&AuditConfig>, new: Option<&AuditConfig>) {
    let is_on = |audit: &bool| if *audit { "on" } else { "off" };
    lines.compare("audit", &old.is_some(), &new.is_some(), is_on);
    if let (Some(old), Some(new)) = (old, new) {
        lines.compare("audit path", &old.path, &new.path, |path| {
            path.display().to_string()
        });
        lines.compare("audit max_bytes", &old.max_bytes, &new.max_bytes, |bytes| {
            format_size(*bytes)
        });
        lines.compare("audit keep", &old.keep, &new.keep, u32::to_string);
        lines.compare(
            "audit on_failure",
            &old.on_failure,
            &new.on_failure,
            |failure| match failure {
                AuditFailure::Continue => "continue",
                AuditFailure::Refuse => "refuse",
            },
        );
    }
}

fn plugin_lines(name: &PluginName, old: &PluginSettings, new: &PluginSettings) -> Vec<String> {
    let mut lines = Lines::default();
    let of = |key: &str| format!("{key} of {name}");
    let duration = |duration: &Duration| format_duration(*duration);
    lines.compare(of("enabled"), &old.enabled, &new.enabled, |v| {
        option(v, "not set")
    });
    lines.compare(of("realm"), &old.realm, &new.realm, |realm| match realm {
        Some(patterns) => list(patterns),
        None => "as registered".into(),
    });
    lines.compare(of("priority"), &old.priority, &new.priority, i64::to_string);
    lines.compare(
        of("required"),
        &old.required,
        &new.required,
        bool::to_string,
    );
    lines.compare(of("timeout"), &old.timeout, &new.timeout, duration);
    lines.compare(
        of("start_timeout"),
        &old.start_timeout,
        &new.start_timeout,
        duration,
    );
    lines.compare(
        of("user_timeout"),
        &old.user_timeout,
        &new.user_timeout,
        duration,
    );
    lines.compare(of("concurrency"), &old.concurrency, &new.concurrency, |v| {
        option(v, "as described")
    });
    lines.0.extend(env_line(name, &old.env, &new.env));
    lines.compare(of("pass_env"), &old.pass_env, &new.pass_env, |v| list(v));
    lines.compare(of("sha256"), &old.sha256, &new.sha256, |v| {
        option(v, "none")
    });
    lines.compare(of("cache_ttl"), &old.cache_ttl, &new.cache_ttl, |ttl| {
        ttl.map_or("off".into(), format_duration)
    });
    lines.compare(of("fatal_exit"), &old.fatal_exit, &new.fatal_exit, |v| {
        list(v)
    });
    lines.compare(of("may_resolve"), &old.may_resolve, &new.may_resolve, |v| {
        list(v)
    });
    for (key, old, new) in [
        ("interactive", &old.interactive, &new.interactive),
        ("shareable", &old.shareable, &new.shareable),
        ("lists", &old.lists, &new.lists),
    ] {
        lines.compare(of(key), old, new, |v| option(v, "as described"));
    }
    lines.0
}

/// Names the variables that differ, and never shows a value.
fn env_line(name: &PluginName, old: &Variables, new: &Variables) -> Option<String> {
    let variables: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changes = variables.into_iter().filter_map(|variable| {
        let change = match (old.get(variable), new.get(variable)) {
            (None, _) => "added",
            (_, None) => "removed",
            (Some(old), Some(new)) if old != new => "changed",
            _ => return None,
        };
        Some(format!("{} {change}", variable.escape_debug()))
    });
    let changes: Vec<String> = changes.collect();
    (!changes.is_empty()).then(|| format!("env of {name}: {}", changes.join(", ")))
}

fn external(external: &ExternalPlugins) -> String {
    match external {
        ExternalPlugins::Any => "true".into(),
        ExternalPlugins::None => "false".into(),
        ExternalPlugins::Named(names) => list(names),
    }
}

fn option(value: &Option<impl Display>, none: &str) -> String {
    match value {
        Some(value) => value.to_string(),
        None => none.into(),
    }
}

fn list<'a, T: Display + 'a>(values: impl IntoIterator<Item = &'a T>) -> String {
    let texts: Vec<String> = values.into_iter().map(ToString::to_string).collect();
    if texts.is_empty() {
        "none".into()
    } else {
        texts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::state::State;

    fn settings(text: &str) -> Settings {
        let mut config = Config::new("@one".parse().expect("an address"), "/state");
        let path = Path::new("/etc/config.toml");
        config.read_text(text, path).expect("a configuration");
        Settings::new(config, &State::default(), 0)
    }

    fn between(old: &str, new: &str) -> Difference {
        Difference::between(&settings(old), &settings(new))
    }

    #[test]
    fn equal_settings_do_not_differ() {
        let text = "listen = ['@a']\n[plugins.a]\npriority = 1\nenv = { A = 'b' }";
        assert_eq!(between(text, text), Difference::default());
        assert_eq!(between("", "# a comment"), Difference::default());
        assert_eq!(
            between("", "[plugins.a]\npriority = 0"),
            Difference::default()
        );
    }

    #[test]
    fn each_setting_that_takes_effect_at_once_has_one_line() {
        let pin = "ab".repeat(32);
        let pinned = format!("sha256 = '{pin}'");
        let pin_line = format!("sha256 of a: none -> {pin}");
        let daemon_cases = [
            ("", "plugin_dirs = ['/p']", "plugin_dirs: none -> /p"),
            (
                "allow_uids = [1]",
                "allow_uids = [1, 2]",
                "allow_uids: 1 -> 1, 2",
            ),
            (
                "",
                "answer_memory = '1MiB'",
                "answer_memory: 256MiB -> 1MiB",
            ),
            (
                "",
                "external.allow = false",
                "external allow: true -> false",
            ),
            ("external.allow = ['x']", "", "external allow: x -> true"),
            ("", "access.modules = ['m']", "access modules: none -> m"),
            (
                "",
                "access.contained = true",
                "access contained: false -> true",
            ),
            (
                "",
                "store.default = 'vault'",
                "store default: file -> vault",
            ),
            (
                "",
                "store.docker_writes = true",
                "store docker_writes: false -> true",
            ),
            ("", "audit.path = '/a'", "audit: off -> on"),
            ("audit.path = '/a'", "", "audit: on -> off"),
            (
                "audit.path = '/a'",
                "audit.path = '/b'",
                "audit path: /a -> /b",
            ),
            (
                "audit.path = '/a'",
                "[audit]\npath = '/a'\nkeep = 2",
                "audit keep: 5 -> 2",
            ),
            (
                "audit.path = '/a'",
                "[audit]\npath = '/a'\nmax_bytes = 7",
                "audit max_bytes: 1MiB -> 7",
            ),
            (
                "audit.path = '/a'",
                "[audit]\npath = '/a'\non_failure = 'refuse'",
                "audit on_failure: continue -> refuse",
            ),
        ];
        let plugin_cases = [
            (
                "",
                "enabled = false",
                "enabled of a: not set -> false",
                false,
            ),
            (
                "",
                "realm = 'x/**'",
                "realm of a: as registered -> x/**",
                false,
            ),
            (
                "realm = 'x'",
                "realm = ['x', 'y']",
                "realm of a: x -> x, y",
                false,
            ),
            (
                "priority = 5",
                "priority = 10",
                "priority of a: 5 -> 10",
                false,
            ),
            ("", "required = true", "required of a: false -> true", false),
            (
                "timeout = '1s'",
                "timeout = '5s'",
                "timeout of a: 1s -> 5s",
                false,
            ),
            (
                "",
                "start_timeout = '1m'",
                "start_timeout of a: 5s -> 1m",
                false,
            ),
            (
                "",
                "user_timeout = '1m'",
                "user_timeout of a: 2m -> 1m",
                false,
            ),
            (
                "",
                "concurrency = 3",
                "concurrency of a: as described -> 3",
                false,
            ),
            ("", "pass_env = ['X']", "pass_env of a: none -> X", true),
            ("", &pinned, &pin_line, true),
            ("", "cache_ttl = '1h'", "cache_ttl of a: off -> 1h", false),
            (
                "",
                "fatal_exit = [2, 3]",
                "fatal_exit of a: 78 -> 2, 3",
                false,
            ),
            (
                "",
                "may_resolve = ['x']",
                "may_resolve of a: none -> x",
                false,
            ),
            (
                "",
                "interactive = true",
                "interactive of a: as described -> true",
                false,
            ),
            (
                "",
                "shareable = false",
                "shareable of a: as described -> false",
                false,
            ),
            (
                "lists = true",
                "lists = false",
                "lists of a: true -> false",
                false,
            ),
        ];
        let table = |lines: &str| format!("[plugins.a]\n{lines}");
        let cases = daemon_cases
            .map(|(old, new, line)| (old.to_owned(), new.to_owned(), line, false))
            .into_iter()
            .chain(
                plugin_cases.map(|(old, new, line, fresh)| (table(old), table(new), line, fresh)),
            );
        for (old, new, line, needs_fresh_process) in cases {
            let difference = between(&old, &new);
            assert_eq!(difference.changed, [line]);
            assert_eq!(difference.needs_restart, [] as [&str; 0], "{line}");
            let n_fresh = usize::from(needs_fresh_process);
            assert_eq!(difference.fresh_processes.len(), n_fresh, "{line}");
        }
    }

    #[test]
    fn settings_that_need_a_restart_of_the_daemon_are_listed_apart() {
        for (new, line) in [
            ("listen = ['@two']", "listen: @one -> @two"),
            ("abstract = false", "abstract: true -> false"),
            ("docker_socket = false", "docker_socket: true -> false"),
            ("state_dir = '/other'", "state_dir: /state -> /other"),
        ] {
            let difference = between("", new);
            assert_eq!(difference.needs_restart, [line]);
            assert_eq!(difference.changed, [] as [&str; 0], "{line}");
        }
    }

    #[test]
    fn variables_are_named_and_their_values_are_not() {
        let old = "[plugins.a.env]\nONE = 'not-a-real-token'\nTWO = 'same'\nTHREE = 'x'";
        let new = "[plugins.a.env]\nONE = 'another-dummy'\nTWO = 'same'\nFOUR = 'y'";
        let difference = between(old, new);
        assert_eq!(
            difference.changed,
            ["env of a: FOUR added, ONE changed, THREE removed"]
        );
        assert_eq!(difference.fresh_processes.len(), 1);
    }

    #[test]
    fn a_trusted_pin_is_a_change() {
        let name: PluginName = "a".parse().expect("a name");
        let mut state = State::default();
        let checksum = crate::model::Sha256([1; 32]);
        let trusted = state.update(&name, |plugin| plugin.trusted = Some(checksum));
        assert_eq!(trusted, Ok(true));
        let old = settings("");
        let new = Settings::new(old.config.clone(), &state, 1);
        let difference = Difference::between(&old, &new);
        assert_eq!(
            difference.changed,
            [format!("sha256 of a: none -> {checksum}")]
        );
        assert_eq!(difference.fresh_processes, BTreeSet::from([name]));
    }
}
