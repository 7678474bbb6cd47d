use keyway_secrets::Id;

use super::*;

const PATTERNS: fn() -> Vec<Pattern> = || vec!["db/**".parse().expect("a pattern")];

/// One action for each column of the table.
fn columns<'a>(patterns: &'a [Pattern], id: &'a Id) -> Vec<Action<'a>> {
    let name = "vault";
    let mut columns = vec![
        Action::Version,
        Action::Resolve(patterns),
        Action::List(patterns),
        Action::Explain(patterns),
        Action::Authorize(patterns),
        Action::ListPlugins,
        Action::Inspect,
    ];
    columns.extend(
        [
            Manage::Enable(name),
            Manage::Disable(name),
            Manage::Trust(name),
            Manage::Untrust(name),
            Manage::Dev(name),
            Manage::Reload,
            Manage::Stop,
        ]
        .map(Action::Manage),
    );
    columns.extend([Action::Write(id), Action::Hijack]);
    columns
}

/// A caller of our own user at a path, as changed by `change`.
fn caller(change: impl FnOnce(&mut CallerFacts)) -> CallerFacts {
    let mut facts = CallerFacts {
        user: User::Own,
        is_contained: false,
        connection: Connection::Path,
        plugin: None,
        is_descendant: false,
    };
    change(&mut facts);
    facts
}

fn plugin() -> PluginName {
    "vault".parse().expect("a name")
}

static NO_MODULES: BTreeSet<PluginName> = BTreeSet::new();

/// The defaults.
fn rules() -> Rules<'static> {
    Rules {
        is_contained_allowed: false,
        is_external_allowed: true,
        may_resolve: Vec::new(),
        listed_modules: &NO_MODULES,
    }
}

/// A group of columns of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Version,
    Read,
    ListPlugins,
    Inspect,
    Change,
    Hijack,
}

fn column(purpose: Purpose) -> Column {
    match purpose {
        Purpose::Version => Column::Version,
        Purpose::Resolve | Purpose::List | Purpose::Explain | Purpose::Authorize => Column::Read,
        Purpose::ListPlugins => Column::ListPlugins,
        Purpose::Inspect => Column::Inspect,
        Purpose::Manage | Purpose::Write => Column::Change,
        Purpose::Hijack => Column::Hijack,
    }
}

#[test]
fn every_cell_of_the_table() {
    use Column::{Change, Hijack, Inspect, ListPlugins, Read, Version};
    let everything = [Version, Read, ListPlugins, Inspect, Change, Hijack].as_slice();
    let contained_allowed = || Rules {
        is_contained_allowed: true,
        ..rules()
    };
    let with_resolve = || Rules {
        may_resolve: PATTERNS(),
        is_contained_allowed: true,
        ..rules()
    };
    let at = |connection| move |facts: &mut CallerFacts| facts.connection = connection;
    let contained = |user, connection| {
        caller(|facts| {
            facts.user = user;
            facts.is_contained = true;
            facts.connection = connection;
        })
    };
    let rows: Vec<(&str, CallerFacts, Rules<'_>, &[Column])> = vec![
        ("own uid", caller(|_| {}), rules(), everything),
        (
            "own uid, abstract",
            caller(at(Connection::Abstract)),
            rules(),
            everything,
        ),
        (
            "contained at a path",
            contained(User::Own, Connection::Path),
            rules(),
            &[Version, Read],
        ),
        (
            "contained at an abstract address",
            contained(User::Own, Connection::Abstract),
            rules(),
            &[Version],
        ),
        (
            "contained at an abstract address, allowed",
            contained(User::Own, Connection::Abstract),
            contained_allowed(),
            &[Version, Read],
        ),
        (
            "reader, contained at a path",
            contained(User::Allowed, Connection::Path),
            rules(),
            &[Version, Read],
        ),
        (
            "reader, contained at an abstract address",
            contained(User::Allowed, Connection::Abstract),
            rules(),
            &[Version],
        ),
        (
            "reader",
            caller(|facts| facts.user = User::Allowed),
            rules(),
            &[Version, Read, ListPlugins],
        ),
        (
            "any other uid",
            caller(|facts| facts.user = User::Other),
            contained_allowed(),
            &[],
        ),
        (
            "plugin connection",
            caller(at(Connection::Plugin)),
            contained_allowed(),
            &[Version],
        ),
        (
            "process of a plugin",
            caller(|facts| facts.plugin = Some(plugin())),
            with_resolve(),
            &[Version, Read],
        ),
        (
            "process of a plugin without may_resolve",
            caller(|facts| facts.plugin = Some(plugin())),
            rules(),
            &[Version],
        ),
        (
            "process of a plugin as a reader",
            caller(|facts| {
                facts.plugin = Some(plugin());
                facts.user = User::Allowed;
            }),
            with_resolve(),
            &[Version, Read],
        ),
        (
            "contained process of a plugin",
            caller(|facts| {
                facts.plugin = Some(plugin());
                facts.is_contained = true;
                facts.connection = Connection::Abstract;
            }),
            Rules {
                may_resolve: PATTERNS(),
                ..rules()
            },
            &[Version],
        ),
        (
            "descendant",
            caller(|facts| facts.is_descendant = true),
            rules(),
            &[Version, Read, ListPlugins, Inspect, Hijack],
        ),
        (
            "own uid, no external plugins",
            caller(|_| {}),
            Rules {
                is_external_allowed: false,
                ..rules()
            },
            &[Version, Read, ListPlugins, Inspect, Change],
        ),
    ];
    let (patterns, id) = (PATTERNS(), "db/password".parse().expect("an id"));
    for (row, facts, rules, permitted) in &rows {
        for action in columns(&patterns, &id) {
            let is_permitted = permitted.contains(&column(action.purpose()));
            let checked = check(facts, &action, rules);
            assert_eq!(
                checked.is_ok(),
                is_permitted,
                "{row}: {action:?}: {checked:?}"
            );
            if let Err(refusal) = checked {
                assert_eq!(
                    refusal.code(),
                    keyway_rpc::Code::PermissionDenied,
                    "{row}: {action:?}"
                );
            }
        }
    }
}

