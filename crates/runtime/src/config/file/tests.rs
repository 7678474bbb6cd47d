//! Every key, and every way to get one wrong.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;
use crate::config::{AuditFailure, ExternalPlugins, PluginConfig};
use crate::model::PluginName;

fn base() -> Config {
    Config::new(
        "/run/keyway/daemon.sock".parse().expect("an address"),
        "/state",
    )
}

fn read(text: &str) -> Result<Config, String> {
    let mut config = base();
    config
        .read_text(text, Path::new("/etc/config.toml"))
        .map(|()| config)
        .map_err(|error| error.to_string())
}

fn valid(text: &str) -> Config {
    read(text).expect("a configuration")
}

fn name(text: &str) -> PluginName {
    text.parse().expect("a name")
}

fn names<const N: usize>(texts: [&str; N]) -> BTreeSet<PluginName> {
    texts.map(name).into()
}

fn plugin(lines: &str) -> PluginConfig {
    valid(&format!("[plugins.pass]\n{lines}")).plugin(&name("pass"))
}

#[test]
fn addresses_are_lists_and_relative_paths_begin_at_the_file() {
    let config = valid("listen = ['/tmp/one.sock', '@two', 'three.sock']");
    let expected = ["/tmp/one.sock", "@two", "/etc/three.sock"];
    let expected = expected.map(|text| text.parse().expect("an address"));
    assert_eq!(config.listen, expected);
}

#[test]
fn the_addresses_of_other_peers_can_be_turned_off() {
    let config = valid("");
    assert!(config.abstract_socket && config.docker_socket);
    let config = valid("abstract = false\ndocker_socket = false");
    assert!(!config.abstract_socket && !config.docker_socket);
}

#[test]
fn plugin_directories_are_absolute_and_take_the_place_of_the_default_ones() {
    let mut config = base();
    config.available_dirs = vec!["/usr/plugins".into()];
    let text = "plugin_dirs = ['/opt/plugins', 'mine']";
    let path = Path::new("/etc/config.toml");
    config.read_text(text, path).expect("a configuration");
    let expected = ["/opt/plugins", "/etc/mine"].map(PathBuf::from);
    assert_eq!(config.plugin_dirs, expected);
    assert_eq!(config.available_dirs, [] as [PathBuf; 0]);
}

#[test]
fn users_memory_and_state_directory_are_read() {
    let config =
        valid("allow_uids = [0, 1001]\nanswer_memory = '64MiB'\nstate_dir = '/var/keyway'");
    assert_eq!(config.allow_uids, BTreeSet::from([0, 1001]));
    assert_eq!(config.answer_memory, 64 << 20);
    assert_eq!(config.state_dir, Path::new("/var/keyway"));
    let config = valid("");
    assert_eq!(config.allow_uids, BTreeSet::new());
    assert_eq!(config.answer_memory, 256 << 20);
    assert_eq!(config.state_dir, Path::new("/state"));
}

#[test]
fn external_plugins_are_all_none_or_some() {
    let allows = |text: &str, plugin: &str| valid(text).external.allows(&name(plugin));
    assert!(allows("", "any"));
    assert!(allows("[external]", "any"));
    assert!(allows("external.allow = true", "any"));
    assert!(!allows("external.allow = false", "any"));
    assert!(allows("external.allow = ['some', 'a b']", "some"));
    assert!(allows("external.allow = ['some', 'a b']", "a b"));
    assert!(!allows("external.allow = ['some']", "any"));
}

#[test]
fn the_former_name_of_external_is_read_with_a_warning() {
    let config = valid("[manual]\nallow = ['some']");
    assert_eq!(config.external, ExternalPlugins::Named(names(["some"])));
    assert!(matches!(&config.warnings[..], [warning] if warning.contains("[external]")));
    assert_eq!(valid("external.allow = true").warnings, [] as [String; 0]);
    let error = read("external.allow = false\n[manual]\nallow = true").expect_err("two tables");
    assert!(error.starts_with("/etc/config.toml:2: manual: "), "{error}");
}

