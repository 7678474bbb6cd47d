//! Every key, and every way to get one wrong.

use super::*;

fn base() -> Config {
    Config::new(
        "/run/keyway/daemon.sock".parse().expect("an address"),
        "/state",
    )
}

fn read(text: &str) -> Result<Config, String> {
    let mut config = base();
    config
        .read_text(text, Path::new("config.toml"))
        .map(|()| config)
        .map_err(|error| error.to_string())
}

fn name(text: &str) -> PluginName {
    text.parse().expect("a name")
}

#[test]
fn every_key_is_read() {
    let config = read(
        r#"
        listen = ["/tmp/one.sock", "@two"]
        plugin_dirs = ["/opt/plugins"]
        allow_uids = [1001]
        answer_memory = "64MiB"
        [manual]
        allow = ["pass", "vault"]
        [access]
        modules = ["gate"]
        [audit]
        path = "/var/log/keyway.jsonl"
        max_bytes = 4096
        on_failure = "refuse"
        [plugins.pass]
        enabled = false
        realm = "pass/**"
        priority = -3
        required = true
        timeout = "1500ms"
        concurrency = 8
        env = { MODE = "dummy" }
        pass_env = ["GNUPGHOME"]
        sha256 = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeFF"
        cache_ttl = "2m"
        "#,
    )
    .expect("a configuration");
    assert_eq!(
        config.listen,
        ["/tmp/one.sock", "@two"].map(|text| text.parse().expect("an address"))
    );
    assert_eq!(config.plugin_dirs, [PathBuf::from("/opt/plugins")]);
    assert_eq!(config.allow_uids, BTreeSet::from([1001]));
    assert_eq!(config.answer_memory, 64 << 20);
    assert_eq!(
        config.external,
        ExternalPlugins::Named(["pass", "vault"].map(name).into())
    );
    assert_eq!(config.access_modules, BTreeSet::from([name("gate")]));
    let audit = config.audit.as_ref().expect("an audit log");
    assert_eq!(audit.path, Path::new("/var/log/keyway.jsonl"));
    assert_eq!(
        (audit.max_bytes, audit.on_failure),
        (4096, AuditFailure::Refuse)
    );
    let pass = config.plugin(&name("pass"));
    assert_eq!(
        (pass.enabled, pass.priority, pass.required),
        (Some(false), Some(-3), true)
    );
    assert_eq!(
        pass.realm,
        Some(vec!["pass/**".parse().expect("a pattern")])
    );
    assert_eq!(
        (pass.timeout, pass.concurrency),
        (Some(Duration::from_millis(1500)), Some(8))
    );
    assert_eq!(
        pass.env,
        BTreeMap::from([("MODE".to_owned(), "dummy".to_owned())])
    );
    assert_eq!(pass.pass_env, ["GNUPGHOME"]);
    assert!(
        pass.sha256
            .is_some_and(|checksum| checksum.to_string().ends_with("ccddeeff"))
    );
    assert_eq!(pass.cache_ttl, Some(Duration::from_secs(120)));
    assert_eq!(
        config.timeout_of(&name("pass")),
        Duration::from_millis(1500)
    );
    assert_eq!(config.timeout_of(&name("other")), Duration::from_secs(10));
}

#[test]
fn an_empty_file_changes_nothing() {
    assert_eq!(
        format!("{:?}", read("").expect("a configuration")),
        format!("{:?}", base())
    );
}

#[test]
fn manual_plugins_are_all_none_or_some() {
    let allows = |text: &str, plugin: &str| {
        read(text)
            .expect("a configuration")
            .external
            .allows(&name(plugin))
    };
    assert!(allows("", "any"));
    assert!(allows("manual.allow = true", "any"));
    assert!(!allows("manual.allow = false", "any"));
    assert!(allows("manual.allow = ['some']", "some"));
    assert!(!allows("manual.allow = ['some']", "any"));
}

