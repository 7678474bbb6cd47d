package plugin

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/keyway-secrets/keyway/interop/go/internal/address"
	"github.com/keyway-secrets/keyway/interop/go/internal/service"
	"github.com/keyway-secrets/keyway/interop/go/internal/wire/pluginsv1"
	"github.com/keyway-secrets/keyway/interop/go/internal/wire/resolverv1"
)

// Generation is a generation of the plugin SDK: its registration, its method and
// its shutdown.
type Generation string

// The generations, youngest first.
const (
	// Current is plugin SDK v0.1.0 and later.
	Current Generation = "plugins"
	// Register is v0.0.20 to v0.0.22.
	Register Generation = "register"
	// Engine is v0.0.11 to v0.0.19.
	Engine Generation = "engine"
	// EarlyEngine is v0.0.9 and v0.0.10: as Engine, with another daemon address.
	EarlyEngine Generation = "early-engine"
	// Oldest is July 2025: it only knows GetSecret.
	Oldest Generation = "oldest"
)

// Set makes Generation a flag value.
func (g *Generation) Set(text string) error {
	switch value := Generation(text); value {
	case Current, Register, Engine, EarlyEngine, Oldest:
		*g = value
		return nil
	}
	return fmt.Errorf("no such generation: %q", text)
}

// String is the other half of a flag value.
func (g *Generation) String() string { return string(*g) }

// socket is the address of the daemon for this generation.
func (g Generation) socket() (string, error) {
	switch g {
	case Current:
		return address.Current(), nil
	case Register, Engine:
		return address.CacheDir()
	default:
		return address.RuntimeDir()
	}
}

func (g Generation) shutdownProcedure() string {
	if g == Current {
		return service.Shutdown
	}
	return service.LegacyShutdown
}

// runtimeInfo describes the runtime in the response to a registration.
type runtimeInfo struct {
	Name, Version string
	Timeout       time.Duration
}

// register registers the plugin.
func (g Generation) register(ctx context.Context, client *http.Client, identity Identity) (runtimeInfo, error) {
	if g == Current {
		response, err := service.Call[pluginsv1.RegisterPluginRequest, pluginsv1.RegisterPluginResponse](
			ctx, client, service.RegisterPlugin, identity.request())
		if err != nil {
			return runtimeInfo{}, err
		}
		return runtimeInfo{response.GetEngineName(), response.GetEngineVersion(), response.GetRequestTimeout().AsDuration()}, nil
	}
	procedure := service.EngineRegister
	if g == Register {
		procedure = service.LegacyRegister
	}
	response, err := service.Call[resolverv1.LegacyRegisterPluginRequest, resolverv1.LegacyRegisterPluginResponse](
		ctx, client, procedure, &resolverv1.LegacyRegisterPluginRequest{
			Name: proto.String(identity.Name), Version: proto.String(identity.Version), Pattern: proto.String(identity.Pattern),
		})
	if err != nil {
		return runtimeInfo{}, err
	}
	return runtimeInfo{response.GetEngineName(), response.GetEngineVersion(), response.GetRequestTimeout().AsDuration()}, nil
}

// Identity is the content of a registration. Without a pattern it is an
// access-control module.
type Identity struct {
	Name, Version, Pattern string
}

func (i Identity) request() *pluginsv1.RegisterPluginRequest {
	request := &pluginsv1.RegisterPluginRequest{Name: proto.String(i.Name), Version: proto.String(i.Version)}
	if i.Pattern == "" {
		request.Metadata = &pluginsv1.RegisterPluginRequest_AccessControlModule{AccessControlModule: &pluginsv1.AccessControlModule{}}
		return request
	}
	request.Metadata = &pluginsv1.RegisterPluginRequest_SecretsProvider{
		SecretsProvider: &pluginsv1.SecretsProvider{Pattern: proto.String(i.Pattern)},
	}
	return request
}

// defaultName is the file name of the executable, as the SDK chooses it.
func defaultName() string {
	name := os.Args[0]
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '/' {
			return name[i+1:]
		}
	}
	return name
}
