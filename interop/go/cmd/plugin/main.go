// Command plugin is a secrets provider on HashiCorp's yamux and connect-go. It
// is launched by a runtime or external, and behaves as any generation of the
// plugin SDK. Every flag can be given as INTEROP_<FLAG> in the environment.
package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/keyway-secrets/keyway/interop/go/internal/faults"
	"github.com/keyway-secrets/keyway/interop/go/internal/plugin"
	"github.com/keyway-secrets/keyway/interop/go/internal/provider"
	"github.com/keyway-secrets/keyway/interop/go/internal/report"
	"github.com/keyway-secrets/keyway/interop/go/internal/service"
	"github.com/keyway-secrets/keyway/interop/go/internal/settings"
)

func main() { os.Exit(run()) }

func run() int {
	var program plugin.Program
	flags := flag.NewFlagSet("plugin", flag.ContinueOnError)
	program.Settings.AddFlags(flags)
	pattern := flags.String("pattern", "demo/**", "pattern to register; its first component is the realm of the ids")
	faulty := flags.Bool("faulty", false, "respond to ids like demo/html with the faults of the package faults")
	slowFor := flags.Duration("slow-for", 1500*time.Millisecond, "how long the slow secret takes")
	if err := settings.Parse(flags, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "plugin:", err)
		return 2
	}
	log, err := report.New("plugin", program.Settings.ReportPath)
	if err != nil {
		fmt.Fprintln(os.Stderr, "plugin:", err)
		return 2
	}
	realm, _, _ := strings.Cut(*pattern, "/")
	secrets := &provider.Provider{Realm: realm, SlowFor: *slowFor, Report: log}
	program.Settings.Identity.Pattern = *pattern
	program.Report = log
	program.Cancelled = secrets.CancelledEarly
	program.Routes = func(mux *http.ServeMux) {
		if program.Settings.Generation == plugin.Oldest {
			service.Handle(mux, service.LegacyGetSecret, secrets.GetSecret)
			return
		}
		handler := service.Handler(service.GetSecrets, secrets.GetSecrets)
		if *faulty {
			handler = faults.Wrap(handler)
		}
		mux.Handle(service.GetSecrets, handler)
	}
	return program.Run()
}
