//! A caller that speaks HTTP/2, on bare `h2`.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use h2::client::{ResponseFuture, SendRequest, handshake};
use keyway_proto::FAILED_PROVIDERS_HEADER;
use tokio::time::timeout;

use crate::callers::{Connected, message};
use crate::model::{Call, Outcome};
use crate::wire::{PATH, of_parts};

/// The longest wait of a caller: the judge sees that it is late.
const LIMIT: Duration = Duration::from_secs(240);

/// Makes all calls at once over one connection. Those marked `true` are reset at once and have no outcome.
pub(crate) async fn query_all(stream: Connected, calls: Vec<(Call, bool)>) -> Vec<(Call, Outcome)> {
    let connected = async {
        let stream = stream.map_err(|error| error.to_string())?;
        let (sender, connection) = handshake(stream).await.map_err(|error| error.to_string())?;
        Ok::<_, String>((sender, tokio::spawn(connection)))
    };
    let (mut sender, connection) = match connected.await {
        Ok(connected) => connected,
        Err(error) => {
            let failed = calls.into_iter().filter(|(_, is_reset)| !is_reset);
            return failed
                .map(|(call, _)| (call, Outcome::Error(error.clone())))
                .collect();
        }
    };
    let mut pending = Vec::new();
    for (call, is_reset) in calls {
        let response = timeout(LIMIT, send(&mut sender, &call)).await;
        if !is_reset {
            pending.push((call, response));
        }
    }
    // At once, because all responses share the window of the connection.
    let outcomes = pending.into_iter().map(async |(call, response)| {
        let received = async { timeout(LIMIT, receive(&call, response?)).await };
        let outcome = match received.await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Outcome::Error(error.to_string()),
            Err(_) => Outcome::TimedOut,
        };
        (call, outcome)
    });
    let outcomes = join_all(outcomes).await;
    drop(sender);
    connection.abort();
    outcomes
}

async fn send(sender: &mut SendRequest<Bytes>, call: &Call) -> Result<ResponseFuture, h2::Error> {
    let mut ready = sender.clone().ready().await?;
    let request = http::Request::post(format!("http://x{PATH}"))
        .header("content-type", "application/proto")
        .header("connect-protocol-version", "1")
        .header("connect-timeout-ms", call.timeout.as_millis().to_string())
        .body(())
        .expect("a request");
    let (response, mut body) = ready.send_request(request, false)?;
    body.send_data(message(&call.id).into(), true)?;
    Ok(response)
}

async fn receive(
    call: &Call,
    response: Result<ResponseFuture, h2::Error>,
) -> Result<Outcome, h2::Error> {
    let (head, mut body) = response?.await?.into_parts();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        bytes.extend_from_slice(&chunk);
        body.flow_control().release_capacity(chunk.len())?;
    }
    let failed = head.headers.get(FAILED_PROVIDERS_HEADER);
    let failed = failed.and_then(|names| names.to_str().ok());
    Ok(of_parts(&call.id, head.status.as_str(), failed, &bytes))
}
