// Command daemon is a secrets daemon on HashiCorp's yamux and connect-go: it
// launches plugins, accepts external plugins, and serves clients by calling its
// plugins one after the other. It exits on SIGTERM or SIGINT, and with 1 if a
// check failed or there was no request.
package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/keyway-secrets/keyway/interop/go/internal/address"
	"github.com/keyway-secrets/keyway/interop/go/internal/provider"
	"github.com/keyway-secrets/keyway/interop/go/internal/report"
	"github.com/keyway-secrets/keyway/interop/go/internal/settings"
)

type config struct {
	listen, reportPath          string
	executables                 list
	builtin, referenceAcceptor  bool
	minRequests, minPlugins     int64
	streamOpenTimeout           time.Duration
	slowFor, registrationWindow time.Duration
}

func main() { os.Exit(run()) }

func run() int {
	var c config
	flags := flag.NewFlagSet("daemon", flag.ContinueOnError)
	flags.StringVar(&c.listen, "listen", address.Current(), "address to listen at")
	flags.StringVar(&c.reportPath, "report", "", "file of the report (default: standard output)")
	flags.Var(&c.executables, "exec", "plugin executable to launch; may be repeated")
	flags.BoolVar(&c.builtin, "builtin", false, "serve the realm `demo` without a plugin")
	flags.BoolVar(&c.referenceAcceptor, "reference-acceptor", false, "respond to /hijack with the status line HTTP/0.0")
	flags.Int64Var(&c.minRequests, "min-requests", 1, "fail when fewer requests came")
	flags.Int64Var(&c.minPlugins, "min-plugins", 0, "fail when fewer plugins registered")
	flags.DurationVar(&c.streamOpenTimeout, "stream-open-timeout", time.Second, "end a session when a stream is not acknowledged in time")
	flags.DurationVar(&c.slowFor, "slow-for", 1500*time.Millisecond, "how long the builtin slow secret takes")
	flags.DurationVar(&c.registrationWindow, "register-timeout", 5*time.Second, "time that a plugin has to register")
	if err := settings.Parse(flags, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "daemon:", err)
		return 2
	}
	log, err := report.New("daemon", c.reportPath)
	if err != nil {
		fmt.Fprintln(os.Stderr, "daemon:", err)
		return 2
	}
	return serve(c, log)
}

func serve(c config, log *report.Report) int {
	d := newDaemon(c, log)
	if c.builtin {
		d.builtin = &provider.Provider{Realm: "demo", SlowFor: c.slowFor, Report: quiet()}
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	listener, err := address.Listen(c.listen)
	if err != nil {
		log.Fail("listening at %s: %v", c.listen, err)
		return log.Finish(0, nil)
	}
	for _, executable := range c.executables {
		if err := d.launch(executable, filepath.Base(executable)); err != nil {
			log.Fail("launching %s: %v", executable, err)
		}
	}
	server := &http.Server{Handler: d.routes()}
	go func() { _ = server.Serve(listener) }()
	log.Event("ready", report.Fields{"listen": c.listen})
	<-signals
	d.stopPlugins()
	_ = server.Close()
	seen := d.registrations.Load()
	log.Check(seen >= c.minPlugins, "%d plugins registered, needed at least %d", seen, c.minPlugins)
	return log.Finish(c.minRequests, report.Fields{"plugins": seen})
}

// quiet is a report for the builtin provider, whose requests are counted where
// they arrive.
func quiet() *report.Report {
	log, err := report.New("builtin", os.DevNull)
	if err != nil {
		panic(err) // The null device can always be opened.
	}
	return log
}

// list is a flag that may be repeated.
type list []string

func (l *list) Set(text string) error { *l = append(*l, text); return nil }
func (l *list) String() string        { return fmt.Sprint([]string(*l)) }
