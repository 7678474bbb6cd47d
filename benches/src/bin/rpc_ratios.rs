//! Prints how unary calls compare, and the ratios that the design promises.
//!
//! `rpc-ratios [ROUNDS [NAME]]`: 300 rounds of all contenders, or of one for a profiler.
#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

use keyway_benches::contenders::unary;
use keyway_benches::ratio::Rounds;

/// Short rounds: what disturbs the machine then disturbs neighbours alike.
const CALLS: u64 = 200;

const PROMISED: [(&str, &str, f64); 3] = [
    ("keyway-rpc, kept alive", "hyper alone, kept alive", 1.15),
    ("keyway-rpc, fresh stream", "keyway-rpc, kept alive", 1.25),
    ("keyway-rpc, fresh stream", "raw 64-byte echo", 3.5),
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(300);
    let only = arguments.next();
    let mut contenders = unary();
    contenders.retain(|contender| only.as_deref().is_none_or(|name| name == contender.name));
    let measured = Rounds::run(&mut contenders, rounds, CALLS);
    println!("{:<32} {:>8}", "one call of 64 bytes", "us");
    for name in measured.names() {
        println!(
            "{name:<32} {:>8.2}",
            measured.time(name).as_secs_f64() * 1e6
        );
    }
    if only.is_none() {
        println!();
        for (name, other, most) in PROMISED {
            let ratio = measured.ratio(name, other);
            println!("{name} / {other}: {ratio:.2} (at most {most})");
        }
    }
}
