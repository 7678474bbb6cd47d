//! The actions of callers, and the consultations of the access-control modules.

use std::fmt::Write as _;
use std::sync::LazyLock;

use keyway_secrets::{Id, Pattern};

/// An action of a caller.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action<'a> {
    /// `/health` and `GetVersion`.
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "the table permits it to every caller that was accepted"
        )
    )]
    Version,
    /// Read the values that match.
    Resolve(&'a [Pattern]),
    /// Read the ids that match.
    List(&'a [Pattern]),
    /// Read which provider holds the ids that match.
    Explain(&'a [Pattern]),
    /// Authorize the resolution of all of these before their use.
    Authorize(&'a [Pattern]),
    /// `ListPlugins` of `plugins.v1`.
    ListPlugins,
    /// The reading methods of the management service of `keyway.v1`.
    Inspect,
    Manage(Manage<'a>),
    /// Set, remove or restore a secret, or read its versions.
    Write(&'a Id),
    /// Connect as an external plugin.
    Hijack,
}

/// A change of the daemon or of one plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manage<'a> {
    Enable(&'a str),
    Disable(&'a str),
    Trust(&'a str),
    Untrust(&'a str),
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "no method admits a plugin under development yet")
    )]
    Dev(&'a str),
    Reload,
    Stop,
}

/// An [`Action`] without its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Version,
    Resolve,
    List,
    Explain,
    Authorize,
    ListPlugins,
    Inspect,
    Manage,
    Write,
    Hijack,
}

/// The subject of a consultation of the access-control modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Consultation {
    /// CheckAccess for each of these.
    CheckAccess(Vec<Pattern>),
    /// Authorize for all of these.
    Authorize(Vec<Pattern>),
}

impl<'a> Action<'a> {
    /// Returns the action without its object.
    pub(crate) fn purpose(&self) -> Purpose {
        match self {
            Self::Version => Purpose::Version,
            Self::Resolve(_) => Purpose::Resolve,
            Self::List(_) => Purpose::List,
            Self::Explain(_) => Purpose::Explain,
            Self::Authorize(_) => Purpose::Authorize,
            Self::ListPlugins => Purpose::ListPlugins,
            Self::Inspect => Purpose::Inspect,
            Self::Manage(_) => Purpose::Manage,
            Self::Write(_) => Purpose::Write,
            Self::Hijack => Purpose::Hijack,
        }
    }

    /// Returns the patterns of an action that reads secrets.
    pub(super) fn patterns(&self) -> Option<&'a [Pattern]> {
        match *self {
            Self::Resolve(patterns)
            | Self::List(patterns)
            | Self::Explain(patterns)
            | Self::Authorize(patterns) => Some(patterns),
            _ => None,
        }
    }
}

impl Purpose {
    /// Returns a verb phrase for a sentence with "may not".
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Version => "read the version",
            Self::Resolve => "resolve secrets",
            Self::List => "list secrets",
            Self::Explain => "explain how a secret is resolved",
            Self::Authorize => "check an authorization",
            Self::ListPlugins => "list plugins",
            Self::Inspect => "read the state of the daemon",
            Self::Manage => "manage the daemon",
            Self::Write => "write secrets",
            Self::Hijack => "connect as a plugin",
        }
    }
}

impl Manage<'_> {
    /// Returns the id that denotes the change in calls to access-control modules.
    pub(super) fn pattern(&self) -> Pattern {
        let (verb, name) = match *self {
            Self::Enable(name) => ("enable", Some(name)),
            Self::Disable(name) => ("disable", Some(name)),
            Self::Trust(name) => ("trust", Some(name)),
            Self::Untrust(name) => ("untrust", Some(name)),
            Self::Dev(name) => ("dev", Some(name)),
            Self::Reload => ("reload", None),
            Self::Stop => ("stop", None),
        };
        let text = match name {
            Some(name) => format!("keyway/manage/{verb}/{}", escape(name)),
            None => format!("keyway/manage/{verb}"),
        };
        text.parse()
            .expect("a prefix followed by an escaped name is an id")
    }
}

/// The prefix of the ids that denote writes.
static WRITE: LazyLock<Id> =
    LazyLock::new(|| "keyway/write".parse().expect("a constant id is valid"));

/// Returns the id that denotes a write in calls to access-control modules.
pub(super) fn write_pattern(id: &Id) -> Pattern {
    Pattern::from(id).below(&WRITE)
}

/// Returns a name as one component of an id. Different names stay different: a byte that a component cannot hold becomes `:` and
/// two hexadecimal digits, an empty name a single `:`.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, ":{byte:02x}").expect("writing to a string never fails");
        }
    }
    if escaped.is_empty() {
        escaped.push(':');
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_has_an_id_of_its_own() {
        for (manage, expected) in [
            (Manage::Enable("vault"), "keyway/manage/enable/vault"),
            (Manage::Disable("a.b_c-1"), "keyway/manage/disable/a.b_c-1"),
            (Manage::Trust("vault"), "keyway/manage/trust/vault"),
            (Manage::Untrust("vault"), "keyway/manage/untrust/vault"),
            (Manage::Dev("vault"), "keyway/manage/dev/vault"),
            (Manage::Reload, "keyway/manage/reload"),
            (Manage::Stop, "keyway/manage/stop"),
        ] {
            let pattern = manage.pattern();
            assert_eq!(pattern.as_str(), expected);
            assert!(pattern.as_id().is_some());
        }
        let id: Id = "db/password".parse().expect("an id");
        assert_eq!(write_pattern(&id).as_str(), "keyway/write/db/password");
        let deepest: Id = ["a"; 128].join("/").parse().expect("an id");
        let prefixed = format!("keyway/write/{deepest}");
        assert_eq!(write_pattern(&deepest).as_str(), prefixed);
    }

    #[test]
    fn a_hostile_name_stays_one_component_without_wildcards() {
        for (name, expected) in [
            ("", ":"),
            ("*", ":2a"),
            ("**", ":2a:2a"),
            ("a/b", "a:2fb"),
            ("a:2fb", "a:3a2fb"),
            ("ü", ":c3:bc"),
            ("\n", ":0a"),
        ] {
            assert_eq!(escape(name), expected, "{name:?}");
            let pattern = Manage::Disable(name).pattern();
            assert_eq!(pattern.components().count(), 4, "{name:?}");
            assert!(pattern.as_id().is_some(), "{name:?}");
        }
    }
}
