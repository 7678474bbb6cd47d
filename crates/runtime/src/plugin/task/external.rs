//! External plugins: whether one may connect, and how it leaves.

use std::sync::Arc;

use futures::FutureExt as _;
use keyway_local::with_causes;

use super::PluginTask;
use crate::caller::Peer;
use crate::lines::peer_event;
use crate::model::Kind;
use crate::plugin::connection::Registrant;
use crate::plugin::machine::Event;
use crate::plugin::registration::{Registration, RegistrationError};
use crate::plugin::state::{Desired, Idle, State};

impl PluginTask {
    /// Accepts or refuses an external plugin. The daemon-wide rules were checked before.
    pub(super) fn connect(&mut self, registrant: Registrant, peer: Arc<Peer>) {
        self.notice_end();
        match self.check_external(registrant.registration()) {
            Ok(()) => {}
            // Its last connection is closing: the new one waits for that, and is admitted then.
            Err(RegistrationError::Taken(_)) if self.is_leaving() && self.returning.is_none() => {
                self.returning = Some((registrant, peer));
                return;
            }
            Err(error) => return self.refuse(registrant, &peer, error),
        }
        let connection =
            registrant.accept(&self.launcher.settings, &self.launcher.host.version.version);
        self.external = Some(peer);
        self.registered(Arc::clone(connection.registration()));
        self.feed(Event::Connected(connection));
    }

    /// Handles the end of the connection now if it is due: a plugin may connect again before the task has handled it.
    fn notice_end(&mut self) {
        if let State::Running {
            child: None,
            connection,
            ..
        } = self.machine.state_mut()
            && let Some(why) = connection.ended().now_or_never()
        {
            self.lost(why);
        }
    }

    fn refuse(&self, registrant: Registrant, peer: &Peer, error: RegistrationError) {
        let lines = &self.launcher.host.refusal_lines;
        let why = with_causes(&error);
        peer_event!(
            lines,
            WARN,
            plugin = %self.name(), pid = peer.pid(), error = %why, "external plugin refused"
        );
        self.audit("refuse", Some(peer), &why);
        // The plugin has a moment to read the reason. Nothing else waits for it.
        tokio::spawn(registrant.refuse(error));
    }

    /// Returns `true` if an external plugin is leaving.
    fn is_leaving(&self) -> bool {
        self.external.is_some() && matches!(self.machine.state(), State::Draining { .. })
    }

    /// Refuses a plugin that came back under settings that are not in force any more; it tries again.
    pub(super) fn refuse_returning(&mut self) {
        if let Some((registrant, peer)) = self.returning.take() {
            let error = RegistrationError::Taken(self.name().clone());
            self.refuse(registrant, &peer, error);
        }
    }

    /// Connects a plugin that came back while its last connection ended.
    pub(super) fn connect_returning(&mut self) {
        if let Some((registrant, peer)) = self.returning.take() {
            self.connect(registrant, peer);
        }
    }

    /// Ends the connection of an external plugin that the settings do not admit any more.
    pub(super) fn disconnect(&mut self, error: &RegistrationError) {
        if !matches!(self.machine.state(), State::Running { child: None, .. }) {
            return;
        }
        let why = with_causes(error);
        tracing::warn!(plugin = %self.name(), error = %why, "external plugin disconnected");
        self.audit("disconnect", self.external.as_deref(), &why);
        self.feed(Event::Disconnect);
    }

    fn check_external(&self, registration: &Registration) -> Result<(), RegistrationError> {
        let name = self.name().clone();
        if self.launcher.host.is_stopping() || self.is_stopping {
            return Err(RegistrationError::Stopping);
        }
        if self.launcher.source.is_some() {
            return Err(RegistrationError::Reserved(name));
        }
        if *self.machine.desired() == Desired::Rest(Idle::Disabled) {
            return Err(RegistrationError::Disabled(name));
        }
        if !matches!(self.machine.state(), State::Idle(_)) {
            return Err(RegistrationError::Taken(name));
        }
        self.check_kind(registration)
    }

    /// A plugin with a configured realm is a provider.
    pub(super) fn check_kind(&self, registration: &Registration) -> Result<(), RegistrationError> {
        if registration.kind == Kind::AccessControl && self.launcher.settings.realm.is_some() {
            return Err(RegistrationError::NotProvider(self.name().clone()));
        }
        Ok(())
    }
}
