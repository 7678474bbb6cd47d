//! Random operations on a pair, and random bytes for one end, compared with the guarantees.

use proptest::prelude::*;

use crate::fuzzing::{Limits, Script, ScriptedStep, frame_decoder, session_bytes, session_pair};

fn step() -> impl Strategy<Value = ScriptedStep> {
    let stream = 0u8..8;
    let client = any::<bool>();
    prop_oneof![
        60 => client.prop_map(|client| ScriptedStep::Open { client }),
        60 => client.prop_map(|client| ScriptedStep::Accept { client }),
        20 => (client, stream.clone()).prop_map(|(client, stream)| ScriptedStep::SendSyn { client, stream }),
        160 => (client, stream.clone(), 1u16..40_000)
            .prop_map(|(client, stream, length)| ScriptedStep::Write { client, stream, length }),
        160 => (client, stream.clone(), 1u16..60_000)
            .prop_map(|(client, stream, limit)| ScriptedStep::Read { client, stream, limit }),
        40 => (client, stream.clone()).prop_map(|(client, stream)| ScriptedStep::Finish { client, stream }),
        20 => (client, stream.clone()).prop_map(|(client, stream)| ScriptedStep::Reset { client, stream }),
        40 => (client, stream).prop_map(|(client, stream)| ScriptedStep::Drop { client, stream }),
        1 => client.prop_map(|client| ScriptedStep::GoAway { client }),
        1 => client.prop_map(|client| ScriptedStep::Close { client }),
        200 => (1u16..65_000, 1u16..5000, 1u8..50)
            .prop_map(|(capacity, chunk, rounds)| ScriptedStep::Move { capacity, chunk, rounds }),
        20 => (1u16..20_000).prop_map(|millis| ScriptedStep::Wait { millis }),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let limited = (0u8..4, 0u8..4, 0u8..8, 0u16..20_000, 0u16..1024).prop_map(
        |(accept_queue, unacknowledged, streams, send_queue, growth)| Limits {
            accept_queue,
            unacknowledged,
            streams,
            send_queue,
            growth,
        },
    );
    let unlimited = Limits {
        growth: 16 * 1024,
        ..Limits::default()
    };
    prop_oneof![limited, Just(unlimited)]
}

fn script() -> impl Strategy<Value = Script> {
    let steps = prop::collection::vec(step(), 1..120);
    (limits(), limits(), steps).prop_map(|(client, server, steps)| Script {
        client,
        server,
        steps,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_decode_and_encode_to_themselves(
        chunk in any::<u8>(),
        headers in prop::collection::vec((0u8..4, any::<[u8; 7]>(), 0u8..30), 0..20),
        garbage in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        let mut input = vec![chunk];
        for (kind, rest, length) in headers {
            input.extend([0, kind]);
            input.extend([0; 2]);
            input.extend(rest);
            input.push(length);
            if kind == 0 {
                input.resize(input.len() + usize::from(length), 7);
            }
        }
        input.extend(garbage);
        frame_decoder(&input);
    }

    #[test]
    fn a_pair_is_a_bundle_of_byte_pipes(script in script()) {
        session_pair(&script);
    }

    #[test]
    fn any_bytes_keep_the_invariants(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        session_bytes(&bytes);
    }

    #[test]
    fn any_frames_keep_the_invariants(
        flags in any::<u8>(),
        steps in prop::collection::vec(any::<[u8; 2]>(), 15),
        frames in prop::collection::vec((0u8..4, 0u16..16, 0u32..6, 0u32..40), 0..200),
    ) {
        // More steps than the flags can encode would be the peer's bytes.
        let steps = &steps[..usize::from(flags >> 3 & 15)];
        let mut input = vec![flags];
        input.extend(steps.iter().flatten());
        for (kind, flags, stream, length) in frames {
            input.extend([0, kind]);
            input.extend(flags.to_be_bytes());
            input.extend(stream.to_be_bytes());
            input.extend(length.to_be_bytes());
            if kind == 0 {
                input.resize(input.len() + length as usize, 7);
            }
        }
        session_bytes(&input);
    }
}
