//! The code of a service: methods, trait, server, client.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use heck::ToShoutySnakeCase;
use prost_build::{Method, Service, ServiceGenerator};
use prost_types::method_options::IdempotencyLevel;

use crate::message::Redaction;
use crate::naming::{self, ServiceNames};
use crate::settings::{Emit, Settings};

// Full paths, because messages may have the names of items of the prelude.
const SEND: &str = "::core::marker::Send";
const SYNC: &str = "::core::marker::Sync";
const INTO: &str = "::core::convert::Into";
const FROM: &str = "::core::convert::From";
const CLONE: &str = "::core::clone::Clone";

// The type parameters of generated code.
const SERVICE: &str = "T";
const TRANSPORT: &str = "S";
const REQUEST: &str = "R";

/// The attribute of items that a program may not use.
const UNUSED: &str =
    "#[allow(dead_code, reason = \"not every program uses every part of a service\")]\n";

/// The attribute of methods, whose names are those of the `.proto` file.
const NAMED: &str = "#[allow(clippy::wrong_self_convention, dead_code, \
    reason = \"the names are those of the service, and not every program uses them all\")]\n";

/// Writes the code of services into that of their package.
pub(crate) struct Generator {
    client: Emit,
    server: Emit,
    json: Emit,
    runtime: String,
    max_request_sizes: BTreeMap<String, usize>,
    redaction: Redaction,
}

impl Generator {
    pub(crate) fn new(settings: &Settings, redaction: Redaction) -> Self {
        Self {
            client: settings.client.clone(),
            server: settings.server.clone(),
            json: settings.json.clone(),
            runtime: settings.runtime_path.clone(),
            max_request_sizes: settings.max_request_sizes.clone(),
            redaction,
        }
    }
}

impl ServiceGenerator for Generator {
    fn generate(&mut self, mut service: Service, buf: &mut String) {
        // Streaming methods were refused while their lines were known, unless they are skipped.
        service
            .methods
            .retain(|method| !method.client_streaming && !method.server_streaming);
        let names = ServiceNames::new(&service.proto_name);
        if !(self.client.is_never() && self.server.is_never()) {
            self.write_methods(&service, &names, buf);
        }
        if !self.server.is_never() {
            self.write_trait(&service, &names, buf);
            self.write_server(&service, &names, buf);
        }
        if !self.client.is_never() {
            self.write_client(&service, &names, buf);
        }
    }
}

impl Generator {
    fn write_methods(&self, service: &Service, names: &ServiceNames, buf: &mut String) {
        let cfg = self.either_side();
        let full_name = full_name(service);
        let module = &names.methods;
        push(
            buf,
            &format!("/// The methods of `{full_name}`.\n{cfg}pub mod {module} {{\n"),
        );
        for method in &service.methods {
            let spec = self.spec(&full_name, method);
            let (name, rust_name) = (&method.proto_name, constant(method));
            let runtime = &self.runtime;
            push(
                buf,
                &format!(
                    "/// `{full_name}/{name}`.\n\
                     pub static {rust_name}: {runtime}::MethodSpec = {spec};\n"
                ),
            );
        }
        push(buf, "}\n");
    }

    fn spec(&self, full_name: &str, method: &Method) -> String {
        let runtime = &self.runtime;
        let mut spec = format!(
            "{runtime}::MethodSpec::unary(\"/{full_name}/{}\")",
            method.proto_name
        );
        match method.options.idempotency_level() {
            IdempotencyLevel::IdempotencyUnknown => {}
            IdempotencyLevel::NoSideEffects => {
                write!(
                    spec,
                    ".with_idempotency({runtime}::Idempotency::NoSideEffects)"
                )
                .expect("strings take all");
            }
            IdempotencyLevel::Idempotent => {
                write!(
                    spec,
                    ".with_idempotency({runtime}::Idempotency::Idempotent)"
                )
                .expect("strings take all");
            }
        }
        let types = [&method.input_proto_type, &method.output_proto_type];
        if types.iter().any(|name| self.redaction.is_sensitive(name)) {
            spec.push_str(".sensitive()");
        }
        let full_name = format!("{full_name}.{}", method.proto_name);
        if let Some(bytes) = self.max_request_sizes.get(&full_name) {
            write!(spec, ".with_max_request_size({bytes})").expect("strings take all");
        }
        match &self.json {
            Emit::Never => spec,
            Emit::Always => format!("{spec}.with_descriptors(&super::DESCRIPTORS)"),
            Emit::IfFeature(feature) => format!(
                "{{\nlet spec = {spec};\n#[cfg(feature = \"{feature}\")]\n\
                 let spec = spec.with_descriptors(&super::DESCRIPTORS);\nspec\n}}"
            ),
        }
    }

