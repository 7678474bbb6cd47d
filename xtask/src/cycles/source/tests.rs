//! Small crates on disk, and the edges found in them.

use std::fs;

use tempfile::TempDir;

use super::*;

/// Writes the files and returns the crate's directory.
fn sources(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }
    directory
}

fn modules(files: &[(&str, &str)]) -> Modules {
    let directory = sources(files);
    read(&directory.path().join("lib.rs")).expect("readable sources")
}

/// Returns `true` if `body`, in the module `a` of a crate with modules `a` and `b`, is an edge from `a` to `b`.
fn uses_b(body: &str) -> bool {
    let modules = modules(&[
        (
            "lib.rs",
            "mod a; mod b; pub use b::{Thing, deep::Other as Renamed}; pub struct Own;",
        ),
        ("a.rs", body),
        (
            "b.rs",
            "pub struct Thing; pub mod deep { pub struct Other; }",
        ),
    ]);
    assert!(modules.unresolved.is_empty(), "{:?}", modules.unresolved);
    modules.graph.len() == 1
}

#[test]
fn paths_from_the_crate_root_are_edges() {
    for body in [
        "use crate::b;",
        "use crate::b::Thing;",
        "use crate::{Own, b::{Thing}};",
        "use super::b::Thing;",
        "use self::super::b::Thing;",
        "fn f(_: crate::b::Thing) {}",
        "fn f() { let _ = Vec::<crate::b::Thing>::new(); }",
        "fn f() { println!(\"{:?}\", crate::b::Thing); }",
        "macro_rules! m { () => { $crate::b::Thing }; }",
        "mod inner { use super::super::b::Thing; }",
        "#[serde(with = \"crate::b\")] struct S;",
        "#[cfg(feature = \"x\")] use crate::b::Thing;",
    ] {
        assert!(uses_b(body), "{body}");
    }
}

#[test]
fn names_that_the_root_exports_lead_to_their_module() {
    for body in [
        "use crate::Thing;",
        "use crate::Renamed;",
        "use super::Thing as Local;",
        "fn f(_: crate::Thing) {}",
    ] {
        assert!(uses_b(body), "{body}");
    }
}

#[test]
fn paths_within_the_module_or_the_root_are_not_edges() {
    for body in [
        "use crate::a::inner; mod inner {}",
        "mod inner { use super::Sibling; } struct Sibling;",
        "use crate::Own;",
        "use std::fmt;",
        "pub(in crate::a) struct S;",
        "/// See [`crate::b::Thing`].\nstruct S;",
        "fn f() -> &'static str { \"crate::b\" }",
    ] {
        assert!(!uses_b(body), "{body}");
    }
}

#[test]
fn code_of_tests_and_fuzzing_is_left_out() {
    for body in [
        "#[cfg(test)] use crate::b::Thing;",
        "#[cfg(any(test, fuzzing))] fn f(_: crate::b::Thing) {}",
        "#[cfg(test)] mod tests { use crate::b::Thing; }",
        "fn f() { #[cfg(test)] crate::b::count(); }",
        "fn f() { #[cfg(test)] let _ = crate::b::Thing; }",
        "fn f() { #[cfg(test)] println!(\"{:?}\", crate::b::Thing); }",
        "struct S { #[cfg(test)] field: crate::b::Thing }",
        "struct S; impl S { #[cfg(test)] fn f(_: crate::b::Thing) {} }",
    ] {
        assert!(!uses_b(body), "{body}");
    }
}

#[test]
fn files_of_nested_modules_are_read_in_both_layouts() {
    let modules = modules(&[
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a/mod.rs", "mod inner;"),
        ("a/inner.rs", "use super::super::b::B;"),
        ("b.rs", "mod inner; pub struct B;"),
        ("b/inner.rs", "\nuse crate::c::C;"),
        ("c.rs", "pub struct C;"),
    ]);
    assert_eq!(modules.graph.len(), 2);
    let place = modules.graph.place("b", "c");
    assert!(place.file.ends_with("b/inner.rs"), "{place:?}");
    assert_eq!(place.line, 2);
}

#[test]
fn a_file_that_only_tests_compile_is_left_out() {
    let modules = modules(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "#![cfg(test)]\nuse crate::b;"),
        ("b.rs", ""),
    ]);
    assert_eq!(modules.graph.len(), 0);
}

#[test]
fn an_exported_macro_leads_to_its_module() {
    let modules = modules(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "fn f() { crate::make!(); }"),
        ("b.rs", "#[macro_export] macro_rules! make { () => {}; }"),
    ]);
    assert_eq!(modules.graph.place("a", "b").line, 1);
}

#[test]
fn a_cycle_is_found_through_a_name_of_the_root() {
    let modules = modules(&[
        ("lib.rs", "mod a; mod b; pub use a::A;"),
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "use crate::A; pub struct B;"),
    ]);
    let cycles: Vec<_> = modules.graph.cycles().into_iter().collect();
    assert_eq!(cycles, [["a", "b", "a"]]);
}

#[test]
fn a_path_that_cannot_be_resolved_is_reported() {
    for body in [
        "use crate::*;",
        "use super::*;",
        "use crate::Hidden;",
        "m! { use crate::{b} }",
    ] {
        let modules = modules(&[
            ("lib.rs", "mod a; mod b; pub use b::*;"),
            ("a.rs", body),
            ("b.rs", "pub struct Hidden;"),
        ]);
        assert_eq!(modules.unresolved.len(), 1, "{body}");
    }
}

#[test]
fn an_unreadable_file_and_a_path_attribute_end_the_check() {
    for (lib, message) in [
        ("mod a;", "cannot read"),
        ("#[path = \"x.rs\"] mod a;", "#[path]"),
        ("mod {", "lib.rs:1"),
    ] {
        let directory = sources(&[("lib.rs", lib)]);
        let error = read(&directory.path().join("lib.rs")).err().expect(lib);
        assert!(format!("{error:#}").contains(message), "{error:#}");
    }
}
