//! Walks the files of a crate and collects the paths that begin at its root.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta, UseTree};

use super::super::graph::Place;
use super::cfg::{attributes_of, is_for_tests_only};

/// A path `crate::name` in the top-level module `from`.
pub(super) struct Reference {
    pub(super) from: String,
    pub(super) name: String,
    pub(super) place: Place,
}

/// One segment of a path, with its line.
type Segment = (String, usize);

/// Collects references while it descends into modules.
#[derive(Default)]
pub(super) struct Visitor {
    pub(super) references: Vec<Reference>,
    /// Names of `#[macro_export]` macros, which are at the root wherever they are defined, each with its module.
    pub(super) exported_macros: Vec<(String, String)>,
    /// Faults that end the check: unreadable files and modules whose file is not where Rust looks first.
    pub(super) faults: Vec<String>,
    /// The items of the root.
    pub(super) root: Option<Vec<Item>>,
    /// The module being read, empty in the root.
    path: Vec<String>,
    file: PathBuf,
    /// The directory that holds the files of the modules declared in the current one.
    directory: PathBuf,
}

impl Visitor {
    /// Reads the crate root and all below it.
    pub(super) fn visit_root(&mut self, root: &Path) {
        match parse(root) {
            Ok(file) => {
                self.file = root.to_owned();
                self.directory = root.parent().unwrap_or(Path::new("")).to_owned();
                self.visit_file(&file);
                self.root = Some(file.items);
            }
            Err(error) => self.faults.push(format!("{error:#}")),
        }
    }

    /// Reads the file of `mod name;`.
    fn visit_module_file(&mut self, name: &str) -> Result<()> {
        let plain = self.directory.join(format!("{name}.rs"));
        let nested = self.directory.join(name).join("mod.rs");
        let path = if plain.exists() { plain } else { nested };
        let file = parse(&path)?;
        if is_for_tests_only(&file.attrs) {
            return Ok(());
        }
        let outer_file = std::mem::replace(&mut self.file, path);
        self.inside(name, |visitor| visitor.visit_file(&file));
        self.file = outer_file;
        Ok(())
    }

    /// Runs `body` as if in the module `name` of the current one.
    fn inside(&mut self, name: &str, body: impl FnOnce(&mut Self)) {
        self.path.push(name.to_owned());
        self.directory.push(name);
        body(self);
        self.directory.pop();
        self.path.pop();
    }

    /// Keeps the path if it begins at the crate root and this is not the root.
    fn record(&mut self, segments: &[Segment]) {
        let Some(from) = self.path.first() else {
            return;
        };
        let Some(beyond) = beyond_root(segments, self.path.len()) else {
            return;
        };
        if let Some((name, line)) = beyond.first() {
            self.references.push(Reference {
                from: from.clone(),
                name: name.clone(),
                place: Place {
                    file: self.file.clone(),
                    line: *line,
                },
            });
        }
    }

