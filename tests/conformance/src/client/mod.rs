//! The client under test.

mod call;
mod transport;

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::io::Stdout;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use self::transport::{Dial, Transports};
use crate::frame;
use crate::network::{Network, bridge_from_session, session_pair};
use crate::suite::{ClientCompatRequest, ClientCompatResponse};

/// Number of calls that run at once.
const CONCURRENCY: usize = 16;

/// Reads calls from standard input until it ends, makes them, and reports each.
///
/// # Errors
///
/// The suite's requests cannot be read, or the reports cannot be written.
pub async fn run(network: Network) -> Result<()> {
    let mut bridge = JoinSet::new();
    let transports = Transports::new(dial(network, &mut bridge)?);
    let (reports, queue) = mpsc::channel(CONCURRENCY);
    let writer = tokio::spawn(write(tokio::io::stdout(), queue));
    let slots = Arc::new(Semaphore::new(CONCURRENCY));
    let mut calls = JoinSet::new();
    let mut input = tokio::io::stdin();
    while let Some(request) = frame::read::<ClientCompatRequest>(&mut input).await? {
        let slot = Arc::clone(&slots).acquire_owned().await?;
        let (transports, reports) = (transports.clone(), reports.clone());
        calls.spawn(async move {
            let response = call::perform(&transports, request).await;
            drop(slot);
            reports.send(response).await
        });
        while let Some(done) = calls.try_join_next() {
            done?.context("the reports are no longer written")?;
        }
    }
    drop(reports);
    while let Some(done) = calls.join_next().await {
        done?.context("the reports are no longer written")?;
    }
    writer.await?
}

fn dial(network: Network, bridge: &mut JoinSet<()>) -> Result<Dial> {
    if network == Network::Direct {
        return Ok(Dial::Tcp);
    }
    let (client, server) = session_pair(bridge)?;
    bridge.spawn(bridge_from_session(server));
    Ok(Dial::Mux(client))
}

async fn write(mut output: Stdout, mut queue: mpsc::Receiver<ClientCompatResponse>) -> Result<()> {
    while let Some(response) = queue.recv().await {
        frame::write(&mut output, &response).await?;
    }
    Ok(())
}
