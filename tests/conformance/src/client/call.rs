//! One call, as the suite describes it, and the report of its outcome.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use keyway_rpc::client::{Client, Config};
use keyway_rpc::{Codec, Compression as RequestCompression, Error, MethodSpec, Request, Response};
use prost::{Message, Name};
use prost_types::Any;

use super::transport::{Transport, Transports};
use crate::headers;
use crate::suite::client_compat_request::cancel::CancelTiming;
use crate::suite::client_compat_response::Result as Outcome;
use crate::suite::conformance_service_methods::{IDEMPOTENT_UNARY, UNARY, UNIMPLEMENTED};
use crate::suite::{
    ClientCompatRequest, ClientCompatResponse, ClientErrorResult, ClientResponseResult,
    Codec as SuiteCodec, Compression, ConformancePayload, HttpVersion, IdempotentUnaryRequest,
    IdempotentUnaryResponse, UnaryRequest, UnaryResponse, UnimplementedRequest,
    UnimplementedResponse,
};

pub(super) async fn perform(
    transports: &Transports,
    request: ClientCompatRequest,
) -> ClientCompatResponse {
    let test_name = request.test_name.clone();
    let result = match call(transports, request).await {
        Ok(result) => Outcome::Response(result),
        Err(error) => Outcome::Error(ClientErrorResult {
            message: format!("{error:#}"),
        }),
    };
    ClientCompatResponse {
        test_name,
        result: Some(result),
    }
}

async fn call(
    transports: &Transports,
    request: ClientCompatRequest,
) -> Result<ClientResponseResult> {
    let transport = match request.http_version() {
        HttpVersion::HttpVersion1 => transports.http1.clone(),
        HttpVersion::HttpVersion2 => transports.http2.clone(),
        other => bail!("{other:?} was not configured"),
    };
    let client = Client::with_config(transport, config(&request)?);
    let sent = Sent { client, request };
    let method = sent
        .request
        .method
        .as_deref()
        .context("no method is named")?;
    match method {
        "Unary" => sent.report::<UnaryRequest, UnaryResponse>(&UNARY).await,
        "IdempotentUnary" => {
            sent.report::<IdempotentUnaryRequest, IdempotentUnaryResponse>(&IDEMPOTENT_UNARY)
                .await
        }
        "Unimplemented" => {
            sent.report::<UnimplementedRequest, UnimplementedResponse>(&UNIMPLEMENTED)
                .await
        }
        other => bail!("{other} is not a unary method of the service"),
    }
}

fn config(request: &ClientCompatRequest) -> Result<Config> {
    let origin = format!("http://{}:{}", request.host, request.port);
    let mut config = Config::default()
        .origin(origin.parse().context("the address of the server")?)
        .accept_compression(request.compression() == Compression::Gzip)
        .get(request.use_get_http_method)
        .codec(match request.codec() {
            SuiteCodec::Proto => Codec::Proto,
            SuiteCodec::Json => Codec::Json,
            other => bail!("{other:?} was not configured"),
        });
    if request.compression() == Compression::Gzip {
        config = config.compression(RequestCompression::Gzip { min_size: 0 });
    }
    if request.message_receive_limit > 0 {
        config = config.max_message_size(request.message_receive_limit as usize);
    }
    Ok(config)
}

/// The payload in a response of one of the methods.
trait HasPayload {
    fn into_payload(self) -> ConformancePayload;
}

impl HasPayload for UnaryResponse {
    fn into_payload(self) -> ConformancePayload {
        self.payload.unwrap_or_default()
    }
}

impl HasPayload for IdempotentUnaryResponse {
    fn into_payload(self) -> ConformancePayload {
        self.payload.unwrap_or_default()
    }
}

impl HasPayload for UnimplementedResponse {
    fn into_payload(self) -> ConformancePayload {
        ConformancePayload::default()
    }
}

struct Sent {
    client: Client<Transport>,
    request: ClientCompatRequest,
}

impl Sent {
    async fn report<In, Out>(&self, spec: &'static MethodSpec) -> Result<ClientResponseResult>
    where
        In: Message + Name + Default + 'static,
        Out: Message + Name + Default + HasPayload + 'static,
    {
        let delay = Duration::from_millis(self.request.request_delay_ms.into());
        tokio::time::sleep(delay).await;
        let call = self.client.unary::<In, Out>(spec, self.rpc_request()?);
        let outcome = match self.cancel_after()? {
            None => call.await,
            Some(after) => match tokio::time::timeout(after, call).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Error::canceled("the call was cancelled")),
            },
        };
        Ok(match outcome {
            Ok(response) => success(response),
            Err(error) => failure(&error),
        })
    }

    fn rpc_request<In: Message + Name + Default>(&self) -> Result<Request<In>> {
        let [any] = self.request.request_messages.as_slice() else {
            bail!(
                "{} request messages for a unary call",
                self.request.request_messages.len()
            );
        };
        let message = any
            .to_msg::<In>()
            .context("unpacking the request message")?;
        let mut request = Request::new(message);
        if let Some(timeout) = self.request.timeout_ms {
            request = request.timeout(Duration::from_millis(timeout.into()));
        }
        headers::append(request.metadata_mut(), &self.request.request_headers);
        Ok(request)
    }

    fn cancel_after(&self) -> Result<Option<Duration>> {
        let Some(cancel) = &self.request.cancel else {
            return Ok(None);
        };
        match cancel.cancel_timing {
            None => Ok(Some(Duration::ZERO)),
            Some(CancelTiming::AfterCloseSendMs(after)) => {
                Ok(Some(Duration::from_millis(after.into())))
            }
            Some(other) => bail!("{other:?} does not apply to a unary call"),
        }
    }
}

fn success<M: HasPayload>(response: Response<M>) -> ClientResponseResult {
    ClientResponseResult {
        response_headers: headers::from_map(response.headers()),
        response_trailers: headers::from_map(response.trailers()),
        payloads: vec![response.into_message().into_payload()],
        ..ClientResponseResult::default()
    }
}

fn failure(error: &Error) -> ClientResponseResult {
    let reported = crate::suite::Error {
        code: error.code().number().into(),
        message: Some(error.message().to_owned()),
        details: error.details().iter().cloned().map(Any::from).collect(),
    };
    ClientResponseResult {
        error: Some(reported),
        response_headers: headers::from_map(error.received_metadata()),
        ..ClientResponseResult::default()
    }
}
