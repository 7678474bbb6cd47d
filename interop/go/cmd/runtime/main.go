// Command runtime accepts one plugin, launched as the reference does or
// external, sends a load to it, and stops it. It reports its observations, and
// exits with 1 if a check failed or it made no request.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/keyway-secrets/keyway/interop/go/internal/address"
	"github.com/keyway-secrets/keyway/interop/go/internal/expect"
	"github.com/keyway-secrets/keyway/interop/go/internal/hijack"
	"github.com/keyway-secrets/keyway/interop/go/internal/host"
	"github.com/keyway-secrets/keyway/interop/go/internal/launch"
	"github.com/keyway-secrets/keyway/interop/go/internal/report"
	"github.com/keyway-secrets/keyway/interop/go/internal/settings"
)

// processGrace bounds the wait for a process at each step of its end. It
// only bounds hangs, so it is long enough for any machine.
const processGrace = 30 * time.Second

type config struct {
	executable, listen, name, reportPath, realm, end string
	env                                              list
	want                                             expect.Digest
	requests, callers, slow, big                     int
	each, goAway, referenceAcceptor, module          bool
	idle                                             time.Duration
	registerTimeout                                  time.Duration
	options                                          host.Options
}

func main() { os.Exit(run()) }

func run() int {
	var c config
	flags := c.flags()
	if err := settings.Parse(flags, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "runtime:", err)
		return 2
	}
	log, err := report.New("runtime", c.reportPath)
	if err != nil {
		fmt.Fprintln(os.Stderr, "runtime:", err)
		return 2
	}
	d := driver{config: c, report: log}
	if err := d.connect(); err != nil {
		log.Fail("no plugin: %v", err)
		return log.Finish(0, nil)
	}
	return d.drive()
}

func (c *config) flags() *flag.FlagSet {
	flags := flag.NewFlagSet("runtime", flag.ContinueOnError)
	flags.StringVar(&c.executable, "exec", "", "plugin executable to launch")
	flags.StringVar(&c.listen, "listen", "", "address at which to accept an external plugin")
	flags.StringVar(&c.name, "name", "", "name of the launched plugin (default: the executable's)")
	flags.Var(&c.env, "env", "KEY=VALUE for the launched plugin, besides the launch variable; may be repeated")
	flags.StringVar(&c.reportPath, "report", "", "file of the report (default: standard output)")
	flags.StringVar(&c.realm, "realm", "demo", "realm of a demo plugin")
	flags.Var(&c.want, "want", "ID=LENGTH:SHA256 to get instead of the demo plugin's")
	flags.IntVar(&c.requests, "requests", 100, "requests of the load")
	flags.IntVar(&c.callers, "callers", 64, "callers of the load")
	flags.IntVar(&c.slow, "slow", 0, "slow secrets to get at once")
	flags.IntVar(&c.big, "big", 0, "8 MiB secrets to get at once")
	flags.BoolVar(&c.each, "each", false, "get each of the demo plugin's secrets")
	flags.BoolVar(&c.module, "module", false, "consult an access-control module, which denies the realm `denied`")
	flags.BoolVar(&c.goAway, "goaway", false, "send GoAway in the middle of slow calls")
	flags.DurationVar(&c.idle, "idle", 0, "be silent for this long before the end, for keep-alives")
	flags.StringVar(&c.end, "end", "shutdown", "how to end: shutdown, shutdown-in-flight, eof or interrupt")
	flags.BoolVar(&c.referenceAcceptor, "reference-acceptor", false, "respond to /hijack with the status line HTTP/0.0")
	flags.BoolVar(&c.options.Refuse, "refuse", false, "refuse the registration")
	flags.DurationVar(&c.registerTimeout, "register-timeout", 5*time.Second, "time that a plugin has to register")
	flags.DurationVar(&c.options.IPC.StreamOpenTimeout, "stream-open-timeout", time.Second, "end the session when a stream is not acknowledged in time")
	flags.DurationVar(&c.options.IPC.KeepAliveInterval, "keep-alive", 0, "time between two pings")
	return flags
}

// driver is the run of one plugin.
type driver struct {
	config
	report *report.Report
	plugin *host.Plugin
	child  *launch.Child
	// handOver keeps the /hijack handler from closing the connection.
	handOver chan struct{}
}

func (d *driver) connect() error {
	if d.executable == "" {
		return d.acceptExternal()
	}
	name := d.name
	if name == "" {
		name = filepath.Base(d.executable)
	}
	child, err := launch.Start(d.executable, name, d.registerTimeout, d.env)
	if err != nil {
		return err
	}
	d.child = child
	d.options.WantName = name
	d.plugin, err = host.Accept(child.Conn, d.report, d.options)
	return err
}

// acceptExternal waits for the first /hijack on a daemon socket.
func (d *driver) acceptExternal() error {
	listener, err := address.Listen(d.listen)
	if err != nil {
		return err
	}
	conns := make(chan net.Conn)
	d.handOver = make(chan struct{})
	mux := http.NewServeMux()
	mux.Handle(hijack.Path, &hijack.Acceptor{
		ReferenceStatusLine: d.referenceAcceptor,
		Serve:               func(conn net.Conn) { conns <- conn; <-d.handOver },
	})
	go func() { _ = http.Serve(listener, mux) }()
	d.report.Event("ready", report.Fields{"listen": d.listen})
	select {
	case conn := <-conns:
		d.plugin, err = host.Accept(conn, d.report, d.options)
		return err
	case <-time.After(30 * time.Second):
		return fmt.Errorf("no plugin came to %s", d.listen)
	}
}

// list is a flag that may be repeated.
type list []string

func (l *list) Set(text string) error { *l = append(*l, text); return nil }
func (l *list) String() string        { return fmt.Sprint([]string(*l)) }
