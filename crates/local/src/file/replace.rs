//! Replacing a file at once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces the file at `path` by one with `content` and mode 0600. A reader sees the old file or the new one, also after a
/// power failure: file and directory are synchronized before the function returns. Blocks.
///
/// The caller makes sure that no two processes replace the same file at the same time.
///
/// # Errors
///
/// Returns the error of the operating system. The old file is unchanged unless it was the directory that could not be
/// synchronized.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let Some(name) = path.file_name() else {
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    };
    let mut temporary = name.to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(temporary);
    let replaced = write_private(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    if replaced.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
        return replaced;
    }
    let directory = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    // An existing file is the rest of a killed process with the same pid.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_replaced_privately_and_nothing_else_is_left() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("state.json");
        for content in ["first", "second"] {
            replace(&path, content.as_bytes()).expect("replaced");
            assert_eq!(fs::read_to_string(&path).expect("the file"), content);
        }
        let mode = fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&directory).expect("the directory").count(), 1);
    }

    #[test]
    fn a_failed_replacement_leaves_nothing_behind() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("occupied");
        fs::create_dir(&path).expect("a directory in the way");
        fs::write(path.join("file"), "").expect("a file in it");
        replace(&path, b"content").expect_err("a directory cannot be replaced");
        replace(Path::new("/"), b"content").expect_err("nor can the root");
        assert_eq!(fs::read_dir(&directory).expect("the directory").count(), 1);
    }
}
