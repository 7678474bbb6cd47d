//! The built-in plugin: the daemon launches its own executable under another `argv[0]`.

use std::env;
use std::path::Path;
use std::process::ExitCode;

use keyway_proto::LAUNCH_VARIABLE;

/// Name of the plugin.
pub(crate) const NAME: &str = "file";

/// `argv[0]` of the process that runs as the plugin.
pub(crate) const ARGV0: &str = "keyway-plugin-file";

/// Runs the plugin and returns its exit code, if the process was launched as the plugin.
///
/// Must be called first, because the plugin removes its launch variable from the environment while there is one thread.
pub(crate) fn run_if_launched() -> Option<ExitCode> {
    let argv0 = env::args_os().next()?;
    let is_plugin = Path::new(&argv0) == Path::new(ARGV0) && env::var_os(LAUNCH_VARIABLE).is_some();
    is_plugin.then(keyway_plugin_file::run)
}
