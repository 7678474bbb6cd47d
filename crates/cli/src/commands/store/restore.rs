//! `keyway store restore`.

use std::path::PathBuf;

use clap::Args;
use keyway_plugin_file::{Backup, CheckedBackup, Protection, RestoreKey, Store, StoreError};
use serde::Serialize;

use super::{Argument, Target};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::{self, json, rfc3339};
use crate::passphrase::Passphrases;
use crate::prompt;

/// Options of `keyway store restore`.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The backup.
    file: PathBuf,
    /// The file with the key of the backup [default: the key of the store if it opens the backup, else the one in the backup].
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Check the backup, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before the store is replaced; without a terminal there is no question.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    target: Target,
}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Report {
    secrets: usize,
    created_at: Option<String>,
    new_identity: bool,
    restored: bool,
    replaced: Option<String>,
}

/// Checks the backup, asks, and replaces the store.
pub(super) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    let target = &options.target;
    let mut passphrases = Passphrases::open(globals, &target.passphrases)?;
    let identity = options.identity.as_deref();
    let source = Source {
        target,
        file: Argument::new(&options.file, "FILE")?,
        identity: identity
            .map(|path| Argument::new(path, "the file of --identity"))
            .transpose()?,
    };
    let (store, checked) = source.check(&mut passphrases)?;
    let mut report = Report {
        secrets: checked.n_secrets(),
        created_at: checked.created_at().map(rfc3339),
        new_identity: checked.replaces_identity(),
        restored: false,
        replaced: None,
    };
    let time = report.created_at.clone().unwrap_or_default();
    let secrets = output::count(report.secrets, "secret");
    if options.dry_run {
        return match globals.json {
            true => output::print_text(json::line(&report)),
            false => output::print_text(format_args!(
                "the backup of {time} opens and is complete: {secrets}\n"
            )),
        };
    }
    if !options.yes && !confirm(target, &store, &format!("the backup of {time} ({secrets})"))? {
        return Err(Failure::error(
            "nothing was restored",
            "Enter `y` to restore, or leave the question out with --yes",
        ));
    }
    let installed = store.install(&checked);
    let installed = installed.map_err(|error| source.failure(&error))?;
    report.restored = true;
    let replaced = installed.replaced.as_deref();
    report.replaced = replaced.map(|path| target.store.display(path));
    if let Some(path) = &report.replaced {
        output::note(format_args!(
            "the replaced store is in {path}, with its key: remove it when it is of no use any more"
        ));
    }
    if installed.has_new_identity {
        output::note(new_identity(&store));
    }
    match globals.json {
        true => output::print_text(json::line(&report)),
        false => output::print_text(format_args!(
            "restored {secrets} from the backup of {time}\n"
        )),
    }
}

/// Returns the note about the new key for the programs that open the store.
fn new_identity(store: &Store) -> &'static str {
    match store.protection() {
        Ok(Protection::Passphrase) => {
            "the key is that of the backup now, with its passphrase; `keyway store passphrase --remove` removes it, and with \
             KEYWAY_FILE_PASSPHRASE_FILE in `env` of [plugins.file] the daemon opens the store"
        }
        _ => "the key is that of the backup now; backups with the former key do not open with it",
    }
}

/// The locations of the backup and of its key.
struct Source<'a> {
    target: &'a Target,
    file: Argument,
    identity: Option<Argument>,
}

impl Source<'_> {
    /// Opens and checks the backup with the first key that opens it.
    fn check(&self, passphrases: &mut Passphrases) -> Result<(Store, CheckedBackup), Failure> {
        let config = self.target.store.config()?;
        let protection = self.target.protection(&config)?;
        let open = || Backup::open(&self.file.path).map_err(|error| self.failure(&error));
        let backup = open()?;
        if let Some(Argument { path, .. }) = &self.identity {
            let store = Store::new(config);
            let key = RestoreKey::OfFile(path.clone(), None);
            let checked = match store.check_backup(backup, key) {
                Err(StoreError::IdentityProtected { .. }) => {
                    let passphrase = passphrases.read("passphrase of that key")?;
                    let key = RestoreKey::OfFile(path.clone(), Some(passphrase));
                    store.check_backup(open()?, key)
                }
                checked => checked,
            };
            return self.checked(store, checked);
        }
        let has_identity = backup.has_identity();
        let needs_no_question = match protection {
            Protection::NoIdentity => false,
            Protection::Unprotected => true,
            Protection::Passphrase => config.has_passphrase() || !has_identity,
        };
        let backup = match needs_no_question {
            true => {
                let store = self.target.unlocked(passphrases)?;
                match store.check_backup(backup, RestoreKey::OfStore) {
                    Err(StoreError::BackupOfOtherIdentity { .. }) if has_identity => open()?,
                    checked => return self.checked(store, checked),
                }
            }
            false => backup,
        };
        if !has_identity {
            let path = backup.path().to_owned();
            return Err(self.failure(&StoreError::BackupOfOtherIdentity { path }));
        }
        let passphrase = passphrases.read("passphrase of the backup")?;
        let store = Store::new(config);
        let checked = store.check_backup(backup, RestoreKey::OfBackup(passphrase));
        self.checked(store, checked)
    }

    fn checked(
        &self,
        store: Store,
        checked: Result<CheckedBackup, StoreError>,
    ) -> Result<(Store, CheckedBackup), Failure> {
        let checked = checked.map_err(|error| self.failure(&error))?;
        Ok((store, checked))
    }

    /// Converts an error, without the arguments.
    fn failure(&self, error: &StoreError) -> Failure {
        let mut failure = self.target.store.failure(error);
        let advice = match error {
            StoreError::BackupOfOtherIdentity { .. } => {
                Some("Nothing was changed; name the file with the key of the backup in --identity")
            }
            StoreError::Io { path, .. } if *path == self.file.path => {
                Some("Name a file that `keyway store backup` has written and that you may read")
            }
            _ => None,
        };
        if let Some(advice) = advice {
            let exit = match error {
                StoreError::BackupOfOtherIdentity { .. } => Exit::NeedsUser,
                _ => failure.exit(),
            };
            failure = Failure::new(exit, failure.what(), advice);
        }
        if let Some(identity) = &self.identity {
            failure = identity.hide(failure);
        }
        self.file.hide(failure)
    }
}

/// Asks at a terminal, if there is a store to replace.
fn confirm(target: &Target, store: &Store, backup: &str) -> Result<bool, Failure> {
    let present = match store.list(&keyway_secrets::Pattern::everything()) {
        Ok(secrets) if secrets.is_empty() => return Ok(true),
        Ok(secrets) => output::count(secrets.len(), "secret"),
        Err(_) => "which does not open".to_owned(),
    };
    let place = target.store.display_dir(store);
    let question = format!("Replace the store in {place} ({present}) by {backup}? [y/N] ");
    prompt::confirm(&question).map_err(|error| {
        Failure::error(
            format_args!("the terminal cannot be read: {error}"),
            "Nothing was restored; use --yes",
        )
    })
}
