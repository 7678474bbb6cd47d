//! The player against itself: the two sides of each recording are replayed to each other, and deviations are
//! detected.

use std::os::unix::net::UnixStream;
use std::thread;

use keyway_replay::{Cut, Player, Recording, Side, Transcript};

fn plugin_recordings() -> Vec<Recording> {
    let names = Recording::names().unwrap();
    let names = names.iter().filter(|name| name.starts_with("plugin-"));
    names.map(|name| Recording::load(name).unwrap()).collect()
}

/// Only one side may be cut: a player that waits for its peer to read does not
/// read itself.
fn play_both(recording: &Recording, cut: Cut, side: Side) -> (Transcript, Transcript) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let of = |played| if played == side { cut } else { Cut::Whole };
    let player = |played| Player::new(recording, played).unwrap().cut(of(played));
    let (runtime, plugin) = (player(Side::Runtime), player(Side::Plugin));
    let runtime = thread::spawn(move || runtime.play(ours).unwrap());
    let plugin = plugin.play(theirs).unwrap();
    (plugin, runtime.join().unwrap())
}

#[test]
fn the_two_sides_of_a_recording_play_to_the_end() {
    for recording in plugin_recordings() {
        let calls = recording.conversation().unwrap().calls().unwrap();
        for (cut, side) in [
            (Cut::Whole, Side::Plugin),
            (Cut::Bytes, Side::Plugin),
            (Cut::Bytes, Side::Runtime),
            (Cut::Random(1), Side::Plugin),
            (Cut::Random(2), Side::Runtime),
        ] {
            let (plugin, runtime) = play_both(&recording, cut, side);
            assert_eq!(plugin.exchanges.len(), calls.len(), "{}", recording.name);
            assert_eq!(runtime.exchanges.len(), calls.len(), "{}", recording.name);
            assert_eq!(
                runtime.sent_go_away,
                !recording.name.contains("2025-07-10"),
                "{}",
                recording.name
            );
        }
    }
}

#[test]
fn another_call_of_the_peer_is_reported() {
    let launched = Recording::load("plugin-v0.3.2-launched").unwrap();
    let older = Recording::load("plugin-v0.0.22-launched").unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let older = Player::new(&older, Side::Plugin).unwrap();
    let older = thread::spawn(move || older.play(theirs));
    let runtime = Player::new(&launched, Side::Runtime).unwrap();
    let deviation = runtime.play(ours).unwrap_err().to_string();
    assert_eq!(
        deviation,
        "plugin-v0.3.2-launched (whole) deviated before step 0 (WindowUpdate+ACK stream 1, delta 0): \
         the peer called /resolver.v1.RegisterService/RegisterPlugin where \
         /plugins.v1.RegisterService/RegisterPlugin was recorded, or with another message"
    );
    older.join().unwrap().unwrap_err();
}

#[test]
fn a_peer_that_closes_early_is_reported() {
    let recording = Recording::load("plugin-v0.3.2-launched").unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    let player = Player::new(&recording, Side::Runtime).unwrap();
    let deviation = player.play(ours).unwrap_err().to_string();
    assert!(
        deviation.contains("the peer closed the connection; still missing: the call of"),
        "{deviation}"
    );
}
