//! Rust names of the definitions in `.proto` files, as prost makes them, and the check of services.

use std::collections::HashSet;

use heck::{ToSnakeCase, ToUpperCamelCase};
use prost_types::FileDescriptorProto;

use crate::Error;
use crate::settings::Settings;
use crate::source::{Sources, field};

/// Words that prost writes as raw identifiers.
const RAW: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn",
    "else", "enum", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "static",
    "struct", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual",
    "where", "while", "yield",
];

/// Words that cannot even be raw identifiers.
const SUFFIXED: &[&str] = &["_", "super", "self", "Self", "extern", "crate"];

/// Names that a method cannot have: those of generated items, and those of methods and functions of
/// traits that every generated client, or an implementation of a generated trait, may have.
/// An inherent method would hide them, and a method of the generated trait would be ambiguous with
/// them.
const RESERVED: &[&str] = &[
    // The generated client, and its `Debug`.
    "fmt",
    "new",
    "with_config",
    // Traits of every type.
    "borrow",
    "borrow_mut",
    "type_id",
    // The prelude of edition 2024.
    "as_mut",
    "as_ref",
    "async_call",
    "async_call_mut",
    "async_call_once",
    "call",
    "call_mut",
    "call_once",
    "clone",
    "clone_from",
    "clone_into",
    "default",
    "drop",
    "eq",
    "extend",
    "extend_one",
    "from",
    "from_iter",
    "into",
    "into_future",
    "into_iter",
    "ne",
    "poll",
    "to_owned",
    "to_string",
    "try_from",
    "try_into",
    // `Ord` and `PartialOrd`.
    "clamp",
    "cmp",
    "ge",
    "gt",
    "le",
    "lt",
    "max",
    "min",
    "partial_cmp",
    // `Iterator`, `DoubleEndedIterator` and `ExactSizeIterator`.
    "advance_back_by",
    "advance_by",
    "all",
    "any",
    "array_chunks",
    "by_ref",
    "chain",
    "cloned",
    "cmp_by",
    "collect",
    "collect_into",
    "copied",
    "count",
    "cycle",
    "enumerate",
    "eq_by",
    "filter",
    "filter_map",
    "find",
    "find_map",
    "flat_map",
    "flatten",
    "fold",
    "for_each",
    "fuse",
    "inspect",
    "intersperse",
    "intersperse_with",
    "is_empty",
    "is_partitioned",
    "is_sorted",
    "is_sorted_by",
    "is_sorted_by_key",
    "last",
    "len",
    "map",
    "map_while",
    "map_windows",
    "max_by",
    "max_by_key",
    "min_by",
    "min_by_key",
    "next",
    "next_back",
    "next_chunk",
    "nth",
    "nth_back",
    "partial_cmp_by",
    "partition",
    "partition_in_place",
    "peekable",
    "position",
    "product",
    "reduce",
    "rev",
    "rfind",
    "rfold",
    "rposition",
    "scan",
    "size_hint",
    "skip",
    "skip_while",
    "step_by",
    "sum",
    "take",
    "take_while",
    "try_collect",
    "try_find",
    "try_fold",
    "try_for_each",
    "try_reduce",
    "try_rfold",
    "unzip",
    "zip",
];

/// Returns the name of a method, made of its name in Rust's style.
pub(crate) fn method(name: &str) -> String {
    match RESERVED.contains(&name) {
        true => format!("{name}_"),
        false => name.to_owned(),
    }
}

/// Returns the name of a field or a module.
pub(crate) fn snake(name: &str) -> String {
    sanitize(name.to_snake_case())
}

/// Returns the name of a type.
pub(crate) fn camel(name: &str) -> String {
    sanitize(name.to_upper_camel_case())
}

fn sanitize(name: String) -> String {
    if RAW.contains(&name.as_str()) {
        format!("r#{name}")
    } else if SUFFIXED.contains(&name.as_str()) {
        format!("{name}_")
    } else if name.starts_with(char::is_numeric) {
        format!("_{name}")
    } else {
        name
    }
}

