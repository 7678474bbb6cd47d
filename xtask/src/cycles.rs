//! The top-level modules of a crate form no cycle, so that each can be read after those that it uses.

mod graph;
mod source;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;
use graph::Graph;

/// Checks the modules of every library and program of the workspace, and prints how much was checked.
///
/// # Errors
///
/// Lists each cycle with the file and line of each edge, and each path that could not be resolved.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let mut faults = Vec::new();
    let mut roots = 0;
    let mut edges = 0;
    for package in &workspace.packages {
        for target in package.targets.iter().filter(|target| target.is_shipped()) {
            let modules = source::read(&target.src_path)
                .with_context(|| format!("modules of {}", package.name))?;
            roots += 1;
            edges += modules.graph.len();
            faults.extend(
                modules
                    .unresolved
                    .iter()
                    .map(|fault| format!("{}: {fault}", package.name)),
            );
            for cycle in modules.graph.cycles() {
                faults.push(describe(
                    &package.name,
                    &workspace.root,
                    &modules.graph,
                    &cycle,
                ));
            }
        }
    }
    println!("{roots} crates, {edges} edges between their top-level modules");
    if faults.is_empty() {
        return Ok(());
    }
    bail!("modules form cycles:\n  {}", faults.join("\n  "));
}

/// Returns `a -> b -> a` with a line for each edge.
fn describe(package: &str, root: &Path, graph: &Graph, cycle: &[String]) -> String {
    let mut text = format!("{package}: {}", cycle.join(" -> "));
    for edge in cycle.windows(2) {
        let place = graph.place(&edge[0], &edge[1]);
        let file = place.file.strip_prefix(root).unwrap_or(&place.file);
        let _ = write!(
            text,
            "\n    {} -> {}: {}:{}",
            edge[0],
            edge[1],
            file.display(),
            place.line
        );
    }
    text
}
