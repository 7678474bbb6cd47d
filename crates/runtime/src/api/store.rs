//! Writing through the daemon: `keyway.store.v1`.

use keyway_proto::FORCE_HEADER;
use keyway_proto::keyway::store::v1 as store;
use keyway_proto::write::{Expected, InvalidWrite, check_content, check_id};
use keyway_rpc::{Error, Request, Response};
use keyway_secrets::{Id, Pattern};

use super::Services;
use crate::authority::{Action, Permitted};
use crate::caller::Caller;
use crate::model::PluginName;
use crate::plugin::{CallContext, CallError, Handle};
use crate::record::Outcome;
use crate::resolve::write::{self, Sent};
use crate::resolve::{Query, report_call};

/// One call of a method, without the message to the plugin.
struct Write {
    /// Its name in the audit log.
    action: &'static str,
    id: Id,
    /// The plugin that the client names.
    provider: Option<PluginName>,
    expected: Expected,
    /// The version that the request names.
    version: Option<String>,
    /// `true` if a query must return the value afterwards.
    is_ranked: bool,
    query: Query,
}

impl store::StoreService for Services {
    async fn set(
        &self,
        request: Request<store::SetRequest>,
    ) -> Result<Response<store::SetResponse>, Error> {
        let caller = Caller::of(&request)?;
        let message = request.message();
        let value_len = message.value.as_ref().map_or(0, Vec::len);
        check_content(value_len, &message.metadata).map_err(invalid)?;
        let mut write = self.begin(&caller, "set", &request, message.id(), message.provider())?;
        write.expected = Expected::from_wire(message.expected_version.clone());
        write.is_ranked = !is_forced(&request);
        let mut message = request.into_message();
        message.provider = None;
        let set = async |handle: &Handle, message, context: &CallContext| {
            handle.set(message, context).await
        };
        let written = self.write(&caller, &write, message, set).await;
        respond(&caller, written, |mut response, provider| {
            response.provider = Some(provider);
            response
        })
    }

    async fn remove(
        &self,
        request: Request<store::RemoveRequest>,
    ) -> Result<Response<store::RemoveResponse>, Error> {
        let caller = Caller::of(&request)?;
        let message = request.message();
        let mut write = self.begin(
            &caller,
            "remove",
            &request,
            message.id(),
            message.provider(),
        )?;
        write.expected = Expected::from_wire(message.expected_version.clone());
        write.version.clone_from(&message.version);
        let mut message = request.into_message();
        message.provider = None;
        let remove = async |handle: &Handle, message, context: &CallContext| {
            handle.remove(message, context).await
        };
        let written = self.write(&caller, &write, message, remove).await;
        respond(&caller, written, |mut response, provider| {
            response.provider = Some(provider);
            response
        })
    }

    async fn versions(
        &self,
        request: Request<store::VersionsRequest>,
    ) -> Result<Response<store::VersionsResponse>, Error> {
        let caller = Caller::of(&request)?;
        let message = request.message();
        let write = self.begin(
            &caller,
            "versions",
            &request,
            message.id(),
            message.provider(),
        )?;
        let mut message = request.into_message();
        message.provider = None;
        let versions = async |handle: &Handle, message, context: &CallContext| {
            handle.versions(message, context).await
        };
        let written = self.write(&caller, &write, message, versions).await;
        respond(&caller, written, |mut response, provider| {
            response.provider = Some(provider);
            response
        })
    }

    async fn restore(
        &self,
        request: Request<store::RestoreRequest>,
    ) -> Result<Response<store::RestoreResponse>, Error> {
        let caller = Caller::of(&request)?;
        let message = request.message();
        if message.version().is_empty() {
            return Err(invalid(InvalidWrite::NoVersion));
        }
        let mut write = self.begin(
            &caller,
            "restore",
            &request,
            message.id(),
            message.provider(),
        )?;
        write.version.clone_from(&message.version);
        write.is_ranked = !is_forced(&request);
        let mut message = request.into_message();
        message.provider = None;
        let restore = async |handle: &Handle, message, context: &CallContext| {
            handle.restore(message, context).await
        };
        let written = self.write(&caller, &write, message, restore).await;
        respond(&caller, written, |mut response, provider| {
            response.provider = Some(provider);
            response
        })
    }
}

impl Services {
    /// Reads the fields that every request has.
    fn begin<M>(
        &self,
        caller: &Caller,
        action: &'static str,
        request: &Request<M>,
        id: &str,
        provider: &str,
    ) -> Result<Write, Error> {
        let id = check_id(id).map_err(invalid)?;
        let provider = match provider {
            "" => None,
            text => Some(text.parse().map_err(|error| {
                Error::invalid_argument(format!("the provider is not valid: {error}"))
            })?),
        };
        let budget = self.budget.of(&self.settings.load());
        let query = Query::new(caller, request, Pattern::from(&id), budget);
        Ok(Write {
            action,
            id,
            provider,
            expected: Expected::Any,
            version: None,
            is_ranked: false,
            query,
        })
    }

    /// Permits a write, calls the plugin that takes it, and records it. Returns the response and the name of the plugin.
    async fn write<M: Clone, T>(
        &self,
        caller: &Caller,
        write: &Write,
        message: M,
        call: impl AsyncFnOnce(&Handle, M, &CallContext) -> Result<T, CallError> + Copy,
    ) -> Result<(T, String), Error> {
        let objects = [write.id.as_str()];
        let action = Action::Write(&write.id);
        let permitted = self
            .permit(caller, &action, (write.action, &objects))
            .await?;
        let result = self.forward(&permitted, write, message, call).await;
        self.record(caller, write.action, &objects, || match &result {
            Ok((_, provider)) => Outcome::found(
                [(write.id.as_str(), provider.as_str())].into_iter(),
                std::iter::empty(),
            ),
            Err(error) => Outcome::failed(error),
        })
        .await?;
        result
    }

    /// Calls the plugin that takes a permitted write.
    async fn forward<M: Clone, T>(
        &self,
        permitted: &Permitted,
        write: &Write,
        message: M,
        call: impl AsyncFnOnce(&Handle, M, &CallContext) -> Result<T, CallError> + Copy,
    ) -> Result<(T, String), Error> {
        let (query, id) = (&write.query, &write.id);
        let default = &permitted.settings.config.store_default;
        let name = write.provider.as_ref().unwrap_or(default);
        let ranked = write.is_ranked.then_some(&permitted.permit);
        let Sent {
            view,
            context,
            result,
        } = write::send(&self.registry, query, (id, name), ranked, message, call).await?;
        result
            .map(|response| (response, view.name.to_string()))
            .map_err(|error| {
                if let Some(failure) = write::failure_to_report(&view, &write.expected, &error) {
                    report_call(query, &view, &context, &error);
                    view.record.failure(failure.kind, &failure.sentence());
                }
                write::failed(&view, id, write.version.as_deref(), &write.expected, &error)
            })
    }
}

fn is_forced<M>(request: &Request<M>) -> bool {
    let header = request.metadata().get(FORCE_HEADER);
    header.is_some_and(|value| value == "1")
}

fn invalid(error: InvalidWrite) -> Error {
    Error::invalid_argument(error.to_string())
}

fn respond<T>(
    caller: &Caller,
    written: Result<(T, String), Error>,
    stamp: impl FnOnce(T, String) -> T,
) -> Result<Response<T>, Error> {
    match written {
        Ok((response, provider)) => {
            let mut response = Response::new(stamp(response, provider));
            caller.add_id(response.headers_mut());
            Ok(response)
        }
        Err(mut error) => {
            caller.add_id(error.own_metadata_mut());
            Err(error)
        }
    }
}
