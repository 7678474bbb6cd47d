//! Which external plugins the settings admit.

use crate::config::Settings;
use crate::model::PluginName;
use crate::plugin::RegistrationError;

/// Whether an external plugin of this name may register or stay.
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
