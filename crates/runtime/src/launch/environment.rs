//! Selects the part of the daemon's environment that a plugin receives.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;

use keyway_proto::is_inherited_variable;

/// The environment that the daemon was started with, as far as plugins may receive it.
///
/// The whole environment is never handed on: it may hold tokens that were meant for another program.
#[derive(Clone, Default)]
pub(crate) struct Environment(BTreeMap<OsString, OsString>);

impl fmt::Debug for Environment {
    /// Shows the names alone, because the values may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// Takes the daemon's variables.
    pub(crate) fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self(variables.into_iter().collect())
    }

    /// Returns the environment of one plugin: the allow-listed variables, those named in `pass`, and `extra`,
    /// which wins.
    pub(crate) fn for_plugin<'a>(
        &self,
        pass: &'a [String],
        extra: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> BTreeMap<OsString, OsString> {
        let passed = self.0.iter().filter(|(key, _)| is_passed(key, pass));
        let mut environment: BTreeMap<OsString, OsString> = passed
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        environment.extend(
            extra
                .into_iter()
                .map(|(key, value)| (key.into(), value.into())),
        );
        environment
    }
}

fn is_passed(key: &OsStr, pass: &[String]) -> bool {
    // A name that is not UTF-8 is on no list.
    let Some(key) = key.to_str() else {
        return false;
    };
    is_inherited_variable(key) || pass.iter().any(|name| name == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        let variables = [
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("XDG_RUNTIME_DIR", "/run"),
            ("TOKEN", "t"),
            ("LCX", "x"),
        ];
        Environment::new(variables.map(|(key, value)| (key.into(), value.into())))
    }

    fn keys(environment: &BTreeMap<OsString, OsString>) -> Vec<&str> {
        environment.keys().filter_map(|key| key.to_str()).collect()
    }

    #[test]
    fn debug_output_holds_no_value() {
        let text = format!("{:?}", environment());
        assert!(text.contains("TOKEN") && !text.contains("/bin"), "{text}");
    }

    #[test]
    fn only_the_allow_list_passes() {
        let none: [(&String, &String); 0] = [];
        assert_eq!(
            keys(&environment().for_plugin(&[], none)),
            ["LC_ALL", "PATH", "XDG_RUNTIME_DIR"]
        );
    }

    #[test]
    fn configuration_adds_by_name_and_by_value() {
        let extra = BTreeMap::from([
            ("PATH".to_owned(), "/only".to_owned()),
            ("MODE".to_owned(), "dummy".to_owned()),
        ]);
        let environment =
            environment().for_plugin(&["TOKEN".to_owned(), "ABSENT".to_owned()], &extra);
        assert_eq!(
            keys(&environment),
            ["LC_ALL", "MODE", "PATH", "TOKEN", "XDG_RUNTIME_DIR"]
        );
        assert_eq!(
            environment
                .get(OsStr::new("PATH"))
                .and_then(|value| value.to_str()),
            Some("/only")
        );
    }
}