#[test]
fn access_modules_and_contained_callers_are_read() {
    let config = valid("[access]\nmodules = ['gate']\ncontained = true");
    assert_eq!(config.access_modules, names(["gate"]));
    assert!(config.access_contained);
    let config = valid("");
    assert!(config.access_modules.is_empty() && !config.access_contained);
}

#[test]
fn the_default_store_is_file_unless_another_is_named() {
    assert_eq!(valid("").store_default, name("file"));
    assert_eq!(valid("[store]").store_default, name("file"));
    assert!(!valid("[store]").docker_writes);
    assert!(valid("store.docker_writes = true").docker_writes);
    assert_eq!(
        valid("store.default = 'vault'").store_default,
        name("vault")
    );
}

#[test]
fn the_audit_log_has_a_path_and_limits() {
    assert_eq!(valid("").audit, None);
    let audit = valid("audit.path = '/a'").audit.expect("an audit log");
    let limits = (audit.max_bytes, audit.keep, audit.on_failure);
    assert_eq!(limits, (1 << 20, 5, AuditFailure::Continue));
    let text = "[audit]\npath = '/a'\nmax_bytes = 4096\nkeep = 0\non_failure = 'refuse'";
    let audit = valid(text).audit.expect("an audit log");
    assert_eq!(audit.path, Path::new("/a"));
    let limits = (audit.max_bytes, audit.keep, audit.on_failure);
    assert_eq!(limits, (4096, 0, AuditFailure::Refuse));
    let audit = valid("[audit]\npath = '/a'\nmax_bytes = '2MiB'").audit;
    assert_eq!(audit.map(|audit| audit.max_bytes), Some(2 << 20));
}

#[test]
fn every_key_of_a_plugin_is_read() {
    let checksum = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeFF";
    let patterns = |texts: &[&str]| -> Vec<keyway_secrets::Pattern> {
        let patterns = texts.iter().map(|text| text.parse().expect("a pattern"));
        patterns.collect()
    };
    let pass = plugin(&format!(
        r#"
        enabled = false
        realm = "pass/**"
        priority = -3
        required = true
        timeout = "1500ms"
        start_timeout = "20s"
        user_timeout = "5m"
        concurrency = 8
        env = {{ MODE = "dummy" }}
        pass_env = ["GNUPGHOME"]
        sha256 = "{checksum}"
        cache_ttl = "2m"
        fatal_exit = [2, 78]
        may_resolve = ["pass/**", "shared/*"]
        interactive = true
        shareable = false
        lists = false
        "#
    ));
    let expected = PluginConfig {
        enabled: Some(false),
        realm: Some(patterns(&["pass/**"])),
        priority: Some(-3),
        required: true,
        timeout: Some(Duration::from_millis(1500)),
        start_timeout: Some(Duration::from_secs(20)),
        user_timeout: Some(Duration::from_secs(300)),
        concurrency: Some(8),
        env: [("MODE", "dummy")].into_iter().collect(),
        pass_env: vec!["GNUPGHOME".into()],
        sha256: Some(checksum.parse().expect("a checksum")),
        cache_ttl: Some(Duration::from_secs(120)),
        fatal_exit: Some([2, 78].into()),
        may_resolve: patterns(&["pass/**", "shared/*"]),
        interactive: Some(true),
        shareable: Some(false),
        lists: Some(false),
    };
    assert_eq!(pass, expected);
    assert_eq!(plugin(""), PluginConfig::default());
}

