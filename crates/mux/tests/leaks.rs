//! Ten thousand sessions leave no descriptor, task or memory behind.
//!
//! A binary of its own, because it counts resources of the whole process.

mod support;

use support::{bounded, close, pair, stream};
use tokio::io::AsyncReadExt;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// One session: some streams, finished, dropped or left open, and one of the ways to end.
async fn session(number: usize) {
    let (client, server) = pair();
    let (near, mut far) = stream(&client.session, &server.session).await;
    let unfinished = stream(&server.session, &client.session).await;
    drop(near);
    assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0);
    match number % 4 {
        0 => {
            drop((far, unfinished));
            bounded("the close", close(&client.session)).await.unwrap();
        }
        1 => client.driver.abort(),
        2 => {
            drop((far, unfinished));
            drop((client.session, server.session));
            bounded("the client", client.driver).await.unwrap().unwrap();
            bounded("the server", server.driver).await.unwrap().unwrap();
            return;
        }
        _ => {
            client.driver.abort();
            server.driver.abort();
        }
    }
    // Only the end of both drivers matters here, not their outcome.
    let _ = bounded("the client", client.driver).await;
    let _ = bounded("the server", server.driver).await;
}

#[tokio::test]
async fn ten_thousand_sessions_leave_nothing_behind() {
    let tasks = tokio::runtime::Handle::current().metrics();
    for number in 0..1000 {
        session(number).await;
    }
    let (descriptors_before, tasks_before) = (descriptors(), tasks.num_alive_tasks());
    let memory_before = resident_kib();
    for number in 0..9000 {
        session(number).await;
    }
    assert_eq!(descriptors(), descriptors_before);
    assert_eq!(tasks.num_alive_tasks(), tasks_before);
    let grown = resident_kib().saturating_sub(memory_before);
    assert!(grown < 1024, "{grown} KiB more after 9000 sessions");
}
