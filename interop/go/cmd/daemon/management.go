package main

import (
	"context"
	"fmt"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/keyway-secrets/keyway/interop/go/internal/host"
	"github.com/keyway-secrets/keyway/interop/go/internal/service"
	"github.com/keyway-secrets/keyway/interop/go/internal/wire/healthv1"
	"github.com/keyway-secrets/keyway/interop/go/internal/wire/pluginsv1"
	"github.com/keyway-secrets/keyway/interop/go/internal/wire/resolverv1"
)

func (e *engine) managementRoutes(mux *http.ServeMux) {
	service.Handle(mux, service.ListPlugins, e.listPlugins)
	service.Handle(mux, service.EnablePlugin,
		func(_ context.Context, request *pluginsv1.EnablePluginRequest) (*pluginsv1.EnablePluginResponse, error) {
			return &pluginsv1.EnablePluginResponse{}, e.setDisabled(request.GetName(), false)
		})
	service.Handle(mux, service.DisablePlugin,
		func(_ context.Context, request *pluginsv1.DisablePluginRequest) (*pluginsv1.DisablePluginResponse, error) {
			return &pluginsv1.DisablePluginResponse{}, e.setDisabled(request.GetName(), true)
		})
	service.Handle(mux, service.GetVersion, e.version)
	service.Handle(mux, service.LegacyListPlugins, e.legacyListPlugins)
}

func (e *engine) listPlugins(context.Context, *pluginsv1.ListPluginsRequest) (*pluginsv1.ListPluginsResponse, error) {
	e.report.Request()
	answer := &pluginsv1.ListPluginsResponse{}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, m := range e.members {
		answer.Plugins = append(answer.Plugins, m.summary())
	}
	return answer, nil
}

func (e *engine) legacyListPlugins(context.Context, *resolverv1.LegacyListPluginsRequest) (*resolverv1.LegacyListPluginsResponse, error) {
	e.report.Request()
	answer := &resolverv1.LegacyListPluginsResponse{}
	for _, m := range e.snapshot() {
		answer.Plugins = append(answer.Plugins, &resolverv1.LegacyListPluginsResponse_Plugin{
			Name: proto.String(m.registration.Name), Version: proto.String(m.registration.Version),
			Pattern: proto.String(m.registration.Pattern), External: proto.Bool(m.external),
		})
	}
	return answer, nil
}

func (e *engine) setDisabled(name string, disabled bool) error {
	e.report.Request()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, m := range e.members {
		if m.registration.Name == name {
			m.disabled = disabled
			return nil
		}
	}
	return connect.NewError(connect.CodeNotFound, fmt.Errorf("plugin %q not found", name))
}

func (e *engine) version(context.Context, *healthv1.GetVersionRequest) (*healthv1.GetVersionResponse, error) {
	e.report.Request()
	return &healthv1.GetVersionResponse{
		Version: proto.String(host.Version), Date: proto.String("2026-08-21T00:00:00Z"), CommitHash: proto.String("0123456"),
	}, nil
}
