//! Rust names for what `.proto` files name, as prost makes them, and the check of services.

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

/// The name of a field or a module.
pub(crate) fn snake(name: &str) -> String {
    sanitize(name.to_snake_case())
}

/// The name of a type.
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

/// Finds methods that cannot be generated, and items that would get the same name, while the
/// lines to blame are still known.
pub(crate) fn check(sources: &Sources, settings: &Settings) -> Result<(), Error> {
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
            check_methods(sources, settings, file, index)?;
        }
    }
    Ok(())
}

/// The types and modules that prost makes of the messages and enums of the file's package.
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
    fn the_raw_words_are_sorted_and_unique() {
        assert!(RAW.is_sorted_by(|left, right| left < right));
    }
}
