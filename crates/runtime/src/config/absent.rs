//! Names that the configuration mentions and that no plugin has.

use super::{ExternalPlugins, Settings, nearest::nearest};
use crate::model::PluginName;

/// Returns a warning for each name that the configuration mentions and that no plugin has, with the nearest known name and the
/// remedy.
///
/// `is_present` returns whether an executable, a built-in or a connected external plugin has the name. A name that a list in
/// `[external] allow` holds is known, because its plugin may connect later. A disabled name is not missed.
pub(crate) fn absent_warnings<'a>(
    settings: &Settings,
    is_present: impl Fn(&PluginName) -> bool,
    is_disabled: impl Fn(&PluginName) -> bool,
    known: impl IntoIterator<Item = &'a PluginName>,
) -> Vec<String> {
    let known: Vec<&str> = known.into_iter().map(PluginName::as_str).collect();
    let missed = settings.names().filter(|name| {
        let is_expected = settings.plugin(name).is_listed_external;
        !is_present(name) && !is_expected && !is_disabled(name)
    });
    missed
        .map(|name| {
            let others = known
                .iter()
                .copied()
                .filter(|known| *known != name.as_str());
            absent_warning(settings, name, nearest(name.as_str(), others))
        })
        .collect()
}

fn absent_warning(settings: &Settings, name: &PluginName, nearest: Option<&str>) -> String {
    let hint = match nearest.map(str::parse::<PluginName>) {
        Some(Ok(nearest)) => format!("; the nearest known name is `{nearest}`"),
        _ => String::new(),
    };
    if settings.plugin(name).is_listed_module {
        return format!(
            "the access-control module {name} is absent{hint}: nothing is resolved until it runs; install it, or remove it from \
             `[access] modules`"
        );
    }
    format!(
        "the plugin {name} is configured and absent{hint}: run `keyway plugins disable {name}`, or remove the table \
         `[plugins.{name}]`"
    )
}

/// Returns a warning for each name with a configured priority whose plugin would be external while any program of the user may
/// register under it.
pub(crate) fn external_priority_warnings(
    settings: &Settings,
    is_launched: impl Fn(&PluginName) -> bool,
) -> Vec<String> {
    if settings.config.external != ExternalPlugins::Any {
        return Vec::new();
    }
    let ranked = settings.config.plugins.iter().filter(|(name, plugin)| {
        plugin.priority.is_some() && plugin.enabled != Some(false) && !is_launched(name)
    });
    ranked
        .map(|(name, _)| {
            format!(
                "the external plugin {name} has a priority and any program of this user may register under its name: list the \
                 names in `[external] allow`"
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;
    use crate::model::state::State;

    fn name(text: &str) -> PluginName {
        text.parse().expect("a name")
    }

    fn settings(text: &str) -> Settings {
        let mut config = Config::new("@test".parse().expect("an address"), "/state");
        let path = Path::new("/etc/config.toml");
        config.read_text(text, path).expect("a configuration");
        Settings::new(config, &State::default(), 0)
    }

    fn warnings(text: &str) -> Vec<String> {
        let known = ["env", "file", "vault"].map(name);
        let is_present = |name: &PluginName| known.contains(name);
        absent_warnings(
            &settings(text),
            is_present,
            |name| name.as_str() == "off",
            &known,
        )
    }

    #[test]
    fn an_unknown_table_name_is_reported_with_the_nearest_name_and_the_remedy() {
        let warnings = warnings("[plugins.valut]\npriority = 10");
        let [warning] = &warnings[..] else {
            panic!("one warning expected: {warnings:?}");
        };
        for part in [
            "plugin valut ",
            "`vault`",
            "keyway plugins disable valut",
            "remove the table",
        ] {
            assert!(warning.contains(part), "{warning}");
        }
    }

    #[test]
    fn a_listed_module_that_is_absent_is_a_warning_of_its_own() {
        let warnings = warnings("access.modules = ['policy']");
        assert!(
            matches!(&warnings[..], [warning] if warning.contains("remove it from `[access] modules`"))
        );
    }

    #[test]
    fn present_listed_and_disabled_names_are_not_reported() {
        let text = "external.allow = ['remote']\n[plugins.vault]\n[plugins.remote]\n[plugins.off]";
        assert_eq!(warnings(text), [] as [String; 0]);
    }

    #[test]
    fn a_ranked_external_name_is_reported_while_any_program_may_take_it() {
        let warnings = |text: &str| {
            external_priority_warnings(&settings(text), |name| name.as_str() == "vault")
        };
        let ranked =
            "[plugins.remote]\npriority = 1\n[plugins.vault]\npriority = 2\n[plugins.other]";
        assert!(matches!(&warnings(ranked)[..], [warning] if warning.contains("remote")));
        let listed = format!("external.allow = ['remote']\n{ranked}");
        assert_eq!(warnings(&listed), [] as [String; 0]);
    }
}
