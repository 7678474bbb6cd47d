package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/keyway-secrets/keyway/interop/go/internal/hijack"
	"github.com/keyway-secrets/keyway/interop/go/internal/host"
	"github.com/keyway-secrets/keyway/interop/go/internal/ipc"
	"github.com/keyway-secrets/keyway/interop/go/internal/launch"
	"github.com/keyway-secrets/keyway/interop/go/internal/provider"
	"github.com/keyway-secrets/keyway/interop/go/internal/report"
	"github.com/keyway-secrets/keyway/interop/go/internal/service"
	"github.com/keyway-secrets/keyway/interop/go/internal/wire/pluginsv1"
	"github.com/keyway-secrets/keyway/interop/go/internal/wire/resolverv1"
)

type envelope = resolverv1.GetSecretsResponse_Envelope

// processGrace bounds the wait for the end of a process that never ends.
const processGrace = 30 * time.Second

// daemon holds the connected plugins and serves clients.
type daemon struct {
	config        config
	report        *report.Report
	builtin       *provider.Provider
	registrations atomic.Int64

	mu      sync.Mutex
	members []*member
}

// member is one registered plugin.
type member struct {
	plugin       *host.Plugin
	registration host.Registration
	external     bool
	disabled     bool
	child        *launch.Child
	ended        chan struct{}
}

func newDaemon(c config, log *report.Report) *daemon { return &daemon{config: c, report: log} }

func (d *daemon) options(name string) host.Options {
	return host.Options{WantName: name, IPC: ipc.Options{StreamOpenTimeout: d.config.streamOpenTimeout}}
}

// launch starts a plugin and waits until it is registered.
func (d *daemon) launch(executable, name string) error {
	child, err := launch.Start(executable, name, d.config.registrationWindow, nil)
	if err != nil {
		return err
	}
	plugin, err := host.Accept(child.Conn, d.report, d.options(name))
	if err != nil {
		return err
	}
	return d.admit(&member{plugin: plugin, child: child})
}

// hijacked serves an external plugin until it disconnects.
func (d *daemon) hijacked(conn net.Conn) {
	plugin, err := host.Accept(conn, d.report, d.options(""))
	if err != nil {
		d.report.Fail("a connection of an external plugin: %v", err)
		return
	}
	m := &member{plugin: plugin, external: true, ended: make(chan struct{})}
	if err := d.admit(m); err != nil {
		d.report.Fail("an external plugin: %v", err)
		plugin.Peer.Close()
		return
	}
	<-plugin.Peer.Closed()
	d.remove(m)
	d.report.Event("plugin-left", report.Fields{"name": m.registration.Name, "problems": plugin.Peer.Problems()})
	if cause := plugin.Peer.Cause(); cause != nil {
		d.report.Fail("the connection of %s failed: %v", m.registration.Name, cause)
	}
	close(m.ended)
}

func (d *daemon) admit(m *member) error {
	registration, err := m.plugin.Registered(d.config.registrationWindow)
	if err != nil {
		return err
	}
	m.registration = registration
	d.registrations.Add(1)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.members = append(d.members, m)
	slices.SortFunc(d.members, func(a, b *member) int { return strings.Compare(a.registration.Name, b.registration.Name) })
	return nil
}

func (d *daemon) remove(gone *member) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.members = slices.DeleteFunc(d.members, func(m *member) bool { return m == gone })
}

func (d *daemon) snapshot() []*member {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.members)
}

// stopPlugins stops all plugins at once and reports how long each took.
func (d *daemon) stopPlugins() {
	var wait sync.WaitGroup
	for _, m := range d.snapshot() {
		wait.Go(func() {
			stopped := m.plugin.Stop()
			d.report.Event("plugin-stopped", report.Fields{
				"name": m.registration.Name, "stop_ms": stopped.Took.Milliseconds(),
				"drain_ms": stopped.Drain.Took.Milliseconds(), "streams_left": stopped.Drain.StreamsLeft,
			})
			d.report.Check(stopped.Err == nil, "Shutdown of %s: %v", m.registration.Name, stopped.Err)
			d.report.Check(stopped.Drain.StreamsLeft == 0, "%s left %d streams open", m.registration.Name, stopped.Drain.StreamsLeft)
			if m.child != nil {
				byItself, err := m.child.Wait(processGrace)
				d.report.Check(byItself && err == nil, "the process of %s ended with %v", m.registration.Name, err)
			}
			if m.ended != nil {
				<-m.ended
			}
		})
	}
	wait.Wait()
}

