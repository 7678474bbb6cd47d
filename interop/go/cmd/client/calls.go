package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/keyway-secrets/keyway/interop/go/internal/expect"
	"github.com/keyway-secrets/keyway/interop/go/internal/provider"
	"github.com/keyway-secrets/keyway/interop/go/internal/report"
	"github.com/keyway-secrets/keyway/interop/go/internal/service"
	"github.com/keyway-secrets/keyway/interop/go/internal/wire/healthv1"
	"github.com/keyway-secrets/keyway/interop/go/internal/wire/pluginsv1"
	"github.com/keyway-secrets/keyway/interop/go/internal/wire/resolverv1"
)

// goSemver is the form that the client's version parser accepts.
var goSemver = regexp.MustCompile(`^v\d+(\.\d+(\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?)?)?$`)

func (k *caller) verify(err error) {
	if err != nil {
		k.report.Fail("%v", err)
	}
}

func call[I, O any](k *caller, procedure string, message *I) (*O, error) {
	k.report.Request()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return service.Call[I, O](ctx, k.http, procedure, message)
}

func (k *caller) get(pattern string) ([]*expect.Envelope, error) {
	response, err := call[resolverv1.GetSecretsRequest, resolverv1.GetSecretsResponse](
		k, service.GetSecrets, &resolverv1.GetSecretsRequest{Pattern: proto.String(pattern)})
	if err != nil {
		return nil, err
	}
	for _, each := range response.GetEnvelopes() {
		if each.GetProvider() == "" || each.ResolvedAt == nil || each.GetResolvedAt().AsTime().IsZero() {
			return nil, fmt.Errorf("%s came without a provider or the time of its resolution", each.GetId())
		}
	}
	return response.GetEnvelopes(), nil
}

func (k *caller) askOne(name string) error {
	envelopes, err := k.get("demo/" + name)
	return expect.Dummy("demo/"+name, envelopes, err)
}

// getEach makes the calls of a program that uses secrets.
func (k *caller) getEach() {
	k.verify(k.askOne(provider.Hit))
	k.verify(k.askOne(provider.NoTime))
	_, err := k.get("demo/" + provider.Missing)
	k.verify(expect.Code(provider.Missing, err, connect.CodeNotFound))
	_, err = k.get("demo/" + provider.Broken)
	k.verify(expect.Code(provider.Broken, err, connect.CodeUnavailable))
	_, err = k.get("demo/" + provider.Panic)
	k.verify(expect.Code(provider.Panic, err, connect.CodeUnavailable))
	many, err := k.get("demo/many/*")
	k.verify(expect.Dummies("demo/many/*", provider.ManyCount, many, err))
	all, err := k.get("demo/*")
	k.verify(expect.Dummies("demo/*", 3, all, err))
	k.verify(k.askOne(provider.Hit))
}

// manage lists, disables and enables the plugin.
func (k *caller) manage() {
	k.verify(k.listed(false))
	_, err := call[pluginsv1.DisablePluginRequest, pluginsv1.DisablePluginResponse](
		k, service.DisablePlugin, &pluginsv1.DisablePluginRequest{Name: proto.String(k.plugin)})
	k.verify(err)
	k.verify(k.listed(true))
	_, err = k.get("demo/" + provider.Hit)
	k.verify(expect.Code("a disabled plugin's secret", err, connect.CodeNotFound))
	_, err = call[pluginsv1.EnablePluginRequest, pluginsv1.EnablePluginResponse](
		k, service.EnablePlugin, &pluginsv1.EnablePluginRequest{Name: proto.String(k.plugin)})
	k.verify(err)
	k.verify(k.enabledAgain())
	_, err = call[pluginsv1.EnablePluginRequest, pluginsv1.EnablePluginResponse](
		k, service.EnablePlugin, &pluginsv1.EnablePluginRequest{Name: proto.String("nosuch")})
	k.verify(expect.Code("enabling an unknown plugin", err, connect.CodeNotFound))
	version, err := call[healthv1.GetVersionRequest, healthv1.GetVersionResponse](k, service.GetVersion, &healthv1.GetVersionRequest{})
	k.verify(err)
	k.report.Check(goSemver.MatchString(version.GetVersion()), "the daemon's version is %q", version.GetVersion())
}

// listed finds the plugin in the list, with the fields that a client keeps.
func (k *caller) listed(disabled bool) error {
	response, err := call[pluginsv1.ListPluginsRequest, pluginsv1.ListPluginsResponse](k, service.ListPlugins, &pluginsv1.ListPluginsRequest{})
	if err != nil {
		return err
	}
	for _, each := range response.GetPlugins() {
		if each.GetName() != k.plugin {
			continue
		}
		k.report.Event("listed", report.Fields{
			"name": each.GetName(), "version": each.GetVersion(), "disabled": each.GetDisabled(), "external": each.GetExternal(),
			"status": each.GetRunStatus().String(), "pattern": each.GetSecretsProvider().GetPattern(),
		})
		if each.GetDisabled() != disabled || !goSemver.MatchString(each.GetVersion()) || each.GetSecretsProvider().GetPattern() == "" {
			return fmt.Errorf("%s is listed as %v", k.plugin, each)
		}
		return nil
	}
	return fmt.Errorf("%s is not listed", k.plugin)
}

// enabledAgain waits for the plugin: enabling may have to start it.
func (k *caller) enabledAgain() error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := k.askOne(provider.Hit)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (k *caller) listAsBefore() {
	response, err := call[resolverv1.LegacyListPluginsRequest, resolverv1.LegacyListPluginsResponse](
		k, service.LegacyListPlugins, &resolverv1.LegacyListPluginsRequest{})
	if err != nil {
		k.report.Fail("ListService/ListPlugins: %v", err)
		return
	}
	for _, each := range response.GetPlugins() {
		if each.GetName() == k.plugin {
			k.report.Check(goSemver.MatchString(each.GetVersion()) && each.GetPattern() != "", "%s is listed as %v", k.plugin, each)
			return
		}
	}
	k.report.Fail("%s is not listed for old clients", k.plugin)
}

// checkDenied checks requests that an access-control module denies.
func (k *caller) checkDenied() {
	allowed, err := k.authorize("demo/hit", "other/**")
	k.verify(err)
	k.report.Check(allowed.GetDecision() == resolverv1.Decision_DECISION_ALLOW, "Authorize gave %v", allowed)
	_, err = k.authorize("denied/x")
	k.verify(expect.Code("Authorize of a closed realm", err, connect.CodePermissionDenied))
	_, err = k.authorize()
	k.verify(expect.Code("Authorize without patterns", err, connect.CodeInvalidArgument))
	_, err = k.get("denied/x")
	k.verify(expect.Code("GetSecrets in a closed realm", err, connect.CodePermissionDenied))
}

func (k *caller) authorize(patterns ...string) (*resolverv1.AuthorizeResponse, error) {
	response, err := call[resolverv1.AuthorizeRequest, resolverv1.AuthorizeResponse](
		k, service.Authorize, &resolverv1.AuthorizeRequest{Patterns: patterns})
	var wire *connect.Error
	if errors.As(err, &wire) && wire.Message() == "" {
		return nil, fmt.Errorf("authorize %v: an error without a message", patterns)
	}
	if err == nil && response.GetExpiresAt() == nil {
		return nil, fmt.Errorf("authorize %v: no expiry, which a Go client reads as 1970", patterns)
	}
	return response, err
}
