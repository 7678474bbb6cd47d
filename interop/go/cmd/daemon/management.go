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

func (d *daemon) managementRoutes(mux *http.ServeMux) {
	service.Handle(mux, service.ListPlugins, d.listPlugins)
	service.Handle(mux, service.EnablePlugin,
		func(_ context.Context, request *pluginsv1.EnablePluginRequest) (*pluginsv1.EnablePluginResponse, error) {
			return &pluginsv1.EnablePluginResponse{}, d.setDisabled(request.GetName(), false)
		})
	service.Handle(mux, service.DisablePlugin,
		func(_ context.Context, request *pluginsv1.DisablePluginRequest) (*pluginsv1.DisablePluginResponse, error) {
			return &pluginsv1.DisablePluginResponse{}, d.setDisabled(request.GetName(), true)
		})
	service.Handle(mux, service.GetVersion, d.version)
	service.Handle(mux, service.LegacyListPlugins, d.legacyListPlugins)
}

func (d *daemon) listPlugins(context.Context, *pluginsv1.ListPluginsRequest) (*pluginsv1.ListPluginsResponse, error) {
	d.report.Request()
	response := &pluginsv1.ListPluginsResponse{}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.members {
		response.Plugins = append(response.Plugins, m.summary())
	}
	return response, nil
}

func (d *daemon) legacyListPlugins(context.Context, *resolverv1.LegacyListPluginsRequest) (*resolverv1.LegacyListPluginsResponse, error) {
	d.report.Request()
	response := &resolverv1.LegacyListPluginsResponse{}
	for _, m := range d.snapshot() {
		response.Plugins = append(response.Plugins, &resolverv1.LegacyListPluginsResponse_Plugin{
			Name: proto.String(m.registration.Name), Version: proto.String(m.registration.Version),
			Pattern: proto.String(m.registration.Pattern), External: proto.Bool(m.external),
		})
	}
	return response, nil
}

func (d *daemon) setDisabled(name string, disabled bool) error {
	d.report.Request()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.members {
		if m.registration.Name == name {
			m.disabled = disabled
			return nil
		}
	}
	return connect.NewError(connect.CodeNotFound, fmt.Errorf("plugin %q not found", name))
}

func (d *daemon) version(context.Context, *healthv1.GetVersionRequest) (*healthv1.GetVersionResponse, error) {
	d.report.Request()
	return &healthv1.GetVersionResponse{
		Version: proto.String(host.Version), Date: proto.String("2026-08-21T00:00:00Z"), CommitHash: proto.String("0123456"),
	}, nil
}
