//! Finds messages, enums and values of enums that would get the same name in Rust, while their lines
//! are still known.

use std::collections::{HashMap, HashSet};

use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, MessageOptions};

use crate::Error;
use crate::naming::camel;
use crate::source::{Sources, field};

/// Checks all files. The values of enums are checked `with_values` alone, because settings of prost
/// may change their names.
pub(crate) fn check(sources: &Sources, with_values: bool) -> Result<(), Error> {
    let mut packages: HashMap<&str, HashSet<String>> = HashMap::new();
    for file in &sources.files {
        let types = Types {
            sources,
            file,
            with_values,
        };
        let scope = Scope {
            path: Vec::new(),
            messages: (field::FILE_MESSAGE, &file.message_type),
            enums: (field::FILE_ENUM, &file.enum_type),
        };
        types.check(&scope, packages.entry(file.package()).or_default())?;
    }
    Ok(())
}

/// The definitions of a file or a message, with the numbers of the fields that hold them.
struct Scope<'a> {
    path: Vec<i32>,
    messages: (i32, &'a [DescriptorProto]),
    enums: (i32, &'a [EnumDescriptorProto]),
}

impl Scope<'_> {
    fn place(&self, field: i32, index: usize) -> Vec<i32> {
        [self.path.as_slice(), &[field, index as i32]].concat()
    }
}

struct Types<'a> {
    sources: &'a Sources,
    file: &'a FileDescriptorProto,
    with_values: bool,
}

impl Types<'_> {
    /// Checks a scope and all scopes within it; `taken` holds the names that exist already.
    fn check(&self, scope: &Scope<'_>, taken: &mut HashSet<String>) -> Result<(), Error> {
        let (field, messages) = scope.messages;
        for (index, message) in messages.iter().enumerate() {
            let path = scope.place(field, index);
            let is_entry = message
                .options
                .as_ref()
                .is_some_and(MessageOptions::map_entry);
            if !is_entry {
                self.take(
                    taken,
                    "message",
                    message.name(),
                    camel(message.name()),
                    &path,
                )?;
            }
            let within = Scope {
                path,
                messages: (field::MESSAGE_NESTED, &message.nested_type),
                enums: (field::MESSAGE_ENUM, &message.enum_type),
            };
            self.check(&within, &mut HashSet::new())?;
        }
        let (field, enums) = scope.enums;
        for (index, enumeration) in enums.iter().enumerate() {
            let path = scope.place(field, index);
            let name = enumeration.name();
            self.take(taken, "enum", name, camel(name), &path)?;
            if self.with_values {
                self.check_values(enumeration, &path)?;
            }
        }
        Ok(())
    }

    /// prost removes the name of the enum from the names of its values, and leaves out a second name
    /// of the same number.
    fn check_values(&self, enumeration: &EnumDescriptorProto, path: &[i32]) -> Result<(), Error> {
        let (mut numbers, mut taken) = (HashSet::new(), HashSet::new());
        let prefix = camel(enumeration.name());
        for (index, value) in enumeration.value.iter().enumerate() {
            if numbers.insert(value.number()) {
                let path = [path, &[field::ENUM_VALUE, index as i32]].concat();
                let name = without_prefix(&prefix, camel(value.name()));
                self.take(&mut taken, "value", value.name(), name, &path)?;
            }
        }
        Ok(())
    }

    fn take(
        &self,
        taken: &mut HashSet<String>,
        kind: &str,
        proto_name: &str,
        name: String,
        path: &[i32],
    ) -> Result<(), Error> {
        if taken.insert(name.clone()) {
            return Ok(());
        }
        Err(Error::Collision {
            place: self.sources.place(self.file, path),
            what: format!("the {kind} {proto_name}"),
            name,
        })
    }
}

fn without_prefix(prefix: &str, name: String) -> String {
    match name.strip_prefix(prefix) {
        Some(rest) if rest.starts_with(char::is_uppercase) => rest.to_owned(),
        _ => name,
    }
}
