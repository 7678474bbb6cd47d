//! Prints how unary calls compare, and the ratios that the design promises.
//!
//! `rpc-ratios [ROUNDS [NAME]]`: 30 rounds of all contenders, or of one.
#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

use keyway_benches::contenders::unary;
use keyway_benches::ratio::{Row, compare};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(30);
    let mut contenders = unary();
    if let Some(only) = arguments.next() {
        // For a profiler, which should see one of them alone.
        contenders.retain(|contender| contender.name == only);
    }
    let rows = compare(&mut contenders, rounds, 2000);
    println!("{:<32} {:>10} {:>10}", "one call of 64 bytes", "median us", "fastest us");
    for row in &rows {
        let micros = |time: std::time::Duration| time.as_secs_f64() * 1e6;
        println!("{:<32} {:>10.2} {:>10.2}", row.name, micros(row.median), micros(row.fastest));
    }
    println!();
    let promised = [
        ("keyway-rpc, kept alive", "hyper alone, kept alive", 1.15),
        ("keyway-rpc, fresh stream", "keyway-rpc, kept alive", 1.25),
        ("keyway-rpc, fresh stream", "raw 64-byte echo", 3.5),
    ];
    for (one, other, most) in promised {
        let ratio = time(&rows, one) / time(&rows, other);
        println!("{one} / {other}: {ratio:.2} (at most {most})");
    }
}

fn time(rows: &[Row], name: &str) -> f64 {
    let row = rows.iter().find(|row| row.name == name);
    row.map_or(f64::NAN, |row| row.median.as_secs_f64())
}