    fn write_trait(&self, service: &Service, names: &ServiceNames, buf: &mut String) {
        let full_name = full_name(service);
        push(
            buf,
            &format!("/// The service `{full_name}`, to be implemented.\n"),
        );
        append_comments(buf, &service.comments);
        let (cfg, trait_name) = (self.server.attribute(), &names.service);
        push(
            buf,
            &format!("{cfg}{NAMED}pub trait {trait_name}: {SEND} + {SYNC} + 'static {{\n"),
        );
        for method in &service.methods {
            push(
                buf,
                &format!("/// Serves `{full_name}/{}`.\n", method.proto_name),
            );
            append_comments(buf, &method.comments);
            push(buf, &self.trait_method(names, method));
        }
        push(buf, "}\n");
    }

    fn trait_method(&self, names: &ServiceNames, method: &Method) -> String {
        let (runtime, module) = (&self.runtime, &names.methods);
        let (name, constant) = (method_name(method), constant(method));
        let (input_type, output_type) = (&method.input_type, &method.output_type);
        format!(
            "fn {name}(&self, request: {runtime}::Request<{input_type}>)\n\
             -> impl ::core::future::Future<\n\
                 Output = ::core::result::Result<{runtime}::Response<{output_type}>, {runtime}::Error>,\n\
             > + {SEND} {{\n\
                 let _ = request;\n\
                 async {{ ::core::result::Result::Err({runtime}::Error::method_unimplemented(&{module}::{constant})) }}\n\
             }}\n"
        )
    }

    fn write_server(&self, service: &Service, names: &ServiceNames, buf: &mut String) {
        let (cfg, runtime) = (self.server.attribute(), &self.runtime);
        let ServiceNames {
            service: trait_name,
            server,
            ..
        } = names;
        let (bound, full_name) = (item(trait_name, &[SERVICE]), full_name(service));
        let routes: String = service
            .methods
            .iter()
            .map(|method| self.route(names, method))
            .collect();
        push(
            buf,
            &format!(
                "/// Serves `{full_name}` by an implementation of [`{trait_name}`], which clones share.\n\
                 {cfg}{UNUSED}#[derive(Debug)]\n\
                 pub struct {server}<T> {{ service: ::std::sync::Arc<T> }}\n\
                 {cfg}{UNUSED}impl<T: {bound}> {server}<T> {{\n\
                     /// Returns a server of an implementation, owned or in an `Arc`.\n\
                     pub fn new(service: impl {INTO}<::std::sync::Arc<T>>) -> Self {{\n\
                         Self {{ service: service.into() }}\n\
                     }}\n\
                 }}\n\
                 {cfg}impl<T> {CLONE} for {server}<T> {{\n\
                     fn clone(&self) -> Self {{ Self {{ service: ::std::sync::Arc::clone(&self.service) }} }}\n\
                 }}\n\
                 {cfg}impl<T: {bound}> {runtime}::IntoRoutes for {server}<T> {{\n\
                     fn into_routes(self) -> ::std::vec::Vec<{runtime}::Route> {{\n\
                         ::std::vec::Vec::from([{routes}])\n\
                     }}\n\
                 }}\n"
            ),
        );
    }

    fn route(&self, names: &ServiceNames, method: &Method) -> String {
        let (runtime, module) = (&self.runtime, &names.methods);
        let (name, constant) = (method_name(method), constant(method));
        let trait_name = item(&names.service, &[SERVICE]);
        format!(
            "{{\n\
                 let service = ::std::sync::Arc::clone(&self.service);\n\
                 {runtime}::Route::unary(&{module}::{constant}, move |request| {{\n\
                     let service = ::std::sync::Arc::clone(&service);\n\
                     async move {{ {trait_name}::{name}(&*service, request).await }}\n\
                 }})\n\
             }},\n"
        )
    }