fn grant(facts: &CallerFacts, action: Action<'_>, rules: &Rules<'_>) -> Grant {
    check(facts, &action, rules).expect("permitted")
}

fn consulted(action: Action<'_>) -> Option<Vec<String>> {
    let texts = |patterns: Vec<Pattern>| patterns.into_iter().map(String::from).collect();
    match grant(&caller(|_| {}), action, &rules()).consultation {
        Some(Consultation::CheckAccess(patterns)) => Some(texts(patterns)),
        Some(Consultation::Authorize(patterns)) => {
            let mut all: Vec<String> = vec!["authorize".into()];
            all.extend(texts(patterns));
            Some(all)
        }
        None => None,
    }
}

#[test]
fn modules_are_consulted_about_secrets_management_and_writes() {
    let (patterns, id) = (PATTERNS(), "db/password".parse().expect("an id"));
    let consultation: Vec<Option<String>> = columns(&patterns, &id)
        .into_iter()
        .map(|action| consulted(action).map(|all| all.join(" ")))
        .collect();
    let expected = [
        None,
        Some("db/**"),
        Some("db/**"),
        Some("db/**"),
        Some("authorize db/**"),
        None,
        None,
        Some("keyway/manage/enable/vault"),
        Some("keyway/manage/disable/vault"),
        Some("keyway/manage/trust/vault"),
        Some("keyway/manage/untrust/vault"),
        Some("keyway/manage/dev/vault"),
        Some("keyway/manage/reload"),
        Some("keyway/manage/stop"),
        Some("keyway/write/db/password"),
        None,
    ];
    assert_eq!(consultation, expected.map(|text| text.map(String::from)));
}

#[test]
fn modules_are_not_consulted_about_reserved_ids_as_secrets() {
    let reserved: [Pattern; 2] =
        ["keyway/manage/stop", "keyway/write/*"].map(|text| text.parse().expect("a pattern"));
    for action in [Action::Resolve(&reserved), Action::List(&reserved)] {
        assert_eq!(consulted(action), None, "{action:?}");
    }
    let mixed: [Pattern; 2] =
        ["keyway/manage/stop", "keyway/**"].map(|text| text.parse().expect("a pattern"));
    assert_eq!(
        consulted(Action::Resolve(&mixed)),
        Some(vec!["keyway/**".into()])
    );
    let id: Id = "keyway/write/a".parse().expect("an id");
    let authorize = Action::Authorize(&reserved);
    let refused = check(&caller(|_| {}), &authorize, &rules()).expect_err("reserved");
    assert_eq!(refused.code(), keyway_rpc::Code::PermissionDenied);
    let refused = check(&caller(|_| {}), &Action::Write(&id), &rules()).expect_err("reserved");
    assert_eq!(refused, Refusal::ReservedId(id));
    assert_eq!(refused.code(), keyway_rpc::Code::InvalidArgument);
}

#[test]
fn a_reader_sees_plugins_without_messages() {
    let reader = caller(|facts| facts.user = User::Allowed);
    assert!(grant(&reader, Action::ListPlugins, &rules()).hides_status);
    assert!(!grant(&caller(|_| {}), Action::ListPlugins, &rules()).hides_status);
}

