//! The state directory: locked by one daemon, with the state file in it.

mod lock;
mod memory;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keyway_local::file::{
    OpenError, check_opened, create_private_directory, open_regular, read_opened, replace,
};
use keyway_local::with_causes;

use crate::model::state::State;

pub(crate) use lock::StateLock;
pub use lock::StateLockError;
pub(crate) use memory::Memory;
pub use memory::NotWritten;

/// The most bytes that the state file may have: far more than 1,024 names with all that is remembered of them take.
const MAX_LEN: u64 = 16 * 1024 * 1024;

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

    /// Reads the file. Blocks.
    ///
    /// The daemon runs without it: an absent file is an empty state, and one that is damaged or that another user could have
    /// written is logged as an error and counts as empty, so that every plugin counts as never seen. Such a file is moved aside,
    /// because the next write would replace a file that can still be repaired.
    pub(crate) fn read(&self) -> State {
        let error = match self.try_read() {
            Ok(state) => return state,
            Err(error) => error,
        };
        let aside = self.path.with_extension("json.damaged");
        // Where it cannot be moved, it cannot be replaced either.
        let kept = match fs::rename(&self.path, &aside) {
            Ok(()) => &aside,
            Err(_) => &self.path,
        };
        tracing::error!(
            path = %self.path.display(), error = %with_causes(&*error),
            "state file ignored: all plugins count as never seen, disabled plugins are enabled and trusted checksums are \
             forgotten; repair {}, which is what it was, and move it back while no daemon runs, or disable and trust them again",
            kept.display()
        );
        State::default()
    }

    fn try_read(&self) -> Result<State, Box<dyn std::error::Error>> {
        let mut file = match open_regular(&self.path, MAX_LEN) {
            Err(OpenError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(State::default());
            }
            file => file?,
        };
        check_opened(&file, &self.path)?;
        let state: State = serde_json::from_slice(&read_opened(&mut file, &self.path, MAX_LEN)?)?;
        let n_names = state.plugins().count();
        if n_names > State::MAX_NAMES {
            let limit = State::MAX_NAMES;
            return Err(format!("the file holds {n_names} names, more than {limit}").into());
        }
        Ok(state)
    }

    /// Replaces the file in one step, so that a crash leaves the old one or the new one. Blocks.
    ///
    /// # Errors
    ///
    /// Returns the error of the operating system if the directory or the file cannot be written; the old file is unchanged.
    pub(crate) fn write(&self, state: &State) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(state).map_err(io::Error::other)?;
        if let Some(directory) = self.path.parent() {
            create_private_directory(directory).map_err(io::Error::other)?;
        }
        replace(&self.path, &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    use crate::model::PluginName;

    fn name(text: &str) -> PluginName {
        text.parse().expect("a name")
    }

    #[test]
    fn a_written_state_is_read() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = StateFile::new(&directory.path().join("below"));
        assert_eq!(file.read(), State::default());
        let mut state = State::default();
        let updated = state.update(&name("pass"), |plugin| plugin.set_decision(Some(false)));
        assert_eq!(updated, Ok(true));
        file.write(&state).expect("written");
        assert_eq!(file.read(), state);
    }

    #[test]
    fn l12_a_damaged_or_foreign_state_file_counts_as_empty() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = StateFile::new(directory.path());
        let valid = r#"{"plugins":{"pass":{"disabled":true}}}"#;
        let n_names = State::MAX_NAMES + 1;
        let names: Vec<String> = (0..n_names).map(|n| format!(r#""{n}":{{}}"#)).collect();
        for damaged in [
            "{ torn",
            "",
            r#"{"plugins":[]}"#,
            r#"{"plugins":{"pass":{"trusted":"12"}}}"#,
            &format!(r#"{{"plugins":{{{}}}}}"#, names.join(",")),
        ] {
            fs::write(&file.path, damaged).expect("written");
            assert!(file.try_read().is_err(), "{:.80}", damaged);
            assert_eq!(file.read(), State::default(), "{:.80}", damaged);
            // A file that can be repaired outlives the next write.
            file.write(&State::default()).expect("written");
            let aside = directory.path().join("state.json.damaged");
            assert_eq!(fs::read_to_string(aside).expect("kept"), damaged);
        }
        fs::write(&file.path, valid).expect("written");
        assert_eq!(file.read().plugin(&name("pass")).decision(), Some(false));
        for mode in [0o666, 0o660, 0o602] {
            fs::write(&file.path, valid).expect("written");
            fs::set_permissions(&file.path, fs::Permissions::from_mode(mode)).expect("the mode");
            assert_eq!(file.read(), State::default(), "{mode:o}");
        }
        fs::create_dir(&file.path).expect("a directory in its place");
        assert_eq!(file.read(), State::default());
    }
}
