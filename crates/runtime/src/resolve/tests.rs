//! What of several answers the caller gets, without any I/O.

use std::time::SystemTime;

use keyway_proto::plugins::v1::RunStatus;
use keyway_proto::timestamp;
use proptest::prelude::*;

use super::answer::admit;
use super::*;
use crate::config::PluginConfig;
use crate::realm::Realm;
use crate::registry::Origin;

fn pattern(text: &str) -> Pattern {
    text.parse().expect("a pattern")
}

fn entry(
    name: &str,
    realm: Option<&str>,
    availability: Availability,
    config: PluginConfig,
) -> Arc<Entry> {
    Arc::new(Entry {
        name: name.parse().expect("a name"),
        origin: Origin::Launched,
        config: Arc::new(config),
        availability,
        kind: realm.map(|realm| Kind::Provider(pattern(realm))),
        version: "v1".into(),
        run_status: RunStatus::Unspecified,
        status_message: "it is down".into(),
    })
}

fn provider(name: &str) -> Arc<Entry> {
    entry(
        name,
        Some("**"),
        Availability::Down,
        PluginConfig::default(),
    )
}

fn envelope(id: &str) -> Envelope {
    let mut envelope = Envelope::default();
    envelope.id = Some(id.into());
    envelope
}

fn found(provider: &Arc<Entry>, ids: &[&str]) -> Answer {
    let envelopes = ids.iter().map(|id| envelope(id)).collect();
    let realm = provider.realm().expect("a realm");
    Answer::found(
        provider,
        admit(
            provider,
            &realm,
            &pattern("**"),
            envelopes,
            SystemTime::now(),
        ),
    )
}

fn shown(resolution: &Resolution) -> Vec<String> {
    let pairs = resolution.envelopes.iter();
    pairs
        .map(|envelope| format!("{} from {}", envelope.id(), envelope.provider()))
        .collect()
}

fn snapshot(entries: &[Arc<Entry>]) -> Snapshot {
    entries
        .iter()
        .map(|entry| (entry.name.clone(), Arc::clone(entry)))
        .collect()
}

#[test]
fn answers_are_merged_in_the_order_of_names_whoever_was_first() {
    let answers = vec![
        found(&provider("b"), &["x", "y"]),
        found(&provider("a"), &["z"]),
    ];
    let resolution = conclude(&pattern("**"), answers, Vec::new()).expect("secrets");
    assert_eq!(shown(&resolution), ["z from a", "x from b", "y from b"]);
}

#[test]
fn the_higher_rank_answers_and_equal_ranks_both_do() {
    let preferred = PluginConfig {
        priority: Some(5),
        ..PluginConfig::default()
    };
    let preferred = entry("c", Some("**"), Availability::Down, preferred);
    let answers = vec![
        found(&provider("a"), &["x", "y"]),
        found(&provider("b"), &["y"]),
        found(&preferred, &["x"]),
    ];
    let resolution = conclude(&pattern("**"), answers, Vec::new()).expect("secrets");
    assert_eq!(shown(&resolution), ["y from a", "y from b", "x from c"]);
}

#[test]
fn what_a_provider_says_twice_counts_once() {
    let answers = vec![found(&provider("a"), &["x", "y", "x", "x"])];
    let resolution = conclude(&pattern("**"), answers, Vec::new()).expect("secrets");
    assert_eq!(shown(&resolution), ["x from a", "y from a"]);
}

#[test]
fn an_impossible_time_of_one_provider_does_not_spoil_the_answer() {
    let provider = provider("a");
    let realm = provider.realm().expect("a realm");
    let mut wrong = envelope("x");
    let impossible = timestamp::Timestamp {
        seconds: 1 << 60,
        nanos: -5,
    };
    wrong.created_at = Some(impossible);
    wrong.resolved_at = Some(impossible);
    wrong.expires_at = Some(impossible);
    let now = SystemTime::now();
    let admitted = admit(&provider, &realm, &pattern("**"), vec![wrong], now);
    let [envelope] = admitted.as_slice() else {
        panic!("the secret is there: {admitted:?}");
    };
    for time in [
        envelope.created_at,
        envelope.resolved_at,
        envelope.expires_at,
    ] {
        assert!(timestamp::from_wire(time).is_ok(), "{time:?}");
    }
    let expires_at = timestamp::from_wire(envelope.expires_at).expect("a time");
    assert!(expires_at > Some(now), "{expires_at:?}");
}

