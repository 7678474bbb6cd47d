//! Reads the source of one crate and finds which top-level module uses which.
//!
//! Counted are `crate::` paths and those `super::` paths that reach the crate root, in code, in macro calls and in
//! string arguments of attributes. Code that only tests or fuzzing compile does not count, and neither does the crate root: its
//! re-exports and imports are resolved to the module that defines them.

mod cfg;
mod root;
mod visitor;

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::graph::Graph;
use root::{Home, Root};
use visitor::Visitor;

/// The module references in the source of a crate.
pub(super) struct Modules {
    pub(super) graph: Graph,
    /// Paths that the check cannot resolve.
    pub(super) unresolved: Vec<String>,
}

/// Reads the crate whose root is the file `root`.
///
/// # Errors
///
/// Returns an error if a file cannot be read or parsed, and if a module names its file itself (`#[path]`).
pub(super) fn read(root: &Path) -> Result<Modules> {
    let mut visitor = Visitor::default();
    visitor.visit_root(root);
    let Visitor {
        references,
        exported_macros,
        faults,
        root: items,
        ..
    } = visitor;
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    let root = Root::new(
        &items.context("the crate root was not read")?,
        &exported_macros,
    );
    let mut modules = Modules {
        graph: Graph::default(),
        unresolved: Vec::new(),
    };
    for reference in references {
        match root.home(&reference.name) {
            Some(Home::Module(module)) => {
                modules.graph.add(&reference.from, module, reference.place);
            }
            Some(Home::Elsewhere) => {}
            None => modules.unresolved.push(format!(
                "{}:{}: cannot determine which module defines `crate::{}`",
                reference.place.file.display(),
                reference.place.line,
                reference.name
            )),
        }
    }
    Ok(modules)
}

#[cfg(test)]
mod tests;
