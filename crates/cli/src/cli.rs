//! The command line, a contract with scripts. The options of a command are in its own module.

use clap::{Parser, Subcommand};

use crate::commands::{
    audit, completions, config, doctor, export, get, import, inject, ls, mv, plugins, restore, rm,
    run, serve, service, set, versions,
};
use crate::globals::Globals;

/// A local secrets manager: one daemon serves secrets to programs, and a plugin connects each store.
#[derive(Debug, Parser)]
#[command(
    name = "keyway",
    version = concat!("v", env!("CARGO_PKG_VERSION")))]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    /// The subcommand.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon: launch the plugins and serve secrets to programs.
    Serve(serve::Options),
    /// Print the value of a secret.
    Get(get::Options),
    /// List secrets and their providers, never their values.
    Ls(ls::Options),
    /// Run a command; where its environment says `se://ID`, it gets the secret.
    #[command(after_help = run::HELP)]
    Run(run::Options),
    /// Replace the references in a file by secrets, and print the result or write it to a file.
    #[command(after_help = inject::HELP)]
    Inject(inject::Options),
    /// Store a secret: the value comes from stdin, a file, a hidden prompt, or is random.
    Set(set::Options),
    /// Move secrets out of files such as .env into the store, and put references in their place.
    Import(import::Options),
    /// Write secrets with their values, as an env file, for a shell or as JSON.
    #[command(after_help = export::HELP)]
    Export(export::Options),
    /// Remove secrets, with all their versions.
    Rm(rm::Options),
    /// Give a secret another id; its earlier versions stay with the old one.
    Mv(mv::Options),
    /// List the stored versions of a secret, never their values.
    Versions(versions::Options),
    /// Make the value of an earlier version of a secret the current one.
    Restore(restore::Options),
    /// List the daemon's plugins, or change what they do.
    Plugins(plugins::Options),
    /// Show what the audit log has recorded: who read which secret when.
    Audit(audit::Options),
    /// Show what the daemon is and does.
    Status,
    /// Stop the daemon.
    Stop,
    /// Find what is wrong with the daemon, its store, its configuration and its service.
    Doctor(doctor::Options),
    /// Let systemd start the daemon at the first request.
    Service(service::Options),
    /// Show the configuration with the line of each setting, or check a file.
    Config(config::Options),
    /// Print the versions of this program and of the daemon.
    Version,
    /// Print the completions for a shell.
    Completions(completions::Options),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_definition_is_valid() {
        Cli::command().debug_assert();
    }
}
