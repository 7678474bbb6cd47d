//! The descriptors that JSON needs, embedded beside the code of each package.

use std::collections::HashSet;

use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

use crate::output::Output;
use crate::settings::{Emit, Settings};
use crate::source::Sources;

/// Writes a file descriptor set for each package with a service.
pub(crate) struct Descriptors<'a> {
    emit: &'a Emit,
    runtime: &'a str,
    sources: &'a Sources,
}

impl<'a> Descriptors<'a> {
    pub(crate) fn new(settings: &'a Settings, sources: &'a Sources) -> Self {
        Self {
            emit: &settings.json,
            runtime: &settings.runtime_path,
            sources,
        }
    }

    pub(crate) fn add_to(&self, output: &mut Output) {
        for package in output.packages() {
            let file_name = format!("{package}.descriptors.bin");
            output.add_file(&file_name, self.closure(&package).encode_to_vec());
            let (cfg, runtime) = (self.emit.attribute(), self.runtime);
            output.append(
                &package,
                &format!(
                    "/// The descriptors of this package's messages and of all that they refer to, for JSON.\n\
                     {cfg}pub static DESCRIPTORS: {runtime}::json::Descriptors =\n    \
                     {runtime}::json::Descriptors::new(include_bytes!(\"{file_name}\"));\n"
                ),
            );
        }
    }

    /// Returns the files of a package with everything that they import, without comments.
    fn closure(&self, package: &str) -> FileDescriptorSet {
        let files = &self.sources.files;
        let mut wanted: HashSet<&str> = files
            .iter()
            .filter(|file| file.package() == package)
            .map(FileDescriptorProto::name)
            .collect();
        // Imports stand before the files that import them, so one pass from the end finds all.
        for file in files.iter().rev() {
            if wanted.contains(file.name()) {
                wanted.extend(file.dependency.iter().map(String::as_str));
            }
        }
        let file = files
            .iter()
            .filter(|file| wanted.contains(file.name()))
            .cloned();
        let file = file.map(|file| FileDescriptorProto {
            source_code_info: None,
            ..file
        });
        FileDescriptorSet {
            file: file.collect(),
        }
    }
}