func (d *daemon) routes() http.Handler {
	mux := http.NewServeMux()
	service.Health(mux)
	mux.Handle(hijack.Path, &hijack.Acceptor{ReferenceStatusLine: d.config.referenceAcceptor, Serve: d.hijacked})
	service.Handle(mux, service.GetSecrets, d.getSecrets)
	service.Handle(mux, service.Authorize, d.authorize)
	d.managementRoutes(mux)
	return mux
}

func (d *daemon) getSecrets(ctx context.Context, request *resolverv1.GetSecretsRequest) (*resolverv1.GetSecretsResponse, error) {
	d.report.Request()
	pattern := request.GetPattern()
	if denied(pattern) {
		return nil, connect.NewError(connect.CodePermissionDenied, errors.New("access denied"))
	}
	found, failed := d.firstResult(ctx, pattern)
	if len(found) > 0 {
		return &resolverv1.GetSecretsResponse{Envelopes: found}, nil
	}
	if len(failed) > 0 {
		return nil, connect.NewError(connect.CodeUnavailable, fmt.Errorf("providers failed: %s", strings.Join(failed, ", ")))
	}
	return nil, connect.NewError(connect.CodeNotFound, errors.New("secret not found"))
}

// firstResult returns the secrets of the first provider that has any.
func (d *daemon) firstResult(ctx context.Context, pattern string) ([]*envelope, []string) {
	var failed []string
	for _, m := range d.snapshot() {
		if m.disabled || m.registration.Module {
			continue
		}
		found, err := m.plugin.GetSecrets(ctx, pattern)
		if err == nil && len(found) > 0 {
			return stamped(found, m.registration.Name), nil
		}
		if err != nil && connect.CodeOf(err) != connect.CodeNotFound {
			failed = append(failed, m.registration.Name)
		}
	}
	if d.builtin != nil {
		response, err := d.builtin.GetSecrets(ctx, &resolverv1.GetSecretsRequest{Pattern: proto.String(pattern)})
		if err == nil {
			return stamped(response.Envelopes, "builtin"), nil
		}
		if connect.CodeOf(err) != connect.CodeNotFound {
			failed = append(failed, "builtin")
		}
	}
	return nil, failed
}

func stamped(found []*envelope, name string) []*envelope {
	for _, each := range found {
		each.Provider = proto.String(name)
		if each.GetResolvedAt().AsTime().IsZero() {
			each.ResolvedAt = timestamppb.Now()
		}
	}
	return found
}

func (d *daemon) authorize(_ context.Context, request *resolverv1.AuthorizeRequest) (*resolverv1.AuthorizeResponse, error) {
	d.report.Request()
	if len(request.GetPatterns()) == 0 {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("no patterns"))
	}
	if slices.ContainsFunc(request.GetPatterns(), denied) {
		return nil, connect.NewError(connect.CodePermissionDenied, errors.New("access denied"))
	}
	return &resolverv1.AuthorizeResponse{
		Decision: resolverv1.Decision_DECISION_ALLOW.Enum(), ExpiresAt: timestamppb.New(time.Now().Add(time.Hour)),
	}, nil
}

func denied(pattern string) bool { return strings.HasPrefix(pattern, "denied/") }

// summary is one plugin as clients receive it.
func (m *member) summary() *pluginsv1.Plugin {
	plugin := &pluginsv1.Plugin{
		Name: proto.String(m.registration.Name), Version: proto.String(m.registration.Version),
		Disabled: proto.Bool(m.disabled), External: proto.Bool(m.external), Configurable: proto.Bool(false),
		RunStatus: pluginsv1.RunStatus_RUN_STATUS_RUNNING.Enum(), StatusMessage: proto.String(""),
	}
	if m.registration.Module {
		plugin.Metadata = &pluginsv1.Plugin_AccessControlModule{AccessControlModule: &pluginsv1.AccessControlModule{}}
	} else {
		plugin.Metadata = &pluginsv1.Plugin_SecretsProvider{
			SecretsProvider: &pluginsv1.SecretsProvider{Pattern: proto.String(m.registration.Pattern)},
		}
	}
	return plugin
}
