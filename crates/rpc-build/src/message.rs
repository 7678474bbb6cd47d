//! Messages that carry secret values: their `Debug`, and which methods they make sensitive.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use prost_types::{DescriptorProto, FieldDescriptorProto, MessageOptions};

use crate::Error;
use crate::naming::{camel, snake};
use crate::source::{MessageInfo, Sources};

/// The messages and fields that `Debug` hides.
#[derive(Clone)]
pub(crate) struct Redaction {
    /// Full names of messages to the names of their hidden fields. Messages nested in such a
    /// message have an entry too, which may be empty.
    hidden: HashMap<String, HashSet<String>>,
    /// Full names of messages that contain, at any depth, something hidden.
    sensitive: HashSet<String>,
}

impl Redaction {
    /// Finds the messages and fields with these names.
    pub(crate) fn new(sources: &Sources, names: &[String]) -> Result<Self, Error> {
        let messages: Vec<_> = sources.files.iter().flat_map(Sources::messages).collect();
        let mut hidden: HashMap<String, HashSet<String>> = HashMap::new();
        for name in names {
            let wanted = name.trim_start_matches('.');
            let (message, fields) =
                find(&messages, wanted).ok_or_else(|| Error::UnknownName { name: name.clone() })?;
            hidden.entry(message).or_default().extend(fields);
        }
        let sensitive = spread(&messages, hidden.keys().cloned().collect());
        for message in &messages {
            if hidden
                .keys()
                .any(|outer| is_within(&message.full_name, outer))
            {
                hidden.entry(message.full_name.clone()).or_default();
            }
        }
        Ok(Self { hidden, sensitive })
    }

    /// Returns the messages whose `Debug` is not derived, in the form that prost takes.
    pub(crate) fn messages(&self) -> Vec<String> {
        let mut names: Vec<_> = self.hidden.keys().map(|name| format!(".{name}")).collect();
        names.sort_unstable();
        names
    }

    /// Returns `true` if a message (full name, with or without a leading dot) can contain a hidden
    /// field.
    pub(crate) fn is_sensitive(&self, message: &str) -> bool {
        self.sensitive.contains(message.trim_start_matches('.'))
    }

    /// Returns the `Debug` of a message, of its `oneof`s and of its enums, if the message or one around
    /// it has a hidden field: prost then derives none of them.
    pub(crate) fn debug_impl(&self, message: &MessageInfo<'_>) -> Option<String> {
        let hidden = self.hidden.get(&message.full_name)?;
        if message
            .descriptor
            .options
            .as_ref()
            .is_some_and(MessageOptions::map_entry)
        {
            return None; // prost has no struct for the entries of a map.
        }
        let name = camel(message.descriptor.name());
        let around: String = message
            .outer
            .iter()
            .map(|outer| snake(outer) + "::")
            .collect();
        let within = format!("{around}{}::", snake(message.descriptor.name()));
        let mut code = struct_debug(
            &format!("{around}{name}"),
            &name,
            message.descriptor,
            hidden,
        );
        for (index, oneof) in oneofs(message.descriptor) {
            let members = message.descriptor.field.iter();
            let members = members.filter(|field| is_member(field, index));
            let path = format!("{within}{}", camel(oneof));
            code.push_str(&oneof_debug(&path, members, hidden));
        }
        for enumeration in &message.descriptor.enum_type {
            let path = format!("{within}{}", camel(enumeration.name()));
            code.push_str(&debug(&path, "        f.write_str(self.as_str_name())\n"));
        }
        Some(code)
    }
}

fn debug(path: &str, body: &str) -> String {
    format!(
        "#[allow(deprecated, reason = \"deprecated fields are shown as well\")]\n\
             impl ::core::fmt::Debug for {path} {{\n    \
             fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{\n\
             {body}    }}\n}}\n"
    )
}

fn struct_debug(
    path: &str,
    name: &str,
    message: &DescriptorProto,
    hidden: &HashSet<String>,
) -> String {
    let mut body = format!("        f.debug_struct(\"{name}\")\n");
    let mut show = |label: &str, redacted: bool| {
        let value = if redacted {
            REDACTED.to_owned()
        } else {
            format!("&self.{}", snake(label))
        };
        writeln!(body, "            .field(\"{label}\", {value})").expect("strings take all");
    };
    for field in message.field.iter().filter(|field| !is_in_oneof(field)) {
        show(field.name(), hidden.contains(field.name()));
    }
    for (_, oneof) in oneofs(message) {
        show(oneof, false);
    }
    body.push_str("            .finish()\n");
    debug(path, &body)
}

fn oneof_debug<'a>(
    path: &str,
    members: impl Iterator<Item = &'a FieldDescriptorProto>,
    hidden: &HashSet<String>,
) -> String {
    let mut body = "        match self {\n".to_owned();
    for member in members {
        let variant = camel(member.name());
        let (pattern, value) = if hidden.contains(member.name()) {
            ("_", REDACTED)
        } else {
            ("value", "value")
        };
        writeln!(
            body,
            "            Self::{variant}({pattern}) => \
                         f.debug_tuple(\"{variant}\").field({value}).finish(),"
        )
        .expect("strings take all");
    }
    body.push_str("        }\n");
    debug(path, &body)
}

const REDACTED: &str = "&format_args!(\"[redacted]\")";

/// Returns the `oneof`s of a message with their indices. The compiler also makes one for each
/// `optional` field, which prost does not generate.
fn oneofs(message: &DescriptorProto) -> impl Iterator<Item = (i32, &str)> {
    let declared = message.oneof_decl.iter().enumerate();
    let declared = declared.map(|(index, oneof)| (index as i32, oneof.name()));
    declared.filter(|(index, _)| message.field.iter().any(|field| is_member(field, *index)))
}

fn is_member(field: &FieldDescriptorProto, oneof: i32) -> bool {
    is_in_oneof(field) && field.oneof_index == Some(oneof)
}

fn is_in_oneof(field: &FieldDescriptorProto) -> bool {
    field.oneof_index.is_some() && !field.proto3_optional()
}

fn is_within(name: &str, outer: &str) -> bool {
    name.strip_prefix(outer)
        .is_some_and(|rest| rest.starts_with('.'))
}

/// Returns the message and the fields that a name denotes.
fn find(messages: &[MessageInfo<'_>], wanted: &str) -> Option<(String, Vec<String>)> {
    let by_name = |name: &str| messages.iter().find(|message| message.full_name == name);
    let field_names = |message: &MessageInfo<'_>| -> Vec<String> {
        message
            .descriptor
            .field
            .iter()
            .map(|field| field.name().to_owned())
            .collect()
    };
    if let Some(message) = by_name(wanted) {
        return Some((message.full_name.clone(), field_names(message)));
    }
    let (message, field) = wanted.rsplit_once('.')?;
    let message = by_name(message)?;
    let known = field_names(message).iter().any(|name| name == field);
    known.then(|| (message.full_name.clone(), vec![field.to_owned()]))
}

/// Adds every message that has a field of a type which is in the set already.
fn spread(messages: &[MessageInfo<'_>], mut sensitive: HashSet<String>) -> HashSet<String> {
    loop {
        let before = sensitive.len();
        for message in messages {
            let mut types = message
                .descriptor
                .field
                .iter()
                .map(FieldDescriptorProto::type_name);
            if types.any(|name| sensitive.contains(name.trim_start_matches('.'))) {
                sensitive.insert(message.full_name.clone());
            }
        }
        if sensitive.len() == before {
            return sensitive;
        }
    }
}
