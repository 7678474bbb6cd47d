//! Units that a package has installed, as in `/usr/lib/systemd/user`.

use std::fs;
use std::path::{Path, PathBuf};

use super::units::{SERVICE, SOCKET};

/// Where systemd looks for a program without a directory.
const PROGRAM_DIRS: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

/// The units of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) directory: PathBuf,
    /// The program that the service runs, if it is there.
    pub(super) program: Option<PathBuf>,
}

impl Package {
    /// Finds the units that systemd would use without those in `own`.
    pub(super) fn find(unit_dirs: &[PathBuf], own: &Path) -> Option<Self> {
        let mut others = unit_dirs.iter().filter(|directory| *directory != own);
        let directory = others.find(|directory| {
            let is_file = |name| directory.join(name).is_file();
            is_file(SOCKET) && is_file(SERVICE)
        })?;
        let service = fs::read_to_string(directory.join(SERVICE)).unwrap_or_default();
        Some(Self {
            directory: directory.clone(),
            program: program_of(&service),
        })
    }

    /// Returns `true` if the service runs this program.
    pub(super) fn runs(&self, program: &Path) -> bool {
        self.program.as_deref() == Some(program)
    }
}

/// Returns the program of a service.
fn program_of(service: &str) -> Option<PathBuf> {
    let command = service
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))?;
    let program = match command.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => command.split_whitespace().next(),
    }?;
    let candidates = match Path::new(program) {
        path if path.is_absolute() => vec![path.to_owned()],
        name => PROGRAM_DIRS
            .map(|directory| Path::new(directory).join(name))
            .to_vec(),
    };
    // As the kernel names the executable of this process.
    candidates
        .iter()
        .find_map(|path| fs::canonicalize(path).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_of_a_service_is_found() {
        let shell = fs::canonicalize("/bin/sh").unwrap();
        for command in ["/bin/sh serve", "\"/bin/sh\" serve", "sh serve"] {
            let service = format!("[Service]\nType=notify\nExecStart={command}\n");
            assert_eq!(program_of(&service), Some(shell.clone()), "{command}");
        }
        assert_eq!(program_of("ExecStart=/nonexistent/keyway serve\n"), None);
        assert_eq!(program_of("[Service]\n"), None);
    }

    #[test]
    fn the_first_directory_with_both_units_counts_except_the_own() {
        let home = tempfile::tempdir().unwrap();
        let [own, half, first, second] = ["own", "half", "first", "second"].map(|name| {
            let directory = home.path().join(name);
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join(SOCKET), "").unwrap();
            directory
        });
        for directory in [&own, &first, &second] {
            fs::write(directory.join(SERVICE), "ExecStart=/bin/sh\n").unwrap();
        }
        let directories = [own.clone(), half, first.clone(), second];
        let package = Package::find(&directories, &own).unwrap();
        assert_eq!(package.directory, first);
        assert!(package.runs(&fs::canonicalize("/bin/sh").unwrap()));
        assert_eq!(Package::find(&directories[..2], &own), None);
    }
}
