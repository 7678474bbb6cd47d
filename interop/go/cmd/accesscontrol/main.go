// Command accesscontrol is an access-control module on HashiCorp's yamux and
// connect-go. It denies ids of the realm `denied` and allows the others.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/keyway-secrets/keyway/interop/go/internal/plugin"
	"github.com/keyway-secrets/keyway/interop/go/internal/report"
	"github.com/keyway-secrets/keyway/interop/go/internal/service"
	"github.com/keyway-secrets/keyway/interop/go/internal/settings"
	"github.com/keyway-secrets/keyway/interop/go/internal/wire/accesscontrolv1"
)

func main() { os.Exit(run()) }

func run() int {
	var program plugin.Program
	flags := flag.NewFlagSet("accesscontrol", flag.ContinueOnError)
	program.Settings.AddFlags(flags)
	if err := settings.Parse(flags, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "accesscontrol:", err)
		return 2
	}
	log, err := report.New("accesscontrol", program.Settings.ReportPath)
	if err != nil {
		fmt.Fprintln(os.Stderr, "accesscontrol:", err)
		return 2
	}
	module := &module{report: log}
	program.Report = log
	program.Cancelled = module.cancelled.Load
	program.Routes = func(mux *http.ServeMux) {
		service.Handle(mux, service.CheckAccess, module.checkAccess)
		service.Handle(mux, service.ModuleDecides, module.authorize)
	}
	return program.Run()
}

type module struct {
	report    *report.Report
	cancelled atomic.Int64
}

func (m *module) checkAccess(ctx context.Context, request *accesscontrolv1.CheckAccessRequest) (*accesscontrolv1.CheckAccessResponse, error) {
	m.seen(ctx, "check-access", []string{request.GetPattern()}, request.GetRequester())
	return &accesscontrolv1.CheckAccessResponse{Decision: decide(request.GetPattern()).Enum()}, nil
}

func (m *module) authorize(ctx context.Context, request *accesscontrolv1.AuthorizeRequest) (*accesscontrolv1.AuthorizeResponse, error) {
	m.seen(ctx, "authorize", request.GetPatterns(), request.GetRequester())
	if len(request.GetPatterns()) == 0 {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("no patterns"))
	}
	decision := decide(request.GetPatterns()...)
	response := &accesscontrolv1.AuthorizeResponse{Decision: decision.Enum()}
	if decision == accesscontrolv1.Decision_DECISION_ALLOW {
		response.ExpiresAt = timestamppb.New(time.Now().Add(time.Hour))
	}
	return response, nil
}

// seen reports the requester, and checks the facts that a runtime on this
// machine can provide: its process and its executable.
func (m *module) seen(ctx context.Context, what string, patterns []string, requester *accesscontrolv1.Requester) {
	m.report.Request()
	m.report.Event(what, report.Fields{
		"patterns": patterns, "pid": requester.GetPid(), "name": requester.GetName(), "path": requester.GetAbsoluteBinaryPath(),
	})
	m.report.Check(requester.GetPid() > 0, "%s for %v named no process", what, patterns)
	m.report.Check(strings.HasPrefix(requester.GetAbsoluteBinaryPath(), "/"), "%s for %v named no executable", what, patterns)
	if ctx.Err() != nil {
		m.cancelled.Add(1)
	}
}

func decide(patterns ...string) accesscontrolv1.Decision {
	for _, pattern := range patterns {
		if pattern == "denied" || strings.HasPrefix(pattern, "denied/") {
			return accesscontrolv1.Decision_DECISION_DENY
		}
	}
	return accesscontrolv1.Decision_DECISION_ALLOW
}
