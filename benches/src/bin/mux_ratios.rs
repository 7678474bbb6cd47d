//! Prints the cost of streams beside the bare socket pair and other multiplexers, and the goals.
//!
//! `mux-ratios [ROUNDS [PART]]`: 100 rounds of all parts, or of one (`calls`, `bulk`, `idle`,
//! `beside`, `counts`) for a profiler; `mux-ratios ROUNDS PART NAME` measures one contender alone.
#![allow(clippy::print_stdout, reason = "this program prints tables")]

use keyway_benches::allocations;
use keyway_benches::contenders::Running;
use keyway_benches::mux;
use keyway_benches::ratio::Rounds;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

/// Rounds are short, so that a disturbance of the machine affects all contenders.
const CALLS: u64 = 200;
const TRANSFERS: u64 = 1;

/// The parsed arguments.
struct Plan {
    rounds: usize,
    part: Option<String>,
    name: Option<String>,
}

impl Plan {
    fn has(&self, part: &str) -> bool {
        self.part.as_deref().is_none_or(|named| named == part)
    }

    /// Measures the contenders, or the one that was named. Returns `true` if all were measured, which ratios need.
    fn measure(&self, mut contenders: Vec<Running>, calls: u64) -> (Rounds, bool) {
        let is_named = |name| self.name.as_deref().is_none_or(|named| named == name);
        contenders.retain(|contender| is_named(contender.name));
        let rounds = Rounds::run(&mut contenders, self.rounds, calls);
        (rounds, self.name.is_none())
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().and_then(|text| text.parse().ok());
    let plan = Plan {
        rounds: rounds.unwrap_or(100),
        part: arguments.next(),
        name: arguments.next(),
    };
    if plan.has("calls") {
        calls(&plan);
    }
    if plan.has("bulk") {
        bulk(&plan);
    }
    if plan.has("idle") {
        idle(&plan);
    }
    if plan.has("beside") {
        beside(&plan);
    }
    if plan.has("counts") {
        counts();
    }
}

fn calls(plan: &Plan) {
    let (measured, is_whole) = plan.measure(mux::calls(), CALLS);
    print_times("open, echo 64 bytes, close", &measured);
    if is_whole {
        let raw = "raw 64-byte echo";
        let ratio = measured.ratio("keyway-mux", raw);
        println!("keyway-mux / {raw}: {ratio:.2} (at most 1.5)");
        for other in ["yamux crate", "tokio-yamux", "dialling each time"] {
            let ratio = measured.ratio(other, raw);
            println!("{other} / {raw}: {ratio:.2}");
        }
    }
    println!();
}

fn bulk(plan: &Plan) {
    let (measured, is_whole) = plan.measure(mux::bulk(), TRANSFERS);
    let mebibytes = (mux::BULK >> 20) as f64;
    let title = format!("{mebibytes} MiB in one direction");
    println!("{title:<32} {:>8}", "MiB/s");
    for name in measured.names() {
        let seconds = measured.time(name).as_secs_f64();
        println!("{name:<32} {:>8.0}", mebibytes / seconds);
    }
    if is_whole {
        // Sixteen socket buffers instead of two take longer even without a multiplexer.
        for (name, raw, goal) in [
            (
                "keyway-mux, one stream",
                "raw socket pair",
                " (at least 75 %)",
            ),
            (
                "keyway-mux, eight streams",
                "eight raw socket pairs",
                " (at least 75 %)",
            ),
            ("yamux crate, one stream", "raw socket pair", ""),
            ("yamux crate, eight streams", "eight raw socket pairs", ""),
        ] {
            let share = 100.0 * measured.ratio(raw, name);
            println!("{name}: {share:.0} % of {raw}{goal}");
        }
    }
    println!();
}

fn idle(plan: &Plan) {
    let (measured, is_whole) = plan.measure(mux::idle(), CALLS);
    print_times("open, echo 64 bytes, close", &measured);
    if is_whole {
        let ratio = measured.ratio("beside 10,000 idle streams", "beside 1 idle stream");
        println!("beside 10,000 idle streams / beside 1: {ratio:.2} (flat)");
    }
    println!();
}

fn beside(plan: &Plan) {
    let latencies = mux::latencies(plan.rounds, 50);
    let (idle, beside) = (latencies.idle, latencies.beside);
    println!("{:<32} {:>8}", "a call of 64 bytes, p50", "us");
    println!("{:<32} {:>8.1}", "alone", idle.as_secs_f64() * 1e6);
    println!(
        "{:<32} {:>8.1}",
        "beside a bulk transfer",
        beside.as_secs_f64() * 1e6
    );
    let ratio = beside.as_secs_f64() / idle.as_secs_f64();
    println!("beside / alone: {ratio:.1} (at most 3)");
    println!();
}

/// The reasons for the counts.
const REASONS: [&str; 3] = [
    "writes: the request; the response with ACK and FIN. The client's FIN is written with the next request.",
    "reads: one for each of them.",
    "allocations: the task of the stream at the server; one buffer at each end for the bytes that \
     arrived and are not read yet.",
];

fn counts() {
    const CALLS: u64 = 10_000;
    println!(
        "{:<14} {:>7} {:>7} {:>7} {:>7} {:>12}",
        "each call", "client", "", "server", "", "allocations"
    );
    println!(
        "{:<14} {:>7} {:>7} {:>7} {:>7} {:>12}",
        "", "reads", "writes", "reads", "writes", "both ends"
    );
    for callers in [1, 64] {
        let calls = CALLS / callers * callers;
        let mut marks = Vec::with_capacity(2);
        let (client, server) =
            mux::counted_calls(callers, calls, || marks.push(allocations::count()));
        let each = |count: u64| count as f64 / calls as f64;
        println!(
            "{callers:>3} callers    {:>7.2} {:>7.2} {:>7.2} {:>7.2} {:>12.2}",
            each(client.reads),
            each(client.writes),
            each(server.reads),
            each(server.writes),
            each(marks[1] - marks[0]),
        );
    }
    for reason in REASONS {
        println!("{reason}");
    }
}

fn print_times(title: &str, measured: &Rounds) {
    println!("{title:<32} {:>8}", "us");
    for name in measured.names() {
        println!(
            "{name:<32} {:>8.2}",
            measured.time(name).as_secs_f64() * 1e6
        );
    }
}
