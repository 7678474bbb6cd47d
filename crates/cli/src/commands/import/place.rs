//! Where a file is, from which the beginning of its ids follows.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::formats::Format;

/// The place of a file.
#[derive(Debug)]
pub(super) struct Place {
    /// The root of its git work tree.
    pub(super) repository: Option<PathBuf>,
    /// The names of its project and of the directories within, with which its ids begin.
    pub(super) names: Vec<String>,
}

impl Place {
    /// Examines the directories above `file`, an absolute path without links.
    pub(super) fn of(file: &Path, format: Format, home: Option<&Path>) -> Self {
        let directory = file.parent().unwrap_or(Path::new("/"));
        let has_repository = |directory: &&Path| directory.join(".git").exists();
        let repository = directory.ancestors().find(has_repository);
        let is_at_home = home.is_some_and(|home| home == directory);
        let mut names = match format {
            Format::Env | Format::Shell | Format::Npmrc if !is_at_home => {
                let root = repository.filter(|root| Some(*root) != home);
                project_names(directory, root.unwrap_or(directory))
            }
            Format::Env => vec!["env".to_owned()],
            Format::Shell => vec!["shell".to_owned()],
            // Their ids begin with the name of the program.
            Format::Aws
            | Format::GitCredentials
            | Format::Netrc
            | Format::Npmrc
            | Format::Pypirc => Vec::new(),
        };
        if format == Format::Env {
            names.extend(variant(file));
        }
        Self {
            repository: repository.map(Path::to_owned),
            names,
        }
    }
}

/// Returns the name of the project and of the directories from its root to `directory`.
fn project_names(directory: &Path, root: &Path) -> Vec<String> {
    let below = directory.strip_prefix(root).unwrap_or(Path::new(""));
    let names = root.file_name().into_iter().chain(below);
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// Returns `production` for `.env.production` and `production.env`.
fn variant(file: &Path) -> Option<String> {
    let name = file.file_name().and_then(OsStr::to_str)?;
    let variant = name
        .strip_prefix(".env.")
        .or_else(|| name.strip_suffix(".env"))?;
    (!variant.is_empty()).then(|| variant.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_begin_with_the_project_and_the_directories_within() {
        let home = tempfile::tempdir().unwrap();
        let project = home.path().join("work/shop");
        std::fs::create_dir_all(project.join(".git")).unwrap();
        std::fs::create_dir_all(project.join("packages/api")).unwrap();
        let names = |file: &str, format| {
            Place::of(&home.path().join(file), format, Some(home.path()))
                .names
                .join("/")
        };
        assert_eq!(names("work/shop/.env", Format::Env), "shop");
        assert_eq!(
            names("work/shop/packages/api/.env.production", Format::Env),
            "shop/packages/api/production"
        );
        assert_eq!(names("work/shop/.npmrc", Format::Npmrc), "shop");
        assert_eq!(names("work/.envrc", Format::Shell), "work");
        assert_eq!(names(".bashrc", Format::Shell), "shell");
        assert_eq!(names(".npmrc", Format::Npmrc), "");
        assert_eq!(names("work/shop/.netrc", Format::Netrc), "");
        let place = Place::of(
            &project.join("packages/api/.env"),
            Format::Env,
            Some(home.path()),
        );
        assert_eq!(place.repository, Some(project));
        // A home that is a work tree of dotfiles is not a project.
        std::fs::create_dir(home.path().join(".git")).unwrap();
        assert_eq!(names("scripts/deploy.sh", Format::Shell), "scripts");
    }
}
