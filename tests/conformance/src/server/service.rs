//! The suite's service: each response is the one that the request defines, and reports the request.

use std::time::Duration;

use keyway_rpc::{Code, Error, ErrorDetail, Request, Response};
use percent_encoding::percent_decode_str;
use prost::{Message, Name};
use prost_types::Any;

use crate::headers;
use crate::suite::conformance_payload::{ConnectGetInfo, RequestInfo};
use crate::suite::unary_response_definition::Response as Defined;
use crate::suite::{
    ConformancePayload, ConformanceService, Header, IdempotentUnaryRequest,
    IdempotentUnaryResponse, UnaryRequest, UnaryResponse, UnaryResponseDefinition,
};

/// The implementation. `Unimplemented` is left to the trait.
pub(super) struct Conformance;

/// The query string of a GET.
#[derive(Clone)]
pub(super) struct Query(pub(super) String);

impl ConformanceService for Conformance {
    async fn unary(
        &self,
        request: Request<UnaryRequest>,
    ) -> Result<Response<UnaryResponse>, Error> {
        let definition = request.message().response_definition.clone();
        let response = respond(&request, definition).await?;
        Ok(response.map(|payload| UnaryResponse {
            payload: Some(payload),
        }))
    }

    async fn idempotent_unary(
        &self,
        request: Request<IdempotentUnaryRequest>,
    ) -> Result<Response<IdempotentUnaryResponse>, Error> {
        let definition = request.message().response_definition.clone();
        let response = respond(&request, definition).await?;
        Ok(response.map(|payload| IdempotentUnaryResponse {
            payload: Some(payload),
        }))
    }
}

async fn respond<M: Message + Name>(
    request: &Request<M>,
    definition: Option<UnaryResponseDefinition>,
) -> Result<Response<ConformancePayload>, Error> {
    let info = request_info(request);
    let definition = definition.unwrap_or_default();
    tokio::time::sleep(Duration::from_millis(definition.response_delay_ms.into())).await;
    let data = match definition.response {
        Some(Defined::Error(error)) => {
            let mut error = failure(error, &info);
            headers::append(error.own_metadata_mut(), &definition.response_headers);
            headers::append(error.own_metadata_mut(), &definition.response_trailers);
            return Err(error);
        }
        Some(Defined::ResponseData(data)) => data,
        None => Vec::new(),
    };
    let mut response = Response::new(ConformancePayload {
        data,
        request_info: Some(info),
    });
    headers::append(response.headers_mut(), &definition.response_headers);
    headers::append(response.trailers_mut(), &definition.response_trailers);
    Ok(response)
}

fn failure(error: crate::suite::Error, info: &RequestInfo) -> Error {
    let code = u8::try_from(error.code).ok().and_then(Code::from_number);
    let mut failure = Error::new(
        code.unwrap_or(Code::Unknown),
        error.message.unwrap_or_default(),
    );
    for detail in error.details {
        failure = failure.with_detail(detail.into());
    }
    failure.with_detail(ErrorDetail::new(info))
}

fn request_info<M: Message + Name>(request: &Request<M>) -> RequestInfo {
    let any = Any {
        type_url: format!("type.googleapis.com/{}", M::full_name()),
        value: request.message().encode_to_vec(),
    };
    let remaining = request.remaining();
    RequestInfo {
        request_headers: headers::from_map(request.metadata()),
        timeout_ms: remaining.and_then(|time| i64::try_from(time.as_millis()).ok()),
        requests: vec![any],
        connect_get_info: request
            .extensions()
            .get::<Query>()
            .map(|query| get_info(&query.0)),
    }
}

fn get_info(query: &str) -> ConnectGetInfo {
    let decode = |text: &str| {
        percent_decode_str(&text.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query_params = pairs.map(|(name, value)| Header {
        name: decode(name),
        value: vec![decode(value)],
    });
    ConnectGetInfo {
        query_params: query_params.collect(),
    }
}
