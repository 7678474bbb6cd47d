//! External plugins: which ones the settings admit, and the way to their task.

use std::sync::Arc;

use keyway_local::with_causes;

use super::{Done, Manager};
use crate::caller::Peer;
use crate::config::Settings;
use crate::lines::peer_event;
use crate::model::PluginName;
use crate::plugin::{Command, Registrant, RegistrationError};

impl Manager {
    pub(super) fn connect(&mut self, registrant: Registrant, peer: Arc<Peer>) {
        let settings = self.settings.load();
        let name = registrant.registration().name.clone();
        if let Err(error) = admit(&settings, &name) {
            self.refuse(registrant, &peer, error);
            return;
        }
        let update = self.update_of(&settings, &name);
        let commands = match self.plugins.get(&name) {
            Some(commands) if !commands.is_closed() => commands.clone(),
            // A task that has ended is collected later.
            _ => self.add(name, update),
        };
        let _ = commands.send(Command::Connect {
            registrant: Box::new(registrant),
            peer,
        });
    }

    pub(super) fn refuse(
        &mut self,
        registrant: Registrant,
        peer: &Arc<Peer>,
        error: RegistrationError,
    ) {
        let name = &registrant.registration().name;
        let lines = &self.host.refusal_lines;
        let why = with_causes(&error);
        peer_event!(lines, WARN, plugin = %name, pid = peer.pid(), error = %why, "external plugin refused");
        self.host.audit.plugin("refuse", name, Some(peer), &why);
        self.work.spawn(async move {
            registrant.refuse(error).await;
            Done::Nothing
        });
    }
}

/// Checks whether an external plugin of this name may register or stay.
///
/// # Errors
///
/// The rule that it breaks.
pub(super) fn admit(settings: &Settings, name: &PluginName) -> Result<(), RegistrationError> {
    let plugin = settings.plugin(name);
    if !settings.config.external.allows(name) {
        return Err(RegistrationError::ExternalRefused(name.clone()));
    }
    if plugin.is_listed_external {
        return Ok(());
    }
    if settings.is_pinning {
        return Err(RegistrationError::Unnamed(name.clone()));
    }
    if plugin.is_listed_module {
        return Err(RegistrationError::UnnamedModule(name.clone()));
    }
    Ok(())
}
