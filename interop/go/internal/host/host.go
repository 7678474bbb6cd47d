// Package host is the runtime's side of a plugin connection: it accepts the
// registration, calls the plugin, and shuts it down.
package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/keyway-secrets/keyway/interop/go/internal/ipc"
	"github.com/keyway-secrets/keyway/interop/go/internal/report"
	"github.com/keyway-secrets/keyway/interop/go/internal/service"
	"github.com/keyway-secrets/keyway/interop/go/internal/wire/pluginsv1"
	"github.com/keyway-secrets/keyway/interop/go/internal/wire/resolverv1"
)

// The runtime's name and version in the response to a registration.
const (
	Name           = "go-runtime"
	Version        = "v0.9.0"
	requestTimeout = 10 * time.Second
	// shutdownTimeout bounds the call of Shutdown.
	shutdownTimeout = 2 * time.Second
)

// Options are the settings of a connection.
type Options struct {
	// WantName is the only name that is accepted; empty accepts any.
	WantName string
	// Refuse refuses every registration with already_exists.
	Refuse bool
	// IPC are the options of the multiplexer.
	IPC ipc.Options
}

// Plugin is one connected plugin.
type Plugin struct {
	// Peer is the connection.
	Peer *ipc.Peer

	options    Options
	report     *report.Report
	mu         sync.Mutex
	registered *Registration
	attempts   chan error
}

// Registration is the registration of a plugin.
type Registration struct {
	Name, Version, Pattern string
	// Module is set for an access-control module.
	Module bool
	// Procedure is the procedure of the registration, which depends on the generation.
	Procedure string
}

func (r Registration) shutdownProcedure() string {
	if r.Procedure == service.RegisterPlugin {
		return service.Shutdown
	}
	return service.LegacyShutdown
}

// Accept serves a connection as a plugin connection.
func Accept(conn net.Conn, log *report.Report, options Options) (*Plugin, error) {
	plugin := &Plugin{options: options, report: log, attempts: make(chan error, 16)}
	mux := http.NewServeMux()
	service.Health(mux)
	service.Handle(mux, service.RegisterPlugin, plugin.register)
	service.Handle(mux, service.LegacyRegister, plugin.legacyRegister(service.LegacyRegister))
	service.Handle(mux, service.EngineRegister, plugin.legacyRegister(service.EngineRegister))
	peer, err := ipc.New(conn, ipc.Runtime, mux, options.IPC)
	if err != nil {
		return nil, err
	}
	plugin.Peer = peer
	return plugin, nil
}

// Registered waits for the first registration and returns it, or the error with
// which it was refused.
func (p *Plugin) Registered(timeout time.Duration) (Registration, error) {
	select {
	case err := <-p.attempts:
		if err != nil {
			return Registration{}, err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		return *p.registered, nil
	case <-p.Peer.Closed():
		return Registration{}, errors.New("the plugin closed the connection before it registered")
	case <-time.After(timeout):
		return Registration{}, fmt.Errorf("the plugin did not register within %v", timeout)
	}
}

func (p *Plugin) register(_ context.Context, request *pluginsv1.RegisterPluginRequest) (*pluginsv1.RegisterPluginResponse, error) {
	err := p.admit(Registration{
		Name: request.GetName(), Version: request.GetVersion(), Pattern: request.GetSecretsProvider().GetPattern(),
		Module: request.GetAccessControlModule() != nil, Procedure: service.RegisterPlugin,
	})
	if err != nil {
		return nil, err
	}
	return &pluginsv1.RegisterPluginResponse{
		EngineName: proto.String(Name), EngineVersion: proto.String(Version), RequestTimeout: durationpb.New(requestTimeout),
	}, nil
}

func (p *Plugin) legacyRegister(procedure string) func(context.Context, *resolverv1.LegacyRegisterPluginRequest) (*resolverv1.LegacyRegisterPluginResponse, error) {
	return func(_ context.Context, request *resolverv1.LegacyRegisterPluginRequest) (*resolverv1.LegacyRegisterPluginResponse, error) {
		err := p.admit(Registration{
			Name: request.GetName(), Version: request.GetVersion(), Pattern: request.GetPattern(), Procedure: procedure,
		})
		if err != nil {
			return nil, err
		}
		return &resolverv1.LegacyRegisterPluginResponse{
			EngineName: proto.String(Name), EngineVersion: proto.String(Version), RequestTimeout: durationpb.New(requestTimeout),
		}, nil
	}
}

func (p *Plugin) admit(registration Registration) error {
	err := p.check(registration)
	p.report.Event("registration", report.Fields{
		"name": registration.Name, "version": registration.Version, "pattern": registration.Pattern, "module": registration.Module,
		"procedure": registration.Procedure, "code": codeName(err),
	})
	select {
	case p.attempts <- err:
	default:
	}
	return err
}

func (p *Plugin) check(registration Registration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.options.Refuse:
		return connect.NewError(connect.CodeAlreadyExists, fmt.Errorf("plugin %q already registered", registration.Name))
	case p.registered != nil:
		return connect.NewError(connect.CodeFailedPrecondition, errors.New("this connection is registered already"))
	case registration.Name == "" || registration.Version == "" || (!registration.Module && registration.Pattern == ""):
		return connect.NewError(connect.CodeInvalidArgument, errors.New("a registration needs a name, a version and a pattern"))
	case p.options.WantName != "" && registration.Name != p.options.WantName:
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("the plugin was launched as %q", p.options.WantName))
	}
	p.registered = &registration
	return nil
}

func codeName(err error) string {
	if err == nil {
		return "ok"
	}
	return connect.CodeOf(err).String()
}

// GetSecrets calls the plugin, on a stream of its own.
func (p *Plugin) GetSecrets(ctx context.Context, pattern string) ([]*resolverv1.GetSecretsResponse_Envelope, error) {
	response, err := service.Call[resolverv1.GetSecretsRequest, resolverv1.GetSecretsResponse](
		ctx, p.Peer.Client, service.GetSecrets, &resolverv1.GetSecretsRequest{Pattern: proto.String(pattern)})
	if err != nil {
		return nil, err
	}
	return response.GetEnvelopes(), nil
}

// Health gets the plugin's /health.
func (p *Plugin) Health() error {
	response, err := p.Peer.Client.Get("http://unix/health")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK || string(body) != "ok" {
		return fmt.Errorf("GET /health gave %d %q", response.StatusCode, body)
	}
	return nil
}

// Stopped is the outcome of Stop.
type Stopped struct {
	// Err is the error of the call of Shutdown.
	Err error
	// Drain is the wait for the open streams.
	Drain ipc.Drain
	// Took is the total time.
	Took time.Duration
}

// Stop calls Shutdown, drains and closes the connection.
func (p *Plugin) Stop() Stopped {
	start := time.Now()
	p.mu.Lock()
	registered := p.registered
	p.mu.Unlock()
	var stopped Stopped
	if registered != nil {
		ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
		defer cancel()
		_, stopped.Err = service.Call[pluginsv1.ShutdownRequest, pluginsv1.ShutdownResponse](
			ctx, p.Peer.Client, registered.shutdownProcedure(), &pluginsv1.ShutdownRequest{})
	}
	stopped.Drain = p.Peer.Close()
	stopped.Took = time.Since(start)
	return stopped
}
