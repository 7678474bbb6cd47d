//! External plugins: whether one may connect, and how it leaves.

use std::sync::Arc;

use super::PluginTask;
use crate::identity::Peer;
use crate::model::Kind;
use crate::plugin::connection::Registrant;
use crate::plugin::machine::Event;
use crate::plugin::registration::{Registration, RegistrationError};
use crate::plugin::state::{Desired, Idle, State};

impl PluginTask {
    /// Accepts or refuses an external plugin. The daemon-wide rules were checked before.
    pub(super) fn connect(&mut self, registrant: Registrant, peer: Arc<Peer>) {
        if let Err(error) = self.check_external(registrant.registration()) {
            tracing::warn!(plugin = %self.name(), pid = peer.pid(), %error, "external plugin refused");
            self.audit("refuse", Some(&peer), &error.to_string());
            // The plugin has a moment to read the reason. Nothing else waits for it.
            tokio::spawn(registrant.refuse(error));
            return;
        }
        let connection = registrant.accept(&self.launcher.settings, &self.launcher.host.version);
        self.external = Some(peer);
        self.registered(Arc::clone(connection.registration()));
        self.feed(Event::Connected(connection));
    }

    /// Ends the connection of an external plugin that the settings do not admit any more.
    pub(super) fn disconnect(&mut self, error: &RegistrationError) {
        if !matches!(self.machine.state(), State::Running { child: None, .. }) {
            return;
        }
        tracing::warn!(plugin = %self.name(), %error, "external plugin disconnected");
        self.audit("disconnect", self.external.as_deref(), &error.to_string());
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
