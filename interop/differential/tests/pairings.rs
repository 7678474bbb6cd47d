//! Every pairing plays 500 scripts of all classes.
//!
//! `KEYWAY_SEED=n` plays one script, `KEYWAY_SCRIPTS=n` another number of them.

use keyway_differential::{Campaign, Class, Pairing, seeds, verdict};

/// The default origin of the seeds of the scripts, so that every run is the same.
const BASE: u64 = 2026;

/// Number of scripts that each pairing plays.
const SCRIPTS: u64 = 500;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is not a number: {text:?}")))
}

/// Prints a line that the test runner does not capture.
fn say(message: &str) {
    use std::io::Write as _;
    // A closed standard error has no reader.
    let _ = writeln!(std::io::stderr().lock(), "{message}");
}

fn plays(name: &str) {
    let pairing: Pairing = name.parse().expect("the name of a pairing");
    let Some(mut campaign) = Campaign::new(pairing) else {
        return;
    };
    if let Some(seed) = number("KEYWAY_SEED") {
        say(&format!(
            "{pairing}: KEYWAY_SEED={seed}, class {}",
            Class::of_seed(seed)
        ));
        if let Err(mut failure) = campaign.play_seed(seed) {
            campaign.shrink(&mut failure);
            panic!("{failure}");
        }
        return;
    }
    let count = number("KEYWAY_SCRIPTS").unwrap_or(SCRIPTS) as usize;
    say(&format!("{pairing}: {count} scripts, --seed {BASE}"));
    let mut tallies = campaign.run(seeds(BASE, count, None));
    campaign.insist(BASE + 1, &mut tallies);
    if !verdict(pairing, &tallies).is_empty() && !pairing_is_foreign(pairing) {
        let failures = tallies
            .values_mut()
            .filter_map(|tally| tally.first.as_mut());
        failures.for_each(|failure| campaign.shrink(failure));
    }
    let wrong = verdict(pairing, &tallies);
    assert!(
        wrong.is_empty(),
        "{pairing}, seeds from {BASE}:\n{}",
        wrong.join("\n")
    );
}

fn pairing_is_foreign(pairing: Pairing) -> bool {
    pairing.client.is_foreign() || pairing.server.is_foreign()
}

#[test]
fn native_native() {
    plays("native-native");
}

#[test]
fn native_native_threads() {
    plays("native-native-threads");
}

#[test]
fn native_go_threads() {
    plays("native-go-threads");
}

#[test]
fn native_go() {
    plays("native-go");
}

#[test]
fn go_native() {
    plays("go-native");
}

#[test]
fn go_go() {
    plays("go-go");
}

#[test]
fn native_yamux() {
    plays("native-yamux");
}

#[test]
fn yamux_native() {
    plays("yamux-native");
}

#[test]
fn native_tokio_yamux() {
    plays("native-tokio_yamux");
}

#[test]
fn tokio_yamux_native() {
    plays("tokio_yamux-native");
}