    fn write_client(&self, service: &Service, names: &ServiceNames, buf: &mut String) {
        let (cfg, runtime) = (self.client.attribute(), &self.runtime);
        let client = &names.client;
        let full_name = full_name(service);
        push(
            buf,
            &format!(
                "/// Calls `{full_name}` over the transport `S`.\n\
                 {cfg}{UNUSED}#[derive(Clone, Debug)]\n\
                 pub struct {client}<S> {{ client: {runtime}::client::Client<S> }}\n\
                 {cfg}{UNUSED}impl<S> {client}<S> {{\n\
                     /// Returns a client over a transport, with the default settings.\n\
                     pub fn new(transport: S) -> Self {{\n\
                         Self {{ client: {runtime}::client::Client::new(transport) }}\n\
                     }}\n\
                     /// Returns a client over a transport, with these settings.\n\
                     pub fn with_config(\n\
                         transport: S,\n\
                         config: impl {INTO}<::std::sync::Arc<{runtime}::client::Config>>,\n\
                     ) -> Self {{\n\
                         Self {{ client: {runtime}::client::Client::with_config(transport, config) }}\n\
                     }}\n\
                 }}\n\
                 {cfg}impl<S> {FROM}<{runtime}::client::Client<S>> for {client}<S> {{\n\
                     fn from(client: {runtime}::client::Client<S>) -> Self {{ Self {{ client }} }}\n\
                 }}\n\
                 {cfg}{NAMED}impl<S: {runtime}::client::Transport> {client}<S> {{\n"
            ),
        );
        for method in &service.methods {
            push(
                buf,
                &format!("/// Calls `{full_name}/{}`.\n", method.proto_name),
            );
            append_comments(buf, &method.comments);
            push(buf, &self.client_method(names, method));
        }
        push(buf, "}\n");
    }

    fn client_method(&self, names: &ServiceNames, method: &Method) -> String {
        let (runtime, module) = (&self.runtime, &names.methods);
        let (name, constant) = (method_name(method), constant(method));
        let parameters = [TRANSPORT, REQUEST];
        let input_type = item(&method.input_type, &parameters);
        let output_type = item(&method.output_type, &parameters);
        let deprecated = match method.options.deprecated() {
            true => "#[deprecated]\n",
            false => "",
        };
        format!(
            "///\n\
             /// The future does not borrow the client.\n\
             ///\n/// # Errors\n///\n\
             /// Returns the error of the server, or the one that kept it from responding.\n\
             ///\n/// # Cancel safety\n///\n\
             /// Dropping the future cancels the call; the server may have run it or not.\n\
             {deprecated}pub fn {name}<{REQUEST}>(&self, request: {REQUEST})\n\
             -> impl ::core::future::Future<\n\
                 Output = ::core::result::Result<{runtime}::Response<{output_type}>, {runtime}::Error>,\n\
             > + {SEND} + use<{TRANSPORT}, {REQUEST}>\n\
             where {REQUEST}: {INTO}<{runtime}::Request<{input_type}>>,\n\
             {{\n\
                 self.client.unary(&{module}::{constant}, {INTO}::into(request))\n\
             }}\n"
        )
    }

    /// Returns the attribute of items that both sides need.
    fn either_side(&self) -> String {
        match (&self.client, &self.server) {
            (Emit::Always, _) | (_, Emit::Always) => String::new(),
            (Emit::IfFeature(client), Emit::IfFeature(server)) => {
                format!("#[cfg(any(feature = \"{client}\", feature = \"{server}\"))]\n")
            }
            (one, Emit::Never) | (Emit::Never, one) => one.attribute(),
        }
    }
}

fn full_name(service: &Service) -> String {
    match service.package.as_str() {
        "" => service.proto_name.clone(),
        package => format!("{package}.{}", service.proto_name),
    }
}

/// Returns an item of the package, where one of the type parameters may have its name.
fn item(name: &str, parameters: &[&str]) -> String {
    match parameters.contains(&name) {
        true => format!("self::{name}"),
        false => name.to_owned(),
    }
}

/// Returns the name of a method on the client and in the trait.
fn method_name(method: &Method) -> String {
    naming::method(&method.name)
}

/// Returns the name of a method's `MethodSpec`.
fn constant(method: &Method) -> String {
    let name = method.proto_name.to_shouty_snake_case();
    match name.starts_with(|first: char| first.is_ascii_digit()) {
        true => format!("_{name}"),
        false => name,
    }
}

/// Appends the comment of the `.proto` file, as a paragraph of its own below a generated first
/// line.
fn append_comments(buf: &mut String, comments: &prost_build::Comments) {
    if !(comments.leading.is_empty() && comments.trailing.is_empty()) {
        push(buf, "///\n");
    }
    let attached = prost_build::Comments {
        leading_detached: Vec::new(),
        leading: comments.leading.clone(),
        trailing: comments.trailing.clone(),
    };
    attached.append_with_indent(0, buf);
}

fn push(buf: &mut String, text: &str) {
    buf.push_str(text);
}
