//! The XDG base directories.

use std::ffi::OsString;
use std::path::PathBuf;

/// Returns a directory of the XDG base directory specification: the value of `variable`, else `below_home` in `$HOME`.
///
/// Variables that are relative paths are ignored, as the specification demands.
///
/// ```
/// use keyway_local::base_directory;
/// use std::ffi::OsString;
///
/// let environment = |name: &str| (name == "HOME").then(|| OsString::from("/home/ann"));
/// let data = base_directory(environment, "XDG_DATA_HOME", ".local/share");
/// assert_eq!(data.as_deref(), Some("/home/ann/.local/share".as_ref()));
/// ```
pub fn base_directory(
    environment: impl Fn(&str) -> Option<OsString>,
    variable: &str,
    below_home: &str,
) -> Option<PathBuf> {
    let home = || Some(absolute(&environment, "HOME")?.join(below_home));
    absolute(&environment, variable).or_else(home)
}

/// Returns the absolute path that a variable names, if it names one.
pub(crate) fn absolute(
    environment: impl Fn(&str) -> Option<OsString>,
    variable: &str,
) -> Option<PathBuf> {
    environment(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_are_ignored() {
        let directory = |variables: &'static [(&str, &str)]| {
            let environment = |name: &str| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| OsString::from(value))
            };
            base_directory(environment, "XDG_STATE_HOME", ".local/state")
        };
        assert_eq!(
            directory(&[("XDG_STATE_HOME", "/state"), ("HOME", "/h")]),
            Some("/state".into())
        );
        assert_eq!(
            directory(&[("XDG_STATE_HOME", "state"), ("HOME", "/h")]),
            Some("/h/.local/state".into())
        );
        assert_eq!(directory(&[("XDG_STATE_HOME", ""), ("HOME", "h")]), None);
    }
}
