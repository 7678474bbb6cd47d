//! The daemon's memory from one run to the next, as data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{FileIdentity, Kind, PluginName, Sha256};

/// The daemon's memory from one run to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    #[serde(default)]
    plugins: BTreeMap<PluginName, PluginState>,
}

/// The remembered facts of one plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredPluginState")]
pub(crate) struct PluginState {
    /// Set by `DisablePlugin`, cleared by `EnablePlugin`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disabled: bool,
    /// Set by `EnablePlugin`, cleared by `DisablePlugin`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    enabled: bool,
    /// The checksum of the executable that the user trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trusted: Option<Sha256>,
    /// The last registration of the plugin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) registration: Option<RememberedRegistration>,
    /// The file whose first registration failed; queries do not wait for it at the next start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failed_file: Option<FileIdentity>,
}

/// [`PluginState`] in a state file, which the first version may have written.
#[derive(Default, Deserialize)]
#[serde(default)]
struct StoredPluginState {
    disabled: bool,
    enabled: bool,
    trusted: Option<Sha256>,
    registration: Option<RememberedRegistration>,
    failed_file: Option<FileIdentity>,
    /// The realm of the last registration as a provider, of the first version.
    realm: Option<String>,
    /// `true` if the last registration was as an access-control module, of the first version.
    access_control: bool,
}

impl From<StoredPluginState> for PluginState {
    fn from(stored: StoredPluginState) -> Self {
        let former = || {
            let realm = stored.realm.and_then(|realm| realm.parse().ok());
            let kind = match stored.access_control {
                true => Kind::AccessControl,
                false => Kind::Provider(vec![realm?]),
            };
            // The first version did not record the file, so that the registration counts for the name alone.
            let file = Some(FileIdentity::UNKNOWN);
            Some(RememberedRegistration { kind, file })
        };
        Self {
            disabled: stored.disabled,
            enabled: stored.enabled,
            trusted: stored.trusted,
            registration: stored.registration.or_else(former),
            failed_file: stored.failed_file,
        }
    }
}

/// The last registration of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RememberedRegistration {
    /// The registered kind.
    pub(crate) kind: Kind,
    /// The executable that registered so; `None` for an external plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<FileIdentity>,
}

/// The state has no space for another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the state remembers at most {} plugins", State::MAX_NAMES)]
pub(crate) struct StateFull;

impl PluginState {
    /// Returns the user's decision by `keyway plugins enable` or `disable`; `None`: no decision.
    pub(crate) fn decision(&self) -> Option<bool> {
        match (self.disabled, self.enabled) {
            (true, _) => Some(false),
            (false, true) => Some(true),
            (false, false) => None,
        }
    }

    /// Records or removes the user's decision.
    pub(crate) fn set_decision(&mut self, enabled: Option<bool>) {
        self.disabled = enabled == Some(false);
        self.enabled = enabled == Some(true);
    }

    /// Returns the last registration of `file`; `None` for any other file.
    pub(crate) fn registration_of(&self, file: &FileIdentity) -> Option<&Kind> {
        let registration = self.registration.as_ref()?;
        (registration.file.as_ref() == Some(file)).then_some(&registration.kind)
    }
}

impl State {
    /// The most names that are remembered; beyond it, registrations of further names are not.
    pub(crate) const MAX_NAMES: usize = 1024;

    /// Returns the remembered facts of `name`.
    pub(crate) fn plugin(&self, name: &PluginName) -> PluginState {
        self.plugins.get(name).cloned().unwrap_or_default()
    }

    /// Returns every name with its remembered facts.
    pub(crate) fn plugins(&self) -> impl Iterator<Item = (&PluginName, &PluginState)> {
        self.plugins.iter()
    }

