//! The modules that use each other, and the cycles among them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

/// The location of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    pub(super) line: usize,
}

/// The edges between the top-level modules of one crate, each with the first place that causes it.
#[derive(Default)]
pub(super) struct Graph {
    edges: BTreeMap<String, BTreeMap<String, Place>>,
}

impl Graph {
    /// Adds the edge unless it exists or leads back to its start.
    pub(super) fn add(&mut self, from: &str, to: &str, place: Place) {
        if from != to {
            self.edges
                .entry(from.to_owned())
                .or_default()
                .entry(to.to_owned())
                .or_insert(place);
        }
    }

    /// The number of edges.
    pub(super) fn len(&self) -> usize {
        self.edges.values().map(BTreeMap::len).sum()
    }

    /// The place of an edge.
    ///
    /// # Panics
    ///
    /// Panics if there is no such edge.
    pub(super) fn place(&self, from: &str, to: &str) -> &Place {
        &self.edges[from][to]
    }

    /// Returns a shortest cycle through each module that lies on one; each begins and ends with its first name in
    /// alphabetical order and appears once.
    pub(super) fn cycles(&self) -> BTreeSet<Vec<String>> {
        self.edges
            .keys()
            .filter_map(|module| self.shortest_cycle(module))
            .map(from_first_name)
            .collect()
    }

    /// Searches breadth first from `start` back to itself.
    fn shortest_cycle(&self, start: &str) -> Option<Vec<String>> {
        let mut came_from = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(module) = queue.pop_front() {
            for next in self.edges.get(module).into_iter().flat_map(BTreeMap::keys) {
                if next == start {
                    return Some(path_back(start, module, &came_from));
                }
                if !came_from.contains_key(next.as_str()) {
                    came_from.insert(next.as_str(), module);
                    queue.push_back(next);
                }
            }
        }
        None
    }
}

/// Returns the path from `start` to `last`.
fn path_back(start: &str, last: &str, came_from: &BTreeMap<&str, &str>) -> Vec<String> {
    let mut path = vec![last.to_owned()];
    let mut module = last;
    while module != start {
        module = came_from[module];
        path.push(module.to_owned());
    }
    path.reverse();
    path
}

/// Rotates the cycle to its first name and closes it.
fn from_first_name(mut cycle: Vec<String>) -> Vec<String> {
    let first = (0..cycle.len())
        .min_by_key(|index| &cycle[*index])
        .unwrap_or(0);
    cycle.rotate_left(first);
    cycle.push(cycle[0].clone());
    cycle
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::default();
        for (line, (from, to)) in edges.iter().enumerate() {
            let place = Place {
                file: PathBuf::from("lib.rs"),
                line,
            };
            graph.add(from, to, place);
        }
        graph
    }

    fn cycles(edges: &[(&str, &str)]) -> Vec<String> {
        graph(edges)
            .cycles()
            .iter()
            .map(|cycle| cycle.join(" -> "))
            .collect()
    }

    #[test]
    fn a_layered_graph_has_no_cycle() {
        assert!(cycles(&[("a", "b"), ("a", "c"), ("b", "c"), ("c", "d")]).is_empty());
    }

    #[test]
    fn a_cycle_is_reported_once_from_its_first_name() {
        assert_eq!(
            cycles(&[("c", "a"), ("b", "c"), ("a", "b"), ("d", "a")]),
            ["a -> b -> c -> a"]
        );
    }

    #[test]
    fn the_shortest_of_several_cycles_through_a_module_is_reported() {
        assert_eq!(
            cycles(&[("a", "b"), ("b", "c"), ("c", "a"), ("b", "a")]),
            ["a -> b -> a", "a -> b -> c -> a"]
        );
    }

    #[test]
    fn a_module_that_uses_itself_is_not_a_cycle() {
        let graph = graph(&[("a", "a")]);
        assert_eq!((graph.len(), graph.cycles().len()), (0, 0));
    }

    #[test]
    fn an_edge_keeps_its_first_place() {
        let graph = graph(&[("a", "b"), ("a", "b")]);
        assert_eq!((graph.len(), graph.place("a", "b").line), (1, 0));
    }
}