#[test]
fn a_process_of_a_plugin_is_limited_to_may_resolve() {
    let process = caller(|facts| facts.plugin = Some(plugin()));
    let rules = Rules {
        may_resolve: ["db/*", "web/token"]
            .map(|text| text.parse().expect("a pattern"))
            .to_vec(),
        ..rules()
    };
    let check_one = |make: fn(&[Pattern]) -> Action<'_>, query: &str| {
        check(
            &process,
            &make(&[query.parse().expect("a pattern")]),
            &rules,
        )
    };
    for (query, is_resolved, is_authorized) in [
        ("db/password", true, true),
        ("db/*", true, true),
        ("web/token", true, true),
        ("db/**", true, false),
        ("**", true, false),
        ("web/other", false, false),
        ("db/a/b", false, false),
        ("mail/**", false, false),
    ] {
        let resolved = check_one(|query| Action::Resolve(query), query);
        assert_eq!(resolved.is_ok(), is_resolved, "{query}");
        let authorized = check_one(|query| Action::Authorize(query), query);
        assert_eq!(authorized.is_ok(), is_authorized, "{query}");
    }
    let cut = check_one(|query| Action::Resolve(query), "db/**").expect("permitted");
    assert_eq!(cut.excluded_plugin, Some(plugin()));
    let consultation = Consultation::CheckAccess(vec!["db/*".parse().expect("a pattern")]);
    assert_eq!(cut.consultation, Some(consultation));
    let limit = cut.limit.expect("a limit");
    assert!(limit.matches(&"db/password".parse().expect("an id")));
    assert!(!limit.matches(&"db/a/b".parse().expect("an id")));
    let refused = check_one(|query| Action::Resolve(query), "web/other").expect_err("refused");
    assert!(
        refused.to_string().contains("web/other")
            && refused.to_string().contains("[plugins.vault] may_resolve")
    );
}

#[test]
fn a_listed_module_is_disabled_in_the_configuration_only() {
    let modules = BTreeSet::from(["policy".parse().expect("a name")]);
    let rules = Rules {
        listed_modules: &modules,
        ..rules()
    };
    let manage = |manage| check(&caller(|_| {}), &Action::Manage(manage), &rules);
    let refused = manage(Manage::Disable("policy")).expect_err("refused");
    assert_eq!(refused.code(), keyway_rpc::Code::FailedPrecondition);
    assert!(manage(Manage::Disable("vault")).is_ok());
    assert!(manage(Manage::Enable("policy")).is_ok());
}

/// Each text as its reader sees it.
#[test]
fn a_refusal_states_the_cause_and_the_remedy() {
    let texts = [
        (
            Refusal::UnknownUser,
            "this user may not use the daemon. Add the uid to `allow_uids` in the daemon's configuration",
        ),
        (
            Refusal::ReaderOnly(Purpose::Manage),
            "a user of `allow_uids` may not manage the daemon. Run the command as the user of the daemon",
        ),
        (
            Refusal::ContainedAtAbstractAddress(Purpose::Resolve),
            "a process of another pid namespace, as in a container, may not resolve secrets at an abstract address. Connect to the \
             daemon at a path, or set `[access] contained = true`",
        ),
        (
            Refusal::Contained(Purpose::ListPlugins),
            "a process of another pid namespace, as in a container, may not list plugins. Run the command outside of it",
        ),
        (
            Refusal::PluginConnection(Purpose::Resolve),
            "a plugin may not resolve secrets over its own connection. Use the daemon's socket, where `[plugins.NAME] may_resolve` \
             permits some ids",
        ),
        (
            Refusal::PluginProcess {
                plugin: plugin(),
                purpose: Purpose::Manage,
            },
            "a process of the plugin vault may not manage the daemon. Run the command outside of it",
        ),
        (
            Refusal::MayNotResolve {
                plugin: plugin(),
                query: "db/*".parse().expect("a pattern"),
            },
            "a process of the plugin vault may not resolve db/*. Add the pattern to `[plugins.vault] may_resolve` if it should",
        ),
        (
            Refusal::Descendant(Purpose::Write),
            "a process that descends from the daemon may not write secrets. Run the command from a shell that no plugin started",
        ),
        (
            Refusal::NoExternalPlugins,
            "external plugins are not allowed. Name the plugin in `[external] allow` of the daemon's configuration",
        ),
        (
            Refusal::ListedModule("policy".parse().expect("a name")),
            "policy is listed in `[access] modules` and cannot be disabled. Remove it from the configuration file and run `kill -HUP` \
             with the daemon's pid",
        ),
        (
            Refusal::ReservedId("keyway/write/a".parse().expect("an id")),
            "the id keyway/write/a is reserved for access-control modules and cannot be stored. Choose another id",
        ),
    ];
    for (refusal, text) in texts {
        assert_eq!(refusal.to_string(), text);
    }
}
