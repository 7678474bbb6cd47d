//! The command line, a contract with scripts. The options of a command are in its own module.

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::commands;
use crate::exit::Exit;
use crate::failure::Failure;
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

/// Defines the subcommands: each has its description in the help, its name, and its module, which has its `Options` and `run`.
/// Those behind `described:` get the definition of the command line, too.
macro_rules! commands {
    (
        $($(#[$attribute:meta])+ $Command:ident $module:ident,)+
        described: $($(#[$described_attribute:meta])+ $Described:ident $described:ident,)+
    ) => {
        /// The subcommands.
        #[derive(Debug, Subcommand)]
        pub(crate) enum Command {
            $($(#[$attribute])+ $Command(commands::$module::Options),)+
            $($(#[$described_attribute])+ $Described(commands::$described::Options),)+
        }

        impl Command {
            /// Runs the subcommand.
            pub(crate) fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
                match self {
                    $(Self::$Command(options) => commands::$module::run(globals, options),)+
                    $(Self::$Described(options) => {
                        commands::$described::run(globals, options, Cli::command())
                    })+
                }
            }
        }
    };
}

commands! {
    /// Run the daemon: launch the plugins and serve secrets to programs.
    Serve serve,
    /// Print the value of a secret.
    Get get,
    /// List secrets and their providers, never their values.
    Ls ls,
    /// Run a command; where its environment says `se://ID`, it gets the secret.
    Run run,
    /// Replace the references in a file by secrets, and print the result or write it to a file.
    Inject inject,
    /// Store a secret: the value comes from stdin, a file, a hidden prompt, or is random.
    Set set,
    /// Move secrets out of files such as .env into the store, and put references in their place.
    Import import,
    /// Write secrets with their values, as an env file, for a shell or as JSON.
    Export export,
    /// Remove secrets, with all their versions.
    Rm rm,
    /// Give a secret another id; its earlier versions stay with the old one.
    Mv mv,
    /// List the stored versions of a secret, never their values.
    Versions versions,
    /// Make the value of an earlier version of a secret the current one.
    Restore restore,
    /// Back up the file store, restore a backup, or change its key or its passphrase.
    Store store,
    /// List the daemon's plugins, or change what they do.
    Plugins plugins,
    /// Show what the audit log has recorded: who read which secret when.
    Audit audit,
    /// Show what the daemon is and does.
    Status status,
    /// Stop the daemon.
    Stop stop,
    /// Find what is wrong with the daemon, its store, its configuration and its service.
    Doctor doctor,
    /// Let systemd start the daemon at the first request.
    Service service,
    /// Show the configuration with the line of each setting, or check a file.
    Config config,
    /// Print the versions of this program and of the daemon.
    Version version,
    described:
    /// Print the completions for a shell.
    Completions completions,
    /// Write the manual pages to a directory.
    #[command(hide = true)]
    Man man,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::help::{self, Page};
    use std::process::Stdio;
    use std::{fs, process};

    #[test]
    fn the_command_definition_is_valid() {
        help::complete(Cli::command()).debug_assert();
    }

    /// Returns the words behind `keyway` of every command.
    fn paths(command: &clap::Command, path: &str) -> Vec<String> {
        let mut paths = vec![path.to_owned()];
        for inner in command
            .get_subcommands()
            .filter(|inner| !inner.is_hide_set())
        {
            let path = format!("{path} {}", inner.get_name());
            paths.extend(self::paths(inner, path.trim_start()));
        }
        paths
    }

    #[test]
    fn every_command_has_examples_that_parse() {
        for path in paths(&Cli::command(), "") {
            let page = Page::of(&path).unwrap_or_else(|| panic!("{path} has no page"));
            assert!(!page.examples.is_empty() && !page.exit_codes.is_empty());
            for (example, _) in page.examples {
                check(example, &path);
            }
        }
    }

    /// Parses the arguments of `keyway` in an example as bash passes them.
    fn check(example: &str, path: &str) {
        let directory = tempfile::tempdir().unwrap();
        let script = format!(
            "PATH=/nonexistent; keyway() {{ printf '%s\\0' \"$@\" >arguments; }}; fpath=(. .); {example}\nwait"
        );
        fs::create_dir_all(directory.path().join(".config/fish/completions")).unwrap();
        for input in ["kubeconfig.tpl", "passphrases.txt"] {
            fs::write(directory.path().join(input), "").unwrap();
        }
        // The other programs of an example are not found.
        let mut bash = process::Command::new("bash");
        bash.args(["-c", &script])
            .env_clear()
            .env("HOME", directory.path())
            .current_dir(directory.path())
            .stdin(Stdio::null());
        bash.output().unwrap();
        let Ok(arguments) = fs::read_to_string(directory.path().join("arguments")) else {
            assert!(example.starts_with("echo '"), "{example}");
            return;
        };
        let arguments = arguments.split_terminator('\0');
        let parsed = Cli::try_parse_from(["keyway"].into_iter().chain(arguments));
        assert!(parsed.is_ok(), "{example}: {:?}", parsed.err());
        assert!(example.contains(path), "{example} is no example of {path}");
    }
}
