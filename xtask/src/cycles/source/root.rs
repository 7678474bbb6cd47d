//! The names of a crate root, each with the module that defines it.

use std::collections::BTreeMap;

use syn::{Item, UseTree};

/// The place where a name of the crate root is defined.
#[derive(Clone)]
pub(super) enum Home {
    /// In this top-level module, or the name is this module.
    Module(String),
    /// In the root itself or in another crate.
    Elsewhere,
}

/// The meaning of `crate::NAME`.
pub(super) struct Root {
    names: BTreeMap<String, Home>,
}

impl Root {
    /// Reads the items of the root; `macros` are the exported macros with the module of each.
    pub(super) fn new(items: &[Item], macros: &[(String, String)]) -> Self {
        let mut names: BTreeMap<_, _> = macros
            .iter()
            .map(|(name, module)| (name.clone(), Home::Module(module.clone())))
            .collect();
        for item in items {
            if let Item::Mod(module) = item {
                let name = module.ident.to_string();
                names.insert(name.clone(), Home::Module(name));
            } else if let Some(name) = defined_name(item) {
                names.insert(name, Home::Elsewhere);
            }
        }
        let mut root = Self { names };
        for item in items {
            if let Item::Use(import) = item {
                root.import(&import.tree, None);
            }
        }
        root
    }

    /// Returns the place where `crate::name` is defined; `None` if this is unknown.
    pub(super) fn home(&self, name: &str) -> Option<&Home> {
        self.names.get(name)
    }

    /// Adds the names of one `use`; `home` is that of the path so far.
    fn import(&mut self, tree: &UseTree, home: Option<Home>) {
        match tree {
            UseTree::Path(path) => {
                let name = path.ident.to_string();
                let home = match home {
                    // `crate::` and `self::` in front of a path in the root change nothing.
                    None if name == "crate" || name == "self" => None,
                    None => Some(self.home(&name).cloned().unwrap_or(Home::Elsewhere)),
                    some => some,
                };
                self.import(&path.tree, home);
            }
            UseTree::Name(name) => self.add(name.ident.to_string(), home),
            UseTree::Rename(rename) => self.add(rename.rename.to_string(), home),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, home.clone());
                }
            }
            // The names behind a glob stay unknown; a path to one of them is reported.
            UseTree::Glob(_) => {}
        }
    }

    fn add(&mut self, name: String, home: Option<Home>) {
        self.names
            .entry(name)
            .or_insert(home.unwrap_or(Home::Elsewhere));
    }
}

fn defined_name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}