    /// Changes the remembered facts of `name`; returns whether anything differs.
    ///
    /// With [`MAX_NAMES`](Self::MAX_NAMES) names remembered, a new name takes the place of one of which only a registration
    /// is known: decisions and pins of the user are never dropped.
    ///
    /// # Errors
    ///
    /// Returns [`StateFull`] if `name` is new and every name that is remembered has a decision or a pin; nothing is changed.
    pub(crate) fn update(
        &mut self,
        name: &PluginName,
        change: impl FnOnce(&mut PluginState),
    ) -> Result<bool, StateFull> {
        let before = self.plugin(name);
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return Ok(false);
        }
        if after == PluginState::default() {
            self.plugins.remove(name);
            return Ok(true);
        }
        if !self.plugins.contains_key(name) {
            self.make_space()?;
        }
        self.plugins.insert(name.clone(), after);
        Ok(true)
    }

    /// Makes space for one more name.
    fn make_space(&mut self) -> Result<(), StateFull> {
        if self.plugins.len() < Self::MAX_NAMES {
            return Ok(());
        }
        let dispensable = self
            .plugins
            .iter()
            .find(|(_, plugin)| plugin.decision().is_none() && plugin.trusted.is_none());
        let name = dispensable.map(|(name, _)| name.clone()).ok_or(StateFull)?;
        self.plugins.remove(&name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> PluginName {
        text.parse().expect("a name")
    }

    fn file(inode: u64) -> FileIdentity {
        FileIdentity {
            device: 1,
            inode,
            size: 3,
            modified_ns: 4,
        }
    }

    fn registered(patterns: &[&str], file: Option<FileIdentity>) -> RememberedRegistration {
        let patterns = patterns.iter().map(|text| text.parse().expect("a pattern"));
        RememberedRegistration {
            kind: Kind::Provider(patterns.collect()),
            file,
        }
    }

    #[test]
    fn a_state_round_trips() {
        let mut state = State::default();
        let pass = state.update(&name("pass"), |plugin| {
            plugin.set_decision(Some(true));
            plugin.trusted = Some(Sha256([7; 32]));
            plugin.registration = Some(registered(&["pass/**", "shared/*"], Some(file(2))));
        });
        let policy = state.update(&name("policy"), |plugin| {
            plugin.failed_file = Some(file(3));
            plugin.registration = Some(RememberedRegistration {
                kind: Kind::AccessControl,
                file: None,
            });
        });
        assert_eq!((pass, policy), (Ok(true), Ok(true)));
        let text = serde_json::to_string(&state).expect("JSON");
        assert_eq!(
            serde_json::from_str::<State>(&text).expect("a state"),
            state
        );
    }

    #[test]
    fn a_decision_to_disable_is_read_from_earlier_state_files() {
        let text = r#"{"plugins":{"pass":{"disabled":true,"realm":"pass/**"}}}"#;
        let state: State = serde_json::from_str(text).expect("a state");
        assert_eq!(state.plugin(&name("pass")).decision(), Some(false));
        assert_eq!(state.plugin(&name("other")).decision(), None);
    }

    #[test]
    fn registrations_are_read_from_earlier_state_files() {
        let text = r#"{"plugins":{"pass":{"realm":"pass/**"},"policy":{"access_control":true},"damaged":{"realm":"//"}}}"#;
        let state: State = serde_json::from_str(text).expect("a state");
        let kind = |text: &str| {
            let registration = state.plugin(&name(text)).registration;
            registration.map(|registration| (registration.kind, registration.file.is_some()))
        };
        let provider = registered(&["pass/**"], None).kind;
        assert_eq!(kind("pass"), Some((provider, true)));
        assert_eq!(kind("policy"), Some((Kind::AccessControl, true)));
        assert_eq!(kind("damaged"), None);
    }

    #[test]
    fn a_registration_is_known_of_its_file_only() {
        let mut state = State::default();
        let updated = state.update(&name("pass"), |plugin| {
            plugin.registration = Some(registered(&["pass/**"], Some(file(2))));
        });
        assert_eq!(updated, Ok(true));
        let pass = state.plugin(&name("pass"));
        assert!(pass.registration_of(&file(2)).is_some());
        assert!(pass.registration_of(&file(3)).is_none());
    }

    #[test]
    fn a_plugin_without_state_takes_no_space() {
        let mut state = State::default();
        let mut decide =
            |enabled| state.update(&name("pass"), |plugin| plugin.set_decision(enabled));
        assert_eq!(decide(Some(false)), Ok(true));
        assert_eq!(decide(Some(false)), Ok(false));
        assert_eq!(decide(None), Ok(true));
        assert_eq!(state, State::default());
    }

    #[test]
    fn a_full_state_drops_registrations_and_never_a_decision_or_a_pin() {
        let mut state = State::default();
        for number in 0..State::MAX_NAMES {
            let changed = state.update(
                &name(&format!("plugin-{number:04}")),
                |plugin| match number {
                    500 => plugin.registration = Some(registered(&["a/*"], None)),
                    _ if number % 2 == 0 => plugin.set_decision(Some(false)),
                    _ => plugin.trusted = Some(Sha256([1; 32])),
                },
            );
            assert_eq!(changed, Ok(true));
        }
        let disable = |plugin: &mut PluginState| plugin.set_decision(Some(false));
        assert_eq!(state.update(&name("new"), disable), Ok(true));
        assert_eq!(state.plugins().count(), State::MAX_NAMES);
        assert_eq!(state.plugin(&name("plugin-0500")), PluginState::default());
        assert_eq!(state.update(&name("newer"), disable), Err(StateFull));
        assert_eq!(state.plugins().count(), State::MAX_NAMES);
    }
}
