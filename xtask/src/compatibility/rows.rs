//! The rows of the compatibility table with their tests.

/// A pairing.
pub(super) struct Row {
    /// The other program.
    pub(super) peer: &'static str,
    /// Its versions.
    pub(super) version: &'static str,
    /// Which side calls the other.
    pub(super) direction: &'static str,
    /// The subject of the test.
    pub(super) what: &'static str,
    /// The tests as `FILE::TEST`, all of which must pass.
    pub(super) tests: &'static [&'static str],
}

/// A program of `interop/go`.
const LIVE: &str = "HashiCorp's yamux and connect-go";

/// All rows.
pub(super) const ROWS: &[Row] = &[
    Row {
        peer: "Go plugin, launched",
        version: "SDK v0.0.9 to v0.3.x (each way to register)",
        direction: "called by `keyway serve`",
        what: "every kind of response, 64 slow calls at once with a stream-open timeout of 1 s, 8 MiB values, listing, disabling, enabling, stop in one drain poll",
        tests: &[
            "go_plugin::a_launched_plugin_of_each_generation_is_served",
            "go_plugin::keep_alives_pass_in_both_directions",
        ],
    },
    Row {
        peer: "Go plugin, launched",
        version: "SDK v0.3.x",
        direction: "called by `keyway serve`",
        what: "20,000 requests of 64 callers without a failure",
        tests: &["go_plugin::twenty_thousand_requests_of_64_callers_succeed"],
    },
    Row {
        peer: "Go plugin, external",
        version: "SDK v0.0.9 to v0.3.x (each way to register)",
        direction: "called by `keyway serve`",
        what: "the same, a second registration, refusals with their codes, GoAway during calls",
        tests: &[
            "go_plugin::an_external_plugin_of_each_generation_is_served",
            "go_plugin::a_taken_name_is_refused",
            "go_plugin::an_invalid_registration_is_refused_with_its_code",
            "go_plugin::calls_in_flight_at_the_plugins_go_away_succeed",
        ],
    },
    Row {
        peer: "Go plugin, external",
        version: "SDK v0.0.9 to v0.0.22, at the addresses of their time",
        direction: "called by `keyway serve --listen-older`",
        what: "registration, every kind of response, stop",
        tests: &["go_plugin::older_plugins_find_the_daemon_at_their_addresses"],
    },
    Row {
        peer: "Go plugin that stays after Shutdown",
        version: "SDKs of 2025",
        direction: "called by `keyway serve`",
        what: "the daemon closes the connection, and the plugin ends",
        tests: &["go_plugin::a_plugin_that_stays_after_shutdown_is_disconnected"],
    },
    Row {
        peer: "Go plugin with faults",
        version: "SDK v0.3.x",
        direction: "called by `keyway serve`",
        what: "unusual, broken or hostile HTTP, invalid messages, the exit of the process during a call: each is reported and fails no other call",
        tests: &[
            "go_faults::each_fault_is_named_and_fails_one_call",
            "go_faults::a_crash_during_a_call_fails_that_call_and_the_plugin_is_restarted",
        ],
    },
    Row {
        peer: "Go plugin that knows only `GetSecret`",
        version: "SDK before v0.0.9",
        direction: "not served",
        what: "it is stopped with the advice to rebuild it",
        tests: &["go_plugin::the_oldest_plugin_is_stopped_with_a_reason"],
    },
    Row {
        peer: "Go access-control module",
        version: "SDK v0.3.x",
        direction: "called by `keyway serve`",
        what: "CheckAccess and Authorize with the requester's process and executable, allowed and denied",
        tests: &["go_plugin::an_access_control_module_decides"],
    },
    Row {
        peer: "Go client",
        version: "v0.0.30, and v0.0.25 for listing",
        direction: "calls `keyway serve`",
        what: "every call of the protocol, 64 callers on kept-alive connections",
        tests: &[
            "go_plugin::a_launched_plugin_of_each_generation_is_served",
            "go_plugin::an_access_control_module_decides",
        ],
    },
    Row {
        peer: "Go runtime",
        version: LIVE,
        direction: "calls Keyway's plugins, launched and external (status lines HTTP/1.1 and HTTP/0.0)",
        what: "every kind of response, 20,000 requests of 64 callers, stream-open timeout of 1 s, 8 MiB values, GoAway during calls, shutdown with a call in flight, refusal, keep-alive, stop in one drain poll",
        tests: &[
            "go_runtime::a_launched_plugin_serves_every_method",
            "go_runtime::a_launched_plugin_serves_20_000_requests_of_64_callers",
            "go_runtime::a_launched_plugin_sends_large_values",
            "go_runtime::calls_in_flight_at_the_runtimes_go_away_succeed",
            "go_runtime::a_shutdown_waits_for_the_call_in_flight_and_no_longer",
            "go_runtime::a_refused_plugin_exits_at_once",
            "go_runtime::a_plugin_ends_with_its_runtime",
            "go_runtime::keep_alives_are_acknowledged",
            "go_runtime::an_external_plugin_accepts_the_status_line_of_either_acceptor",
        ],
    },
    Row {
        peer: "Go runtime",
        version: LIVE,
        direction: "calls the `file` plugin and an access-control module of Keyway",
        what: "20,000 requests of 64 callers for a stored secret; decisions",
        tests: &[
            "go_runtime::the_file_plugin_serves_its_store",
            "go_runtime::an_access_control_module_is_consulted",
        ],
    },
    Row {
        peer: "Go daemon",
        version: LIVE,
        direction: "called by Keyway's resolver and command line",
        what: "every call, 64 callers, 8 MiB values, exit codes",
        tests: &[
            "go_daemon::the_resolver_queries_a_go_daemon",
            "go_daemon::sixty_four_callers_share_a_resolver",
            "go_daemon::the_command_line_queries_a_go_daemon",
        ],
    },
    Row {
        peer: "Go daemon and Go client",
        version: LIVE,
        direction: "call Keyway's plugins, launched and external",
        what: "every kind of response, listing, disabling, enabling, stop in one drain poll",
        tests: &[
            "go_daemon::a_go_daemon_has_external_plugins_of_keyway",
            "go_daemon::a_go_daemon_launches_a_plugin_of_keyway",
        ],
    },
    Row {
        peer: "Recorded plugins",
        version: "SDK v0.0.19, v0.0.22, v0.3.2",
        direction: "replayed to `keyway serve`, launched and external",
        what: "each recording whole, one byte at a time and split at random: responses, access control, keep-alive, shutdown with a call in flight, refusal",
        tests: &[
            "runtime::a_launched_plugin_of_each_generation_is_served",
            "runtime::an_external_plugin_is_served",
            "runtime::an_access_control_module_is_consulted",
            "runtime::a_silent_plugin_is_pinged_and_stopped",
            "runtime::a_call_in_flight_at_shutdown_completes",
            "runtime::a_second_plugin_of_a_name_is_refused",
        ],
    },
    Row {
        peer: "Recorded client",
        version: "v0.0.30 plus Authorize",
        direction: "replayed to `keyway serve`",
        what: "twelve calls on one connection, call by call and all at once",
        tests: &[
            "client::calls_one_by_one_in_every_cut_have_the_recorded_outcomes",
            "client::pipelined_calls_have_the_recorded_outcomes",
        ],
    },
    Row {
        peer: "Recorded runtime and acceptor",
        version: "x v0.7.0 (`HTTP/0.0 101`)",
        direction: "replayed to Keyway's plugins",
        what: "each recording whole, one byte at a time and split at random, including gzip responses",
        tests: &[
            "sdk::a_launched_plugin_follows_the_recording",
            "sdk::an_external_plugin_accepts_both_status_lines",
            "sdk::frames_behind_the_101_are_not_lost",
            "sdk::an_access_control_module_follows_the_recording",
            "sdk::a_call_in_flight_at_shutdown_completes",
            "sdk::a_refused_plugin_exits",
            "sdk::a_ping_is_acknowledged",
        ],
    },
    Row {
        peer: "Recordings",
        version: "all twelve, July 2025 to August 2026",
        direction: "decoded",
        what: "frames, HTTP, gzip and every field of every message",
        tests: &[
            "decode::every_plugin_recording_is_complete",
            "decode::the_responses_of_a_provider_are_decoded",
            "decode::the_oldest_plugin_returns_one_secret_at_a_time",
            "decode::the_responses_to_a_client_are_decoded",
        ],
    },
    Row {
        peer: "`yamux` crate (`interop/yamux-engine`)",
        version: "0.14",
        direction: "plugin under `keyway serve`, and runtime of Keyway's plugin",
        what: "calls, 8 MiB values, stop",
        tests: &[
            "yamux_backend::a_plugin_on_the_yamux_crate_serves_keyway",
            "yamux_backend::a_runtime_on_the_yamux_crate_calls_keyways_plugin",
        ],
    },
    Row {
        peer: "`yamux` crate (`interop/yamux-engine`)",
        version: "0.14",
        direction: "its limitations",
        what: "a call in flight is lost at GoAway(0); a Go runtime ends the session if a response is slow, because the stream is acknowledged with its first byte",
        tests: &[
            "yamux_backend::the_yamux_crate_loses_calls_at_go_away",
            "yamux_backend::the_yamux_crate_acknowledges_too_late_for_a_go_runtime",
        ],
    },
    Row {
        peer: "HashiCorp's yamux, without HTTP",
        version: "v0.1.2",
        direction: "Keyway's multiplexer in both roles",
        what: "known failures of other Rust multiplexers with it: slow handlers, 8 MiB both ways beside small calls, GoAway of either side during calls, FIN on window updates, keep-alive, all ways to end a session, 20,000 fresh streams",
        tests: &[
            "go_lessons::m01_a_handler_slower_than_the_stream_open_timeout",
            "go_lessons::m01_a_thousand_silent_handlers_do_not_stop_the_peer",
            "go_lessons::m14_m25_m26_8_mib_in_both_directions_beside_small_calls",
            "go_lessons::m15_the_peers_go_away_during_calls",
            "go_lessons::m15_our_close_during_the_peers_calls",
            "go_lessons::m16_data_before_the_peers_close_is_read",
            "go_lessons::m19_fin_is_sent_on_window_updates",
            "go_lessons::m24_pings_are_acknowledged_idle_and_busy",
            "go_load::m21_20_000_fresh_streams_each_way_and_many_sessions_leave_nothing",
        ],
    },
    Row {
        peer: "HashiCorp's yamux, without HTTP",
        version: "v0.1.2",
        direction: "Keyway's multiplexer in both roles",
        what: "500 random scripts of 50 operations each way, with the same results for both applications as between two of Keyway's",
        tests: &[
            "pairings::native_native",
            "pairings::native_go",
            "pairings::go_native",
            "pairings::go_go",
        ],
    },
    Row {
        peer: "`yamux` and `tokio-yamux` crates, without HTTP",
        version: "0.14 and 0.3",
        direction: "Keyway's multiplexer in both roles",
        what: "the same scripts; the classes that those crates fail are listed with reasons in `interop/differential/known-failures.toml`",
        tests: &[
            "pairings::native_yamux",
            "pairings::yamux_native",
            "pairings::native_tokio_yamux",
            "pairings::tokio_yamux_native",
        ],
    },
];
