use keyway_rpc::Code;
use plugins::v1::register_plugin_request::Metadata as Wire;
use prost::Message as _;

use super::*;

fn message(name: &str, version: &str, pattern: &str) -> plugins::v1::RegisterPluginRequest {
    let provider = plugins::v1::SecretsProvider {
        pattern: Some(pattern.into()),
    };
    plugins::v1::RegisterPluginRequest {
        name: Some(name.into()),
        version: Some(version.into()),
        metadata: Some(Wire::SecretsProvider(provider)),
    }
}

fn provider(name: &str, version: &str, pattern: &str) -> RegistrationRequest {
    RegistrationRequest::current(message(name, version, pattern), &HeaderMap::new())
}

fn described(description: &PluginDescription) -> RegistrationRequest {
    let mut headers = HeaderMap::new();
    headers
        .append_binary(DESCRIBE_HEADER, &description.encode_to_vec())
        .expect("a valid name");
    RegistrationRequest::current(message("demo", "v1", "demo/**"), &headers)
}

fn name(text: &str) -> PluginName {
    text.parse().expect("a name")
}

fn kind(patterns: &[&str]) -> Kind {
    let patterns = patterns.iter().map(|text| text.parse().expect("a pattern"));
    Kind::Provider(patterns.collect())
}

#[test]
fn a_valid_registration_is_accepted_at_every_path() {
    let current = provider("demo", "v1.2.3", "demo/**")
        .validate(Some(&name("demo")))
        .expect("accepted");
    assert_eq!(current.kind, kind(&["demo/**"]));
    assert!(!current.description.is_sent);
    for generation in [Generation::Engine, Generation::ResolverRegister] {
        let message = resolver::v1::RegisterPluginRequest {
            name: Some("demo".into()),
            version: Some("v1".into()),
            pattern: Some("**".into()),
        };
        let legacy = RegistrationRequest::legacy(generation, message)
            .validate(None)
            .expect("accepted");
        assert_eq!((legacy.generation, legacy.name), (generation, name("demo")));
    }
}

#[test]
fn each_broken_rule_is_named() {
    let check = |request: RegistrationRequest, launched_as: Option<&PluginName>, expected: &str| {
        let error = request.validate(launched_as).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(Error::from(error).code(), Code::InvalidArgument);
    };
    check(provider("", "v1", "**"), None, "names no plugin");
    check(
        provider("other", "v1", "**"),
        Some(&name("demo")),
        "launched as demo",
    );
    check(
        provider("demo", "1.0", "**"),
        None,
        "\"1.0\" is not a Go semantic version",
    );
    check(provider("demo", "v1", "a//b"), None, "pattern is invalid");
    let missing = plugins::v1::RegisterPluginRequest {
        metadata: None,
        ..message("demo", "v1", "**")
    };
    check(
        RegistrationRequest::current(missing, &HeaderMap::new()),
        None,
        "neither secrets provider nor access-control module",
    );
    let mut headers = HeaderMap::new();
    headers.insert(DESCRIBE_HEADER, "not base64!".parse().expect("a value"));
    check(
        RegistrationRequest::current(message("demo", "v1", "**"), &headers),
        None,
        "not one base64 value",
    );
    let outside = PluginDescription {
        patterns: vec!["other/**".into()],
        ..PluginDescription::default()
    };
    check(described(&outside), None, "not within the registered");
}

#[test]
fn a_description_gives_realm_and_limits() {
    let description = PluginDescription {
        patterns: vec!["demo/a/*".into(), "demo/b".into()],
        concurrency: Some(3),
        interactive: Some(true),
        ..PluginDescription::default()
    };
    let registration = described(&description).validate(None).expect("accepted");
    assert_eq!(registration.kind, kind(&["demo/a/*", "demo/b"]));
    assert_eq!(registration.pattern, "demo/**".parse().ok());
    assert!(registration.description.is_sent);
    assert_eq!(registration.description.concurrency, Some(3));
    assert!(registration.description.interactive && !registration.description.shareable);
}

#[test]
fn a_taken_name_already_exists() {
    let code = |error: RegistrationError| Error::from(error).code();
    assert_eq!(
        code(RegistrationError::Taken(name("demo"))),
        Code::AlreadyExists
    );
    assert_eq!(code(RegistrationError::Twice), Code::FailedPrecondition);
}