#[test]
fn nothing_is_not_found_unless_somebody_failed() {
    let error = conclude(
        &pattern("a/b"),
        vec![found(&provider("a"), &[])],
        Vec::new(),
    )
    .expect_err("nothing");
    assert_eq!(error.code(), Code::NotFound);
    let failure = Failure::new(&provider("b"), "no answer within 10s");
    let error = conclude(&pattern("a/b"), Vec::new(), vec![failure]).expect_err("unavailable");
    assert_eq!(error.code(), Code::Unavailable);
    assert!(
        error
            .message()
            .ends_with("no answer came from: b (no answer within 10s)"),
        "{}",
        error.message()
    );
    assert_eq!(
        error
            .metadata()
            .get(FAILED_PROVIDERS_HEADER)
            .map(http::HeaderValue::as_bytes),
        Some(&b"b"[..])
    );
}

#[test]
fn a_failure_of_one_who_never_registered_does_not_spoil_the_answers_of_others() {
    let unknown = entry("broken", None, Availability::Down, PluginConfig::default());
    let known = provider("known");
    let failed = vec![Failure::new(&unknown, "x"), Failure::new(&known, "y")];
    let resolution = conclude(
        &pattern("**"),
        vec![found(&provider("a"), &["z"])],
        failed.clone(),
    )
    .expect("secrets");
    let names: Vec<&str> = resolution
        .failed
        .iter()
        .map(|failure| failure.provider.as_str())
        .collect();
    assert_eq!(names, ["known"]);
    assert!(conclude(&pattern("**"), Vec::new(), failed).is_err());
}

#[test]
fn plugins_are_sorted_by_what_can_be_expected_of_them() {
    let default = PluginConfig::default;
    let limited = PluginConfig {
        realm: Some(vec![pattern("team/**")]),
        ..default()
    };
    let entries = [
        entry("disabled", Some("**"), Availability::Disabled, default()),
        entry("down", Some("a/**"), Availability::Down, default()),
        entry("elsewhere", Some("b/**"), Availability::Down, default()),
        entry("limited", None, Availability::Starting, limited),
        entry("never-seen", None, Availability::Starting, default()),
        entry("never-seen-and-down", None, Availability::Down, default()),
    ];
    let candidates = Candidates::among(&snapshot(&entries), &pattern("a/*"));
    let names = |entries: &[Arc<Entry>]| {
        entries
            .iter()
            .map(|entry| entry.name.to_string())
            .collect::<Vec<_>>()
    };
    assert!(candidates.running.is_empty());
    assert_eq!(names(&candidates.starting), ["never-seen"]);
    assert_eq!(
        candidates
            .failed
            .iter()
            .map(|failure| failure.provider.as_str())
            .collect::<Vec<_>>(),
        ["down"]
    );
}

#[test]
fn an_admitted_answer_is_stamped() {
    let provider = provider("file");
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let mut stamped = envelope("a/b");
    stamped.provider = Some("somebody else".into());
    let realm = provider.realm().expect("a realm");
    let admitted = admit(&provider, &realm, &pattern("a/*"), vec![stamped], now);
    assert_eq!(admitted[0].provider(), "file");
    assert_eq!(admitted[0].resolved_at, Some(timestamp::to_wire(Some(now))));
    // "None" is said, because Go peers take silence for 1970.
    assert_eq!(admitted[0].expires_at, Some(timestamp::to_wire(None)));
}

proptest! {
    /// Whatever a provider sends, only what is in its realm and was asked for comes through, and that once.
    #[test]
    fn no_answer_leaves_its_realm(
        ids in prop::collection::vec("[abc]{1,2}(/[abc]){0,2}|[a-z/* ]{0,5}", 0..20),
        realm in "[ab](/[ab*]|/\\*\\*){0,2}",
        query in "[ab*](/[ab*]|/\\*\\*){0,2}",
    ) {
        let provider = entry("p", Some(&realm), Availability::Down, PluginConfig::default());
        let (realm, query) = (Realm::new(pattern(&realm), None), pattern(&query));
        let envelopes: Vec<Envelope> = ids.iter().map(|id| envelope(id)).collect();
        let admitted = admit(&provider, &realm, &query, envelopes, SystemTime::now());
        let mut expected: Vec<&String> = Vec::new();
        for id in &ids {
            let admissible = id.parse().is_ok_and(|id| realm.matches(&id) && query.matches(&id));
            if admissible && !expected.contains(&id) {
                expected.push(id);
            }
        }
        prop_assert_eq!(admitted.iter().map(Envelope::id).collect::<Vec<_>>(), expected);
    }
}
