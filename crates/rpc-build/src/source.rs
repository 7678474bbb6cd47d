//! The `.proto` files: read and compiled, with the places of their definitions.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};
use protox::Compiler;

use crate::{Error, comments};

/// Numbers of fields in `google/protobuf/descriptor.proto`, the components of paths to places.
pub(crate) mod field {
    pub(crate) const FILE_MESSAGE: i32 = 4;
    pub(crate) const FILE_ENUM: i32 = 5;
    pub(crate) const FILE_SERVICE: i32 = 6;
    pub(crate) const MESSAGE_NESTED: i32 = 3;
    pub(crate) const MESSAGE_ENUM: i32 = 4;
    pub(crate) const ENUM_VALUE: i32 = 2;
    pub(crate) const SERVICE_METHOD: i32 = 2;
}

/// All files, imports before those that import them.
pub(crate) struct Sources {
    pub(crate) files: Vec<FileDescriptorProto>,
    paths: HashMap<String, PathBuf>,
}

impl Sources {
    pub(crate) fn read(
        protos: &[impl AsRef<Path>],
        includes: &[impl AsRef<Path>],
    ) -> Result<Self, Error> {
        missing(protos, includes)?;
        let mut compiler = Compiler::new(includes).map_err(Error::Proto)?;
        compiler.include_imports(true).include_source_info(true);
        compiler.open_files(protos).map_err(Error::from_compiler)?;
        let FileDescriptorSet { file: mut files } = compiler.file_descriptor_set();
        files.iter_mut().for_each(comments::mark_code);
        let mut sources = Self {
            files,
            paths: HashMap::new(),
        };
        for file in compiler.files() {
            if let Some(path) = file.path() {
                sources
                    .paths
                    .insert(file.name().to_owned(), path.to_owned());
            }
        }
        Ok(sources)
    }

    /// Registers the files with Cargo, which runs the build script again when one of them changes.
    #[allow(
        clippy::print_stdout,
        reason = "Cargo reads the standard output of build scripts"
    )]
    pub(crate) fn watch(&self) {
        for path in self.paths.values() {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }

    /// Returns `file:line:column` of a definition as far as it is known.
    pub(crate) fn place(&self, file: &FileDescriptorProto, path: &[i32]) -> String {
        let name = self.paths.get(file.name());
        let name = name.map_or_else(|| file.name().to_owned(), |path| path.display().to_string());
        let locations = file.source_code_info.iter().flat_map(|info| &info.location);
        let span = locations
            .filter(|location| location.path == path)
            .map(|location| &location.span);
        match span.map(Vec::as_slice).next() {
            Some([line, column, ..]) => format!("{name}:{}:{}", line + 1, column + 1),
            _ => name,
        }
    }

    /// Returns every message of a file with its full name, nested ones after those around them.
    pub(crate) fn messages(file: &FileDescriptorProto) -> Vec<MessageInfo<'_>> {
        let mut found = Vec::new();
        for message in &file.message_type {
            collect_messages(file.package(), Vec::new(), message, &mut found);
        }
        found
    }
}

/// Finds a missing file or include directory, which the compiler would report as a file outside of
/// the include directories.
fn missing(protos: &[impl AsRef<Path>], includes: &[impl AsRef<Path>]) -> Result<(), Error> {
    let includes = includes.iter().map(AsRef::as_ref);
    if let Some(path) = includes.clone().find(|include| !include.is_dir()) {
        return Err(Error::Missing {
            what: "include directory",
            path: path.to_owned(),
        });
    }
    let is_missing = |proto: &&Path| {
        !proto.is_file()
            && !includes
                .clone()
                .any(|include| include.join(proto).is_file())
    };
    match protos.iter().map(AsRef::as_ref).find(is_missing) {
        Some(path) => Err(Error::Missing {
            what: "file",
            path: path.to_owned(),
        }),
        None => Ok(()),
    }
}

/// A message with the names of the messages around it.
pub(crate) struct MessageInfo<'a> {
    /// `package.Outer.Inner`.
    pub(crate) full_name: String,
    /// `Outer`, for a message `Inner` in it.
    pub(crate) outer: Vec<String>,
    pub(crate) descriptor: &'a DescriptorProto,
}

fn collect_messages<'a>(
    scope: &str,
    outer: Vec<String>,
    descriptor: &'a DescriptorProto,
    found: &mut Vec<MessageInfo<'a>>,
) {
    let name = descriptor.name();
    let full_name = if scope.is_empty() {
        name.to_owned()
    } else {
        format!("{scope}.{name}")
    };
    let mut inner = outer.clone();
    inner.push(name.to_owned());
    found.push(MessageInfo {
        full_name: full_name.clone(),
        outer,
        descriptor,
    });
    for nested in &descriptor.nested_type {
        collect_messages(&full_name, inner.clone(), nested, found);
    }
}