#[test]
fn a_realm_is_a_pattern_or_a_list_of_at_most_64() {
    let list = |n: usize| format!("realm = [{}]", "'a/*', ".repeat(n));
    assert_eq!(
        plugin("realm = ['a/*', 'b']").realm.map(|r| r.len()),
        Some(2)
    );
    assert_eq!(plugin(&list(64)).realm.map(|r| r.len()), Some(64));
    for n in [0, 65] {
        let error = read(&format!("[plugins.pass]\n{}", list(n))).expect_err("refused");
        let expected = format!("expected 1 to 64 patterns, found {n}");
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn a_table_may_have_the_name_of_an_external_plugin() {
    let config = valid("[plugins.\"my store\"]\npriority = 2");
    assert_eq!(config.plugin(&name("my store")).priority, Some(2));
}

#[test]
fn an_empty_file_changes_nothing_and_counts_as_read() {
    let config = valid("");
    assert_eq!(config.file.as_deref(), Some(Path::new("/etc/config.toml")));
    let expected = Config {
        file: config.file.clone(),
        ..base()
    };
    assert_eq!(format!("{config:?}"), format!("{expected:?}"));
}

#[test]
fn the_hash_is_that_of_the_bytes() {
    assert_eq!(base().hash, Sha256::of(b""));
    assert_eq!(valid("").hash, Sha256::of(b""));
    assert_eq!(valid("# a comment").hash, Sha256::of(b"# a comment"));
}

#[test]
fn errors_name_file_line_and_key() {
    let cases = [
        (
            "lisen = []",
            ":1: lisen: unknown key; the nearest known key is `listen`",
        ),
        (
            "a = 1\nzzzzzzzz = 1\n",
            ":1: a: unknown key; the known keys here are listen, ",
        ),
        (
            "audit = 5",
            ":1: audit: expected a table (`[audit]`), found an integer",
        ),
        (
            "plugins = []",
            ":1: plugins: expected a table (`[plugins]`), found a list",
        ),
        (
            "[plugins]\na = true",
            ":2: plugins.a: expected a table (`[plugins.a]`), found true or false",
        ),
        (
            "listen = '/a'",
            ":1: listen: expected a list of addresses, found a string",
        ),
        (
            "listen = [\n1]",
            ":2: listen: expected an address, found an integer",
        ),
        ("listen = ['']", ":1: listen: "),
        (
            "abstract = 'yes'",
            ":1: abstract: expected true or false, found a string",
        ),
        (
            "docker_socket = 1",
            ":1: docker_socket: expected true or false, found an integer",
        ),
        ("plugin_dirs = ['']", ":1: plugin_dirs: the path is empty"),
        (
            "allow_uids = [-1]",
            ":1: allow_uids: expected an integer from 0 to 4294967294",
        ),
        (
            "allow_uids = [4294967295]",
            ":1: allow_uids: expected an integer from 0 to",
        ),
        (
            "allow_uids = ['root']",
            ":1: allow_uids: expected an integer, found a string",
        ),
        (
            "answer_memory = 5",
            ":1: answer_memory: expected a size like \"256MiB\", found an integer",
        ),
        (
            "answer_memory = '5MB'",
            ":1: answer_memory: \"5MB\" is not a size",
        ),
        (
            "state_dir = 'state'",
            ":1: state_dir: \"state\" is not an absolute path",
        ),
        (
            "[external]\nalow = true",
            ":2: external.alow: unknown key; the nearest known key is `allow`",
        ),
        (
            "[external]\nallow = 3",
            ":2: external.allow: expected true, false or a list of plugin names, found an integer",
        ),
        (
            "[external]\nallow = ['']",
            ":2: external.allow: a plugin name must not be empty",
        ),
        (
            "[access]\nmodule = []",
            ":2: access.module: unknown key; the nearest known key is `modules`",
        ),
        (
            "[access]\ncontained = 0",
            ":2: access.contained: expected true or false, found an integer",
        ),
        ("\n[audit]\nmax_bytes = 3", ":2: audit: `path` is missing"),
        (
            "[audit]\npath = 'a'",
            ":2: audit.path: \"a\" is not an absolute path",
        ),
        (
            "[audit]\npath = '/a'\nkeep = 1001",
            ":3: audit.keep: expected an integer from 0 to 1000",
        ),
        (
            "[audit]\npath = '/a'\nmax_bytes = 0",
            ":3: audit.max_bytes: expected an integer from 1",
        ),
        (
            "[audit]\npath = '/a'\non_failure = 'explode'",
            ":3: audit.on_failure: expected \"continue\" or \"refuse\", found \"explode\"",
        ),
        ("\n[plugins.a]\nrealm = 'a//b'", ":3: plugins.a.realm: "),
        (
            "[plugins.a]\nrealm = 5",
            ":2: plugins.a.realm: expected a pattern or a list of patterns, found an integer",
        ),
        (
            "[plugins.a]\nreaml = 'a'",
            ":2: plugins.a.reaml: unknown key; the nearest known key is `realm`",
        ),
        (
            "[plugins.a]\nexecutable = 'exec'",
            ":2: plugins.a.executable: unknown key",
        ),
        (
            "[plugins.a]\npriority = 1.5",
            ":2: plugins.a.priority: expected an integer, found a number with a fraction",
        ),
        (
            "[plugins.a]\ntimeout = 'soon'",
            ":2: plugins.a.timeout: \"soon\" is not a duration",
        ),
        (
            "[plugins.a]\ntimeout = '0s'",
            ":2: plugins.a.timeout: \"0s\" is not a duration",
        ),
        (
            "[plugins.a]\nstart_timeout = 10",
            ":2: plugins.a.start_timeout: expected a duration like \"10s\", found an integer",
        ),
        (
            "[plugins.a]\nuser_timeout = '25h'",
            ":2: plugins.a.user_timeout: \"25h\" is not a duration",
        ),
        (
            "[plugins.a]\nconcurrency = 0",
            ":2: plugins.a.concurrency: expected an integer from 1 to 1024",
        ),
        (
            "[plugins.a]\nconcurrency = 1025",
            ":2: plugins.a.concurrency: expected an integer from 1 to 1024",
        ),
        (
            "[plugins.a]\nsha256 = '12'",
            ":2: plugins.a.sha256: \"12\" is not a SHA-256 checksum",
        ),
        (
            "[plugins.a]\npass_env = ['A=B']",
            ":2: plugins.a.pass_env: \"A=B\" is not the name of an environment variable",
        ),
        (
            "[plugins.a]\nfatal_exit = [256]",
            ":2: plugins.a.fatal_exit: expected an integer from 0 to 255",
        ),
        (
            "[plugins.a]\nfatal_exit = 78",
            ":2: plugins.a.fatal_exit: expected a list of exit statuses, found an integer",
        ),
        (
            "[plugins.a]\nmay_resolve = []",
            ":2: plugins.a.may_resolve: expected 1 to 64 patterns, found 0",
        ),
        (
            "[plugins.a]\nlists = 'no'",
            ":2: plugins.a.lists: expected true or false, found a string",
        ),
        (
            "[plugins.file]\npriority = 1\ncache_ttl = '1m'",
            ":3: plugins.file.cache_ttl: the responses of `file` are never reused",
        ),
        (
            "[plugins.'a b']\nx = 1",
            ":2: plugins.\"a b\".x: unknown key",
        ),
        (
            "[plugins.'']",
            ":1: plugins.\"\": a plugin name must not be empty",
        ),
        ("listen = [", ":1: listen: "),
        (
            "[plugins.a]\npriority = 1\npriority = 2",
            ":3: plugins.a.priority: ",
        ),
    ];
    for (text, expected) in cases {
        let message = read(text)
            .err()
            .unwrap_or_else(|| panic!("accepted: {text}"));
        assert!(
            message.starts_with(&format!("/etc/config.toml{expected}")),
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
fn no_error_and_no_debug_output_repeats_a_value_of_env() {
    for text in [
        "[plugins.a]\nenv = 'not-a-real-token'",
        "[plugins.a]\nenv = { A = ['not-a-real-token'] }",
        "[plugins.a.env]\nA = \"not-a-real-token\\u0000\"",
        "[plugins.a.env]\nA = \"not-a-real-token",
        "[plugins.a.env]\nA = 'one'\nA = 'not-a-real-token'",
        "[plugins.a.env]\nA = not-a-real-token",
    ] {
        let message = read(text).expect_err("refused");
        assert!(!message.contains("not-a-real-token"), "{message}");
        assert!(message.contains("plugins.a.env"), "{message}");
    }
    let config = valid("[plugins.a]\nenv = { A = 'not-a-real-token' }");
    assert!(!format!("{config:?}").contains("not-a-real-token"));
}

#[test]
fn a_file_with_an_error_leaves_the_configuration_alone() {
    let mut config = base();
    let text = "plugin_dirs = [\"/new\"]\n[plugins.a]\npriority = 'high'";
    assert!(config.read_text(text, Path::new("config.toml")).is_err());
    assert_eq!(format!("{config:?}"), format!("{:?}", base()));
}

struct File {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl File {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("config.toml");
        Self {
            _directory: directory,
            path,
        }
    }

    fn holding(text: &str) -> Self {
        let file = Self::new();
        fs::write(&file.path, text).expect("written");
        file
    }

    fn read(&self) -> Result<(), ConfigError> {
        base().read_file(&self.path)
    }
}

#[test]
fn a_file_that_others_can_write_is_not_read() {
    let file = File::holding("");
    file.read().expect("read");
    fs::set_permissions(&file.path, Permissions::from_mode(0o666)).expect("the mode");
    assert!(matches!(file.read(), Err(ConfigError::Untrusted(_))));
}

#[test]
fn an_absent_file_differs_from_an_unreadable_one() {
    let file = File::new();
    assert!(matches!(file.read(), Err(ConfigError::Absent { .. })));
    let below = file.path.join("below");
    let absent = base().read_file(&below);
    assert!(matches!(absent, Err(ConfigError::Absent { .. })));
    fs::write(&file.path, "").expect("written");
    let below_a_file = base().read_file(&below);
    assert!(matches!(below_a_file, Err(ConfigError::Read(_))));
}

#[test]
fn a_broken_link_is_not_an_absent_file() {
    let file = File::new();
    std::os::unix::fs::symlink("/nonexistent/config.toml", &file.path).expect("a link");
    assert!(matches!(file.read(), Err(ConfigError::Read(_))));
    let below = base().read_file(&file.path.join("config.toml"));
    assert!(matches!(below, Err(ConfigError::Read(_))));
}

#[test]
fn directories_fifos_and_sockets_are_refused_without_a_wait() {
    let directory = File::new();
    fs::create_dir(&directory.path).expect("a directory");
    let fifo = File::new();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo.path, mode).expect("a FIFO");
    let socket = File::new();
    let _listener = std::os::unix::net::UnixListener::bind(&socket.path).expect("a socket");
    for (file, expected) in [(directory, "directory"), (fifo, "FIFO"), (socket, "socket")] {
        let error = file.read().expect_err("refused");
        assert!(
            matches!(error, ConfigError::Read(OpenError::NotRegular { .. })),
            "{error}"
        );
        let text = keyway_local::with_causes(&error);
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_file_beyond_the_limit_is_not_read() {
    let file = File::holding(&" ".repeat(1 << 20));
    file.read().expect("read at the limit");
    let sparse = fs::OpenOptions::new()
        .write(true)
        .open(&file.path)
        .expect("opened");
    sparse.set_len(1 << 30).expect("a sparse file");
    assert!(
        matches!(file.read(), Err(ConfigError::Read(OpenError::TooLarge { len, .. })) if len == 1 << 30)
    );
}

#[test]
fn a_torn_file_and_one_that_is_not_text_are_errors_with_a_line() {
    let torn = File::holding("[plugins.vault]\nrealm = \"db/op");
    let error = torn.read().expect_err("torn").to_string();
    assert!(
        error.contains("config.toml:2: plugins.vault.realm: "),
        "{error}"
    );
    let bytes = File::new();
    fs::write(&bytes.path, b"listen = []\n# \xff").expect("written");
    let error = bytes.read().expect_err("not UTF-8").to_string();
    assert!(
        error.contains("config.toml:2: the text is not UTF-8"),
        "{error}"
    );
}