/// The items that are generated for a service beside its trait.
pub(crate) struct ServiceNames {
    pub(crate) service: String,
    pub(crate) client: String,
    pub(crate) server: String,
    pub(crate) methods: String,
}

impl ServiceNames {
    pub(crate) fn new(service: &str) -> Self {
        let service = camel(service);
        Self {
            client: format!("{service}Client"),
            server: format!("{service}Server"),
            methods: format!("{}_methods", service.to_snake_case()),
            service,
        }
    }
}

/// Finds methods that cannot be generated, and items that would get the same name, while their lines are still known; and settings
/// of methods that do not exist.
pub(crate) fn check(sources: &Sources, settings: &Settings) -> Result<(), Error> {
    let mut generated = HashSet::new();
    for file in &sources.files {
        let mut taken = taken_names(sources, file);
        for (index, service) in file.service.iter().enumerate() {
            let path = [field::FILE_SERVICE, index as i32];
            let names = ServiceNames::new(service.name());
            for name in [names.service, names.client, names.server, names.methods] {
                if !taken.insert(name.clone()) {
                    let place = sources.place(file, &path);
                    let what = format!("a part of the service {}", service.name());
                    return Err(Error::Collision { place, what, name });
                }
            }
            check_methods(sources, settings, file, index, &mut generated)?;
        }
    }
    let mut limited = settings.max_request_sizes.keys();
    match limited.find(|name| !generated.contains(*name)) {
        Some(name) => Err(Error::UnknownMethod { name: name.clone() }),
        None => Ok(()),
    }
}

/// Returns the types and modules that prost makes of the messages and enums of the file's package.
fn taken_names(sources: &Sources, file: &FileDescriptorProto) -> HashSet<String> {
    let package = file.package();
    let files = sources
        .files
        .iter()
        .filter(|other| other.package() == package);
    files
        .flat_map(|file| {
            let messages = file.message_type.iter().map(|message| message.name());
            messages.chain(file.enum_type.iter().map(|enumeration| enumeration.name()))
        })
        .flat_map(|name| [camel(name), snake(name)])
        .collect()
}

fn check_methods(
    sources: &Sources,
    settings: &Settings,
    file: &FileDescriptorProto,
    service_index: usize,
    generated: &mut HashSet<String>,
) -> Result<(), Error> {
    let service = &file.service[service_index];
    let mut taken = HashSet::new();
    for (index, method) in service.method.iter().enumerate() {
        let path = [
            field::FILE_SERVICE,
            service_index as i32,
            field::SERVICE_METHOD,
            index as i32,
        ];
        let place = || sources.place(file, &path);
        let method_name = format!("{}.{}.{}", file.package(), service.name(), method.name());
        let method_name = method_name.trim_start_matches('.').to_owned();
        if method.client_streaming() || method.server_streaming() {
            if settings.skip_streaming {
                continue;
            }
            return Err(Error::Streaming {
                place: place(),
                method: method_name,
            });
        }
        let name = snake(method.name());
        if !taken.insert(name.clone()) {
            let what = format!("the method {method_name}");
            return Err(Error::Collision {
                place: place(),
                what,
                name,
            });
        }
        generated.insert(method_name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_prost() {
        assert_eq!(snake("getHTTPThing"), "get_http_thing");
        assert_eq!(snake("type"), "r#type");
        assert_eq!(snake("self"), "self_");
        assert_eq!(camel("get_secrets_response"), "GetSecretsResponse");
        assert_eq!(camel("self"), "Self_");
        assert_eq!(snake("2fa"), "_2fa");
    }

    #[test]
    fn reserved_names_of_methods_get_an_underscore() {
        for name in ["clone", "next", "with_config", "fmt"] {
            assert_eq!(method(name), format!("{name}_"));
        }
        for name in ["get", "clone_", "list", "r#type"] {
            assert_eq!(method(name), name);
        }
    }

    #[test]
    fn the_raw_words_are_sorted_and_unique() {
        assert!(RAW.is_sorted_by(|left, right| left < right));
    }
}
