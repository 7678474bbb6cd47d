//! Streams of the multiplexer beside the bare socket pair and other multiplexers.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use keyway_benches::contenders::Running;
use keyway_benches::mux;

fn measure(mut group: BenchmarkGroup<'_, WallTime>, contenders: Vec<Running>) {
    for mut contender in contenders {
        group.bench_function(contender.name, |bencher| {
            bencher.iter_custom(|calls| contender.measure(calls));
        });
    }
    group.finish();
}

fn streams(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mux/open, echo 64 bytes, close");
    group.throughput(Throughput::Elements(1));
    measure(group, mux::calls());
    let mut group = criterion.benchmark_group("mux/open, echo, close beside idle streams");
    group.throughput(Throughput::Elements(1));
    measure(group, mux::idle());
    let mut group = criterion.benchmark_group("mux/bulk");
    group.throughput(Throughput::Bytes(mux::BULK as u64));
    measure(group, mux::bulk());
}

criterion_group!(benches, streams);
criterion_main!(benches);