#[test]
fn errors_name_file_line_and_key() {
    let cases = [
        ("lisen = []", "config.toml:1: lisen: unknown field `lisen`"),
        (
            "\n[plugins.a]\nrealm = \"a//b\"",
            "config.toml:3: plugins.a.realm: ",
        ),
        (
            "[plugins.a]\ntimeout = \"soon\"",
            "config.toml:2: plugins.a.timeout: \"soon\" is not a duration",
        ),
        (
            "[plugins.a]\ntimeout = \"0s\"",
            "config.toml:2: plugins.a.timeout: ",
        ),
        (
            "[plugins.a]\ntimeout = 10",
            "config.toml:2: plugins.a.timeout: invalid type",
        ),
        (
            "[plugins.a]\nconcurrency = 0",
            "config.toml:2: plugins.a.concurrency: ",
        ),
        (
            "[plugins.a]\nsha256 = \"12\"",
            "config.toml:2: plugins.a.sha256: \"12\" is not a SHA-256 checksum",
        ),
        (
            "[plugins.a]\npass_env = [\"A=B\"]",
            "config.toml:2: plugins.a.pass_env: ",
        ),
        (
            "plugin_dirs = [\"plugins\"]",
            "config.toml:1: plugin_dirs: \"plugins\" is not an absolute path",
        ),
        (
            "[audit]\npath = \"/a\"\non_failure = \"explode\"",
            "config.toml:3: audit.on_failure: unknown variant",
        ),
        (
            "[audit]\nmax_bytes = 3",
            "config.toml:1: audit: missing field `path`",
        ),
        (
            "[manual]\nallow = 3",
            "config.toml:2: manual.allow: expected true, false or a list of plugin names",
        ),
        (
            "[plugins.file]\npriority = 1\ncache_ttl = \"1m\"",
            "config.toml:3: plugins.file.cache_ttl: the answers of `file` are never reused",
        ),
        ("listen = [", "config.toml:1: listen: "),
    ];
    for (text, expected) in cases {
        let message = read(text)
            .err()
            .unwrap_or_else(|| panic!("accepted: {text}"));
        assert!(
            message.starts_with(expected),
            "{text:?} gave {message:?}, expected {expected:?}"
        );
    }
}

#[test]
fn the_launch_variable_cannot_be_set() {
    let text = format!("[plugins.a.env]\n{} = \"x\"", keyway_proto::LAUNCH_VARIABLE);
    assert!(read(&text).is_err_and(|message| message.contains("is set by the daemon itself")));
}

#[test]
fn a_file_with_an_error_leaves_the_configuration_alone() {
    let mut config = base();
    let text = "plugin_dirs = [\"/new\"]\nunknown = 1";
    assert!(config.read_text(text, Path::new("config.toml")).is_err());
    assert_eq!(format!("{config:?}"), format!("{:?}", base()));
}

#[test]
fn a_file_that_others_can_write_is_not_read() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("config.toml");
    std::fs::write(&path, "").expect("a file");
    let mut config = base();
    config.read_file(&path).expect("read");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("the mode");
    assert!(matches!(
        config.read_file(&path),
        Err(ConfigError::Untrusted(_))
    ));
    assert!(matches!(
        config.read_file(&directory.path().join("absent")),
        Err(ConfigError::Read { .. })
    ));
}

#[test]
fn durations_have_a_number_and_a_unit() {
    for (text, milliseconds) in [
        ("1ms", 1),
        ("10s", 10_000),
        ("2m", 120_000),
        ("24h", 86_400_000),
    ] {
        assert_eq!(
            parse_duration(text),
            Some(Duration::from_millis(milliseconds)),
            "{text}"
        );
    }
    for text in [
        "",
        "10",
        "s",
        "-1s",
        "1.5s",
        "1 s",
        "0ms",
        "25h",
        "99999999999999999999s",
        "18446744073709551615h",
    ] {
        assert_eq!(parse_duration(text), None, "{text}");
    }
}

#[test]
fn sizes_have_a_number_and_a_unit() {
    for (text, bytes) in [("1KiB", 1 << 10), ("256MiB", 256 << 20), ("2GiB", 2 << 30)] {
        assert_eq!(parse_size(text), Some(bytes), "{text}");
    }
    for text in [
        "",
        "1",
        "1MB",
        "0MiB",
        "-1MiB",
        "1.5GiB",
        "MiB",
        "99999999999999GiB",
    ] {
        assert_eq!(parse_size(text), None, "{text}");
    }
}