    fn record_use(&mut self, tree: &UseTree, before: &mut Vec<Segment>) {
        let segment = |ident: &proc_macro2::Ident| (ident.to_string(), ident.span().start().line);
        match tree {
            UseTree::Path(path) => {
                before.push(segment(&path.ident));
                self.record_use(&path.tree, before);
                before.pop();
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.record_use(tree, before);
                }
            }
            UseTree::Name(name) => self.record_leaf(before, segment(&name.ident)),
            UseTree::Rename(rename) => self.record_leaf(before, segment(&rename.ident)),
            UseTree::Glob(glob) => {
                let line = glob.star_token.spans[0].start().line;
                self.record_leaf(before, ("*".to_owned(), line));
            }
        }
    }

    fn record_leaf(&mut self, before: &mut Vec<Segment>, leaf: Segment) {
        before.push(leaf);
        self.record(before);
        before.pop();
    }

    /// Finds paths in tokens that are not parsed: calls and definitions of macros, arguments of attributes.
    fn scan(&mut self, tokens: TokenStream) {
        let mut path: Vec<Segment> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.record(&path);
                        path.clear();
                    }
                    path.push((ident.to_string(), ident.span().start().line));
                    colons = 0;
                }
                other => {
                    if let (2, TokenTree::Group(group)) = (colons, &other) {
                        // A group in an unparsed `use`: reported, because nothing reads its parts as paths.
                        path.push(("{}".to_owned(), group.span_open().start().line));
                    }
                    self.record(&path);
                    path.clear();
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.scan(group.stream());
                    }
                }
            }
        }
        self.record(&path);
    }

    /// Finds a path in a string argument, as in `#[serde(with = "crate::times")]`.
    fn scan_strings(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.scan_strings(group.stream()),
                TokenTree::Literal(literal) => {
                    let line = literal.span().start().line;
                    let text = literal.to_string();
                    let segments: Vec<_> = text
                        .trim_matches('"')
                        .split("::")
                        .map(|name| (name.to_owned(), line))
                        .collect();
                    self.record(&segments);
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Visitor {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests_only(item_attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let name = module.ident.to_string();
        if module.attrs.iter().any(|attr| attr.path().is_ident("path")) {
            let file = self.file.display();
            self.faults
                .push(format!("{file}: `mod {name}` names its file with #[path]"));
        } else if let Some((_, items)) = &module.content {
            self.inside(&name, |visitor| {
                items.iter().for_each(|item| visitor.visit_item(item));
            });
        } else if let Err(error) = self.visit_module_file(&name) {
            self.faults.push(format!("{error:#}"));
        }
    }

    fn visit_item_use(&mut self, import: &'ast syn::ItemUse) {
        self.record_use(&import.tree, &mut Vec::new());
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        let is_exported = item
            .attrs
            .iter()
            .any(|attr| attr.path().is_ident("macro_export"));
        if let (true, Some(name), Some(module)) = (is_exported, &item.ident, self.path.first()) {
            self.exported_macros
                .push((name.to_string(), module.clone()));
        }
        visit::visit_item_macro(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let attributes: &[Attribute] = match item {
            syn::ImplItem::Const(item) => &item.attrs,
            syn::ImplItem::Fn(item) => &item.attrs,
            syn::ImplItem::Type(item) => &item.attrs,
            syn::ImplItem::Macro(item) => &item.attrs,
            _ => &[],
        };
        if !is_for_tests_only(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast syn::TraitItem) {
        let attributes: &[Attribute] = match item {
            syn::TraitItem::Const(item) => &item.attrs,
            syn::TraitItem::Fn(item) => &item.attrs,
            syn::TraitItem::Type(item) => &item.attrs,
            syn::TraitItem::Macro(item) => &item.attrs,
            _ => &[],
        };
        if !is_for_tests_only(attributes) {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !is_for_tests_only(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_field_value(&mut self, field: &'ast syn::FieldValue) {
        if !is_for_tests_only(&field.attrs) {
            visit::visit_field_value(self, field);
        }
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        if !is_for_tests_only(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if !is_for_tests_only(&arm.attrs) {
            visit::visit_arm(self, arm);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if !is_for_tests_only(&local.attrs) {
            visit::visit_local(self, local);
        }
    }

    fn visit_stmt_macro(&mut self, statement: &'ast syn::StmtMacro) {
        if !is_for_tests_only(&statement.attrs) {
            visit::visit_stmt_macro(self, statement);
        }
    }

    fn visit_expr(&mut self, expression: &'ast syn::Expr) {
        if !is_for_tests_only(attributes_of(expression)) {
            visit::visit_expr(self, expression);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let segments: Vec<_> = path
                .segments
                .iter()
                .map(|segment| {
                    let ident = &segment.ident;
                    (ident.to_string(), ident.span().start().line)
                })
                .collect();
            self.record(&segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.scan(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.scan(list.tokens.clone());
            self.scan_strings(list.tokens.clone());
        }
    }

    // `pub(in crate::a)` uses nothing of `a`.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
}

/// The part behind the crate root of a path in a module `depth` levels below it; `None` if it does not begin
/// there.
fn beyond_root(segments: &[Segment], depth: usize) -> Option<&[Segment]> {
    let (first, rest) = segments.split_first()?;
    if first.0 == "crate" {
        return Some(rest);
    }
    let path = if first.0 == "self" { rest } else { segments };
    let ups = path.iter().take_while(|(name, _)| name == "super").count();
    (ups > 0 && ups == depth).then(|| &path[ups..])
}

fn item_attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn parse(path: &Path) -> Result<syn::File> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    match syn::parse_file(&text) {
        Ok(file) => Ok(file),
        Err(error) => bail!("{}:{}: {error}", path.display(), error.span().start().line),
    }
}
