//! The state file: what the daemon remembers from one run to the next, on disk.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use keyway_local::file::check_owners;

pub(crate) use crate::model::state::State;

/// The state file: `state.json` in the state directory.
#[derive(Debug, Clone)]
pub(crate) struct StateFile {
    path: PathBuf,
}

impl StateFile {
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            path: directory.join("state.json"),
        }
    }

    /// Reads the file. The daemon runs without it: one that is missing is empty, and one that is damaged or not
    /// trustworthy is reported and counts as empty.
    pub(crate) fn read(&self) -> State {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return State::default(),
            Err(error) => return self.ignored(&error),
        };
        if let Err(error) = check_owners(&self.path) {
            return self.ignored(&error);
        }
        serde_json::from_str(&text).unwrap_or_else(|error| self.ignored(&error))
    }

    fn ignored(&self, error: &dyn std::error::Error) -> State {
        tracing::error!(
            path = %self.path.display(), %error,
            "the state file is ignored: plugins that were disabled are enabled until they are disabled again"
        );
        State::default()
    }

    /// Replaces the file in one step, so that a crash leaves the old one or the new one. Blocks.
    ///
    /// # Errors
    ///
    /// When the directory or the file cannot be written; the old file is unchanged.
    pub(crate) fn write(&self, state: &State) -> io::Result<()> {
        let directory = self
            .path
            .parent()
            .expect("the path was made by joining a file name to a directory");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let temporary = self
            .path
            .with_extension(format!("{}.tmp", std::process::id()));
        let text = serde_json::to_vec_pretty(state).map_err(io::Error::other)?;
        let written =
            write_private(&temporary, &text).and_then(|()| fs::rename(&temporary, &self.path));
        if written.is_err() {
            // The first error is the one to report.
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    use crate::model::PluginName;

    fn name() -> PluginName {
        "pass".parse().expect("a name")
    }

    #[test]
    fn what_was_written_is_read() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = StateFile::new(&directory.path().join("below"));
        assert_eq!(file.read(), State::default());
        let mut state = State::default();
        let updated = state.update(&name(), |plugin| plugin.set_decision(Some(false)));
        assert_eq!(updated, Ok(true));
        file.write(&state).expect("written");
        assert_eq!(file.read(), state);
        let mode = fs::metadata(&file.path)
            .expect("the file")
            .permissions()
            .mode()
            & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(
            fs::read_dir(directory.path().join("below"))
                .expect("the directory")
                .count(),
            1
        );
    }

    #[test]
    fn l12_a_damaged_or_foreign_state_file_does_not_stop_the_daemon() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = StateFile::new(directory.path());
        fs::write(&file.path, "{ damaged").expect("written");
        assert_eq!(file.read(), State::default());
        fs::write(&file.path, r#"{"plugins":{"pass":{"disabled":true}}}"#).expect("written");
        assert_eq!(file.read().plugin(&name()).decision(), Some(false));
        fs::set_permissions(&file.path, fs::Permissions::from_mode(0o666)).expect("the mode");
        assert_eq!(file.read().plugin(&name()).decision(), None);
    }
}
