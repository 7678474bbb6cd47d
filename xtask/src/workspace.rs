//! The workspace as `cargo metadata` describes it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::shell;

/// The workspace's packages and folders.
#[derive(Deserialize)]
pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
    pub(crate) target_directory: PathBuf,
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
}

/// One member.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) features: BTreeMap<String, Vec<String>>,
    pub(crate) manifest_path: PathBuf,
    /// `Some([])` means never published.
    pub(crate) publish: Option<Vec<String>>,
    pub(crate) targets: Vec<Target>,
}

/// One library, program, test or example of a member.
#[derive(Deserialize)]
pub(crate) struct Target {
    pub(crate) kind: Vec<String>,
    /// The crate root.
    pub(crate) src_path: PathBuf,
}

/// One dependency as a manifest declares it.
#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` is a normal dependency; else `build` or `dev`.
    pub(crate) kind: Option<String>,
    /// Set for members of the workspace.
    pub(crate) path: Option<PathBuf>,
}

impl Workspace {
    /// Runs `cargo metadata`.
    ///
    /// # Errors
    ///
    /// Fails if cargo fails or if its output cannot be parsed.
    pub(crate) fn load() -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask lies in the workspace's root")?;
        let text =
            shell::read(shell::cargo(here).args(["metadata", "--format-version=1", "--no-deps"]))?;
        serde_json::from_str(&text).context("cannot parse the output of `cargo metadata`")
    }

    /// Returns the version of a member.
    ///
    /// # Errors
    ///
    /// Fails if there is no such member.
    pub(crate) fn version(&self, name: &str) -> Result<&str> {
        let mut packages = self.packages.iter();
        let package = packages.find(|package| package.name == name);
        let package = package.with_context(|| format!("no member is named {name}"))?;
        Ok(&package.version)
    }

    /// Returns the members that are published, in the order of their names.
    pub(crate) fn published(&self) -> impl Iterator<Item = &Package> {
        let mut packages: Vec<_> = self
            .packages
            .iter()
            .filter(|package| package.is_published())
            .collect();
        packages.sort_by(|left, right| left.name.cmp(&right.name));
        packages.into_iter()
    }
}

impl Package {
    /// Returns `true` if the package may be published.
    pub(crate) fn is_published(&self) -> bool {
        self.publish.as_ref().is_none_or(|list| !list.is_empty())
    }
}

impl Target {
    /// Returns `true` if it is a library or a program.
    pub(crate) fn is_shipped(&self) -> bool {
        self.kind.iter().any(|kind| kind == "lib" || kind == "bin")
    }
}
