// Command client is a client of a daemon, on connect-go over HTTP/1.1 with
// keep-alive. It makes every call of the protocol, then a load, and exits with 1
// if a check failed or it made no request.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/keyway-secrets/keyway/interop/go/internal/address"
	"github.com/keyway-secrets/keyway/interop/go/internal/expect"
	"github.com/keyway-secrets/keyway/interop/go/internal/load"
	"github.com/keyway-secrets/keyway/interop/go/internal/provider"
	"github.com/keyway-secrets/keyway/interop/go/internal/report"
	"github.com/keyway-secrets/keyway/interop/go/internal/settings"
)

type config struct {
	socket, reportPath, plugin    string
	want                          expect.Digest
	requests, callers, slow, big  int
	each, management, access, old bool
	wait                          time.Duration
}

func main() { os.Exit(run()) }

func run() int {
	var c config
	flags := flag.NewFlagSet("client", flag.ContinueOnError)
	flags.StringVar(&c.socket, "socket", address.Current(), "address of the daemon")
	flags.StringVar(&c.reportPath, "report", "", "file of the report (default: standard output)")
	flags.StringVar(&c.plugin, "plugin", "demo", "name of the plugin that serves the realm `demo`")
	flags.Var(&c.want, "want", "ID=LENGTH:SHA256 to get instead of the demo plugin's")
	flags.IntVar(&c.requests, "requests", 100, "requests of the load")
	flags.IntVar(&c.callers, "callers", 64, "callers of the load, each with a connection of its own")
	flags.IntVar(&c.slow, "slow", 0, "slow secrets to get at once")
	flags.IntVar(&c.big, "big", 0, "8 MiB secrets to get at once")
	flags.BoolVar(&c.each, "each", false, "get each of the demo plugin's secrets")
	flags.BoolVar(&c.management, "management", false, "list, disable and enable the plugin, and get the version")
	flags.BoolVar(&c.access, "access", false, "expect that the realm `denied` is closed")
	flags.BoolVar(&c.old, "old", false, "list the plugins as clients before v0.0.26 do")
	flags.DurationVar(&c.wait, "wait", 5*time.Second, "how long to wait for the daemon to come up")
	if err := settings.Parse(flags, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		return 2
	}
	log, err := report.New("client", c.reportPath)
	if err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		return 2
	}
	k := &caller{config: c, report: log, http: newHTTP(c.socket, c.callers)}
	return k.run()
}

// newHTTP is the client's transport: kept-alive connections, gzip offered.
func newHTTP(socket string, connections int) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:         func(context.Context, string, string) (net.Conn, error) { return address.Dial(socket) },
		MaxConnsPerHost:     connections,
		MaxIdleConnsPerHost: connections,
		ForceAttemptHTTP2:   true,
	}}
}

// caller is one run of the program.
type caller struct {
	config
	report *report.Report
	http   *http.Client
}

func (k *caller) run() int {
	if err := k.waitForDaemon(); err != nil {
		k.report.Fail("no daemon: %v", err)
		return k.report.Finish(0, nil)
	}
	for _, phase := range []struct {
		enabled bool
		run     func()
	}{
		{k.each, k.getEach},
		{k.management, k.manage},
		{k.old, k.listAsBefore},
		{k.access, k.checkDenied},
		{k.slow > 0, func() { k.concurrently(k.slow, provider.Slow) }},
		{k.big > 0, func() { k.concurrently(k.big, provider.Big) }},
		{k.requests > 0, k.load},
	} {
		if phase.enabled {
			phase.run()
		}
	}
	return k.report.Finish(1, nil)
}

// waitForDaemon polls /health until it responds.
func (k *caller) waitForDaemon() error {
	deadline := time.Now().Add(k.wait)
	for {
		response, err := k.http.Get("http://unix/health")
		if err == nil {
			response.Body.Close()
			k.report.Check(response.StatusCode == http.StatusOK, "GET /health gave %s", response.Status)
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (k *caller) concurrently(count int, name string) {
	result := load.Run(count, count, func() error { return k.askOne(name) })
	k.report.Event("concurrent", result.Fields())
	k.report.Check(result.Failed == 0, "%d of %d concurrent calls failed: %s", result.Failed, result.Requests, result.FirstError)
}

func (k *caller) load() {
	request := func() error { return k.askOne(provider.Hit) }
	if k.want.ID != "" {
		request = func() error {
			envelopes, err := k.get(k.want.ID)
			if err != nil {
				return err
			}
			return k.want.Holds(envelopes)
		}
	}
	result := load.Run(k.requests, k.callers, request)
	k.report.Event("load", result.Fields())
	k.report.Check(result.Failed == 0, "%d of %d calls failed: %s", result.Failed, result.Requests, result.FirstError)
}
