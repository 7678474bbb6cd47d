// Package service names the procedures of the protocol and calls or serves
// them with connect-go's defaults: binary messages, gzip offered and used.
package service

import (
	"context"
	"net/http"

	"connectrpc.com/connect"
)

// Procedures of the protocol as it is today.
const (
	GetSecrets     = "/resolver.v1.ResolverService/GetSecrets"
	Authorize      = "/resolver.v1.AuthorizerService/Authorize"
	RegisterPlugin = "/plugins.v1.RegisterService/RegisterPlugin"
	Shutdown       = "/plugins.v1.PluginService/Shutdown"
	ListPlugins    = "/plugins.v1.PluginManagementService/ListPlugins"
	EnablePlugin   = "/plugins.v1.PluginManagementService/EnablePlugin"
	DisablePlugin  = "/plugins.v1.PluginManagementService/DisablePlugin"
	GetVersion     = "/health.v1.VersionService/GetVersion"
	CheckAccess    = "/accesscontrol.v1.AccessControlService/CheckAccess"
	ModuleDecides  = "/accesscontrol.v1.AccessControlService/Authorize"
)

// Procedures of older peers.
const (
	// EngineRegister is used by plugin SDKs up to v0.0.19.
	EngineRegister = "/resolver.v1.EngineService/RegisterPlugin"
	// LegacyRegister is used by plugin SDKs v0.0.20 to v0.0.22.
	LegacyRegister = "/resolver.v1.RegisterService/RegisterPlugin"
	// LegacyShutdown is served by plugin SDKs up to v0.0.22.
	LegacyShutdown = "/resolver.v1.PluginService/Shutdown"
	// LegacyGetSecret is served by plugin SDKs up to v0.0.8.
	LegacyGetSecret = "/resolver.v1.ResolverService/GetSecret"
	// LegacyListPlugins is called by clients before v0.0.26.
	LegacyListPlugins = "/resolver.v1.ListService/ListPlugins"
)

// host is the authority of every request, which peers ignore.
const host = "http://unix"

// Call makes one unary call.
func Call[I, O any](ctx context.Context, client *http.Client, procedure string, message *I) (*O, error) {
	caller := connect.NewClient[I, O](client, host+procedure)
	response, err := caller.CallUnary(ctx, connect.NewRequest(message))
	if err != nil {
		return nil, err
	}
	return response.Msg, nil
}

// Handle serves one procedure.
func Handle[I, O any](mux *http.ServeMux, procedure string, handle func(context.Context, *I) (*O, error)) {
	mux.Handle(procedure, Handler(procedure, handle))
}

// Handler is the function that Handle serves.
func Handler[I, O any](procedure string, handle func(context.Context, *I) (*O, error)) http.Handler {
	return connect.NewUnaryHandler(procedure,
		func(ctx context.Context, request *connect.Request[I]) (*connect.Response[O], error) {
			message, err := handle(ctx, request.Msg)
			if err != nil {
				return nil, err
			}
			return connect.NewResponse(message), nil
		})
}

// Health serves GET /health.
func Health(mux *http.ServeMux) {
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok"))
	})
}
