//! Prints the times of unary calls, and their ratios beside the goals.
//!
//! `rpc-ratios [ROUNDS [PART]]`: 300 rounds of all parts, or of one (`calls`, `counts`);
//! `rpc-ratios ROUNDS calls NAME` measures one contender alone, for a profiler.
#![allow(clippy::print_stdout, reason = "this program prints a table")]

use keyway_benches::contenders::{Running, unary};
use keyway_benches::ratio::Rounds;
use keyway_benches::{allocations, counts};

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

/// Rounds are short, so that a disturbance of the machine affects all contenders.
const CALLS: u64 = 200;

const GOALS: [(&str, &str, f64); 3] = [
    ("keyway-rpc, kept alive", "hyper alone, kept alive", 1.15),
    ("keyway-rpc, fresh stream", "keyway-rpc, kept alive", 1.25),
    ("keyway-rpc, fresh stream", "raw 64-byte echo", 3.5),
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().and_then(|text| text.parse().ok());
    let (part, name) = (arguments.next(), arguments.next());
    let has = |wanted| part.as_deref().is_none_or(|part| part == wanted);
    let mut contenders = unary();
    contenders.retain(|contender| name.as_deref().is_none_or(|name| name == contender.name));
    if has("calls") {
        let measured = Rounds::run(&mut contenders, rounds.unwrap_or(300), CALLS);
        print_times(&measured);
        if name.is_none() {
            print_ratios(&measured);
        }
    }
    if has("counts") {
        print_counts(&mut contenders);
    }
}

fn print_times(measured: &Rounds) {
    println!("{:<32} {:>8}", "one call of 64 bytes", "us");
    for name in measured.names() {
        println!(
            "{name:<32} {:>8.2}",
            measured.time(name).as_secs_f64() * 1e6
        );
    }
    println!();
}

fn print_ratios(measured: &Rounds) {
    for (name, other, most) in GOALS {
        let ratio = measured.ratio(name, other);
        println!("{name} / {other}: {ratio:.2} (at most {most})");
    }
    println!();
}

/// Counts do not depend on the load of the machine.
fn print_counts(contenders: &mut [Running]) {
    println!(
        "{:<32} {:>11} {:>12} {:>12}",
        "each call, both ends", "allocations", "system calls", "instructions"
    );
    for contender in contenders {
        let name = contender.name;
        contender.measure(CALLS);
        let before = allocations::count();
        contender.measure(CALLS);
        let allocations = (allocations::count() - before) as f64 / CALLS as f64;
        let system_calls = counts::system_calls(CALLS, &["calls", name]);
        let instructions = counts::instructions(CALLS, &["calls", name]);
        println!(
            "{name:<32} {allocations:>11.1} {:>12} {:>12}",
            shown(system_calls, 1, "no strace"),
            shown(instructions, 0, "no valgrind"),
        );
    }
    println!();
}

fn shown(count: Option<f64>, digits: usize, otherwise: &str) -> String {
    count.map_or_else(|| otherwise.to_owned(), |count| format!("{count:.digits$}"))
}
