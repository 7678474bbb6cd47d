//! Serves the text files of a directory: `notes/shopping` is the file `shopping.txt` in `NOTES_DIR`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use keyway_plugin_sdk::{
    Envelope, Id, Pattern, Plugin, ProviderError, Query, ResultExt, SecretsProvider, blocking,
    version,
};

struct Notes {
    dir: PathBuf,
}

impl SecretsProvider for Notes {
    fn pattern(&self) -> Pattern {
        "notes/*".parse().expect("a constant pattern")
    }

    fn version(&self) -> &str {
        version!()
    }

    async fn get_secrets(&self, query: &Query) -> Result<Vec<Envelope>, ProviderError> {
        let (dir, pattern) = (self.dir.clone(), query.pattern().clone());
        blocking(move || read(&dir, &pattern)).await
    }
}

fn read(dir: &Path, pattern: &Pattern) -> Result<Vec<Envelope>, ProviderError> {
    let mut found = Vec::new();
    let entries =
        std::fs::read_dir(dir).or_unavailable("cannot read the directory with the notes")?;
    for entry in entries {
        let path = entry?.path();
        let name = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        // A file whose name is not valid in an id is not a secret.
        let Ok(id) = format!("notes/{name}").parse::<Id>() else {
            continue;
        };
        if path.extension().is_some_and(|extension| extension == "txt") && pattern.matches(&id) {
            found.push(Envelope::new(
                id,
                std::fs::read(&path).or_unavailable("cannot read a note")?,
            ));
        }
    }
    Ok(found)
}

fn main() -> ExitCode {
    Plugin::new("notes").run_with(|| {
        let dir = std::env::var_os("NOTES_DIR").ok_or_else(|| {
            ProviderError::fatal("NOTES_DIR is not set")
                .with_remedy("set it to the directory with the notes")
        })?;
        Ok(Notes { dir: dir.into() })
    })
}

#[cfg(test)]
mod tests {
    use keyway_plugin_sdk::ErrorKind;
    use keyway_plugin_sdk::testing::{TestDaemon, block_on};

    use super::*;

    #[test]
    fn notes_are_served_by_their_names() {
        let dir = std::env::temp_dir().join(format!("minimal-plugin-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("shopping.txt"), "milk").unwrap();
        std::fs::write(dir.join("not a name.txt"), "").unwrap();
        block_on(async {
            let daemon = TestDaemon::start(Notes { dir: dir.clone() }).await.unwrap();
            assert_eq!(daemon.registration().pattern.as_deref(), Some("notes/*"));
            let notes = daemon.get("notes/*").await.unwrap();
            assert_eq!(
                (notes.len(), notes[0].value.expose()),
                (1, b"milk".as_slice())
            );
            let missing = daemon.get("notes/diary").await.unwrap_err();
            assert_eq!(missing.kind(), ErrorKind::NotFound);
            daemon.stop().await;
        });
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
