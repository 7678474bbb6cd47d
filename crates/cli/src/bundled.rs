//! The plugin that comes with this program: the daemon starts its own executable under another name.

use std::env;
use std::path::Path;
use std::process::ExitCode;

use keyway_proto::LAUNCH_VARIABLE;

/// The plugin's name.
pub(crate) const NAME: &str = "file";

/// What the process is called (`argv[0]`) when it is to be that plugin.
pub(crate) const ARGV0: &str = "keyway-plugin-file";

/// Is the plugin, if the process was started as that, and gives its exit code.
///
/// Called before anything else: the plugin takes its launch variable out of the environment while there is one thread.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let argv0 = env::args_os().next()?;
    let is_plugin = Path::new(&argv0) == Path::new(ARGV0) && env::var_os(LAUNCH_VARIABLE).is_some();
    is_plugin.then(keyway_plugin_file::run)
}
