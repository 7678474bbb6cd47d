//! Unary calls of 64 bytes.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use keyway_benches::contenders::unary;

fn calls(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("unary");
    group.throughput(Throughput::Elements(1));
    for mut contender in unary() {
        group.bench_function(contender.name, |bencher| {
            bencher.iter_custom(|calls| contender.measure(calls));
        });
    }
    group.finish();
}

criterion_group!(benches, calls);
criterion_main!(benches);
