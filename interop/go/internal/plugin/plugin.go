// Package plugin is the lifecycle of a plugin process: it finds its connection,
// registers, serves, and stops on Shutdown or at the end of its connection.
package plugin

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"github.com/keyway-secrets/keyway/interop/go/internal/address"
	"github.com/keyway-secrets/keyway/interop/go/internal/hijack"
	"github.com/keyway-secrets/keyway/interop/go/internal/ipc"
	"github.com/keyway-secrets/keyway/interop/go/internal/launch"
	"github.com/keyway-secrets/keyway/interop/go/internal/report"
	"github.com/keyway-secrets/keyway/interop/go/internal/service"
	"github.com/keyway-secrets/keyway/interop/go/internal/wire/pluginsv1"
)

// registrationTimeout is the SDK's own, for an external plugin.
const registrationTimeout = 5 * time.Second

// Settings are the flags that every plugin program has.
type Settings struct {
	Identity       Identity
	Generation     Generation
	Socket         string
	ReportPath     string
	ExpectRefusal  string
	MinRequests    int64
	Stay           bool
	RegisterAfter  time.Duration
	RegisterTwice  bool
	AllowCancelled bool
	Options        ipc.Options
}

// AddFlags declares the flags.
func (s *Settings) AddFlags(flags *flag.FlagSet) {
	s.Generation = Current
	flags.StringVar(&s.Identity.Name, "name", "", "name to register of an external plugin (default: the executable's)")
	flags.StringVar(&s.Identity.Version, "version", "v1.2.3", "version to register")
	flags.Var(&s.Generation, "generation", "age of the plugin SDK: plugins, register, engine, early-engine or oldest")
	flags.StringVar(&s.Socket, "socket", "", "daemon to connect to of an external plugin (default: where this generation looks)")
	flags.StringVar(&s.ReportPath, "report", "", "file of the report (default: standard output)")
	flags.StringVar(&s.ExpectRefusal, "expect-refusal", "", "the code with which the registration must be refused")
	flags.Int64Var(&s.MinRequests, "min-requests", 1, "fail when fewer requests were served")
	flags.BoolVar(&s.Stay, "stay", false, "respond to Shutdown but stay until the connection ends")
	flags.DurationVar(&s.RegisterAfter, "register-after", 0, "wait before registering")
	flags.BoolVar(&s.RegisterTwice, "register-twice", false, "register a second time, which must be refused")
	flags.BoolVar(&s.AllowCancelled, "allow-cancelled", false, "do not fail when a handler's context ended early")
	// One poll of 50 ms is enough if the other side has closed its streams; the
	// rest is for a busy machine.
	flags.DurationVar(&s.Options.StreamOpenTimeout, "stream-open-timeout", 0, "end the session when a stream is not acknowledged in time")
	flags.DurationVar(&s.Options.KeepAliveInterval, "keep-alive", 0, "time between two pings")
}

// Routes adds the services of the plugin besides /health and Shutdown.
type Routes func(mux *http.ServeMux)

// Program is one run of a plugin.
type Program struct {
	Settings Settings
	Report   *report.Report
	Routes   Routes
	// Cancelled counts the handlers whose context ended early.
	Cancelled func() int64

	peer       *ipc.Peer
	registered chan struct{}
	shutdown   chan struct{}
	launched   bool
}

// Run runs the plugin and returns the exit code.
func (p *Program) Run() int {
	p.registered = make(chan struct{})
	p.shutdown = make(chan struct{}, 1)
	conn, timeout, err := p.connect()
	if err != nil {
		p.Report.Fail("no connection: %v", err)
		return p.Report.Finish(0, nil)
	}
	p.peer, err = ipc.New(conn, ipc.Plugin, p.handler(), p.Settings.Options)
	if err != nil {
		p.Report.Fail("no session: %v", err)
		return p.Report.Finish(0, nil)
	}
	time.Sleep(p.Settings.RegisterAfter)
	if !p.register(timeout) {
		return p.finish("refused")
	}
	return p.finish(p.wait())
}

// connect uses the inherited socket, or requests an upgrade from the daemon.
func (p *Program) connect() (net.Conn, time.Duration, error) {
	config, err := launch.FromEnv()
	if err != nil {
		return nil, 0, err
	}
	if config != nil {
		p.launched = true
		p.Settings.Identity.Name = config.Name
		conn, err := config.Conn()
		return conn, config.Timeout, err
	}
	if p.Settings.Identity.Name == "" {
		p.Settings.Identity.Name = defaultName()
	}
	socket := p.Settings.Socket
	if socket == "" {
		if socket, err = p.Settings.Generation.socket(); err != nil {
			return nil, 0, err
		}
	}
	conn, err := address.Dial(socket)
	if err != nil {
		return nil, 0, err
	}
	upgraded, err := hijack.Request(conn)
	return upgraded, registrationTimeout, err
}

func (p *Program) handler() http.Handler {
	mux := http.NewServeMux()
	service.Health(mux)
	// The messages of all generations' Shutdown are empty.
	service.Handle(mux, p.Settings.Generation.shutdownProcedure(),
		func(context.Context, *pluginsv1.ShutdownRequest) (*pluginsv1.ShutdownResponse, error) {
			p.Report.Event("shutdown-called", nil)
			select {
			case p.shutdown <- struct{}{}:
			default:
			}
			return &pluginsv1.ShutdownResponse{}, nil
		})
	calls := http.NewServeMux()
	p.Routes(calls)
	mux.Handle("/", p.awaitRegistration(calls))
	return mux
}

// awaitRegistration makes calls wait for the registration, each from its own arrival.
func (p *Program) awaitRegistration(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-p.registered:
			inner.ServeHTTP(w, r)
		case <-time.After(registrationTimeout):
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusGatewayTimeout)
			fmt.Fprint(w, `{"code":"deadline_exceeded","message":"the plugin is not registered yet"}`)
		}
	})
}

// register returns false if the program must exit: it was refused, as expected
// or not.
func (p *Program) register(timeout time.Duration) bool {
	accepted, err := p.callRegister(timeout)
	if expected := p.Settings.ExpectRefusal; expected != "" {
		code := connect.CodeOf(err).String()
		p.Report.Event("registration-refused", report.Fields{"code": code, "message": message(err)})
		p.Report.Check(err != nil && code == expected, "the registration gave %q, expected %q", code, expected)
		return false
	}
	if err != nil {
		p.Report.Fail("the registration was refused: %v", err)
		return false
	}
	close(p.registered)
	p.Report.Event("registered", report.Fields{
		"name": p.Settings.Identity.Name, "launched": p.launched, "generation": p.Settings.Generation,
		"engine": accepted.Name, "engine_version": accepted.Version, "request_timeout_ms": accepted.Timeout.Milliseconds(),
	})
	p.Report.Check(accepted.Name != "", "the runtime gave no name of itself")
	p.Report.Check(accepted.Version != "", "the runtime gave no version of itself")
	p.Report.Check(accepted.Timeout > 0, "the runtime gave no request timeout")
	if p.Settings.RegisterTwice {
		_, err := p.callRegister(timeout)
		p.Report.Check(err != nil, "a second registration was accepted")
		p.Report.Event("second-registration", report.Fields{"code": connect.CodeOf(err).String(), "message": message(err)})
	}
	p.probeRuntime()
	return true
}

func (p *Program) callRegister(timeout time.Duration) (runtimeInfo, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return p.Settings.Generation.register(ctx, p.peer.Client, p.Settings.Identity)
}

// probeRuntime checks what every runtime serves: pings and /health.
func (p *Program) probeRuntime() {
	took, err := p.peer.Session.Ping()
	p.Report.Check(err == nil, "the runtime did not acknowledge a ping: %v", err)
	status, body, err := get(p.peer.Client, "/health")
	p.Report.Check(err == nil && status == http.StatusOK && body == "ok", "GET /health gave %d %q %v", status, body, err)
	p.Report.Event("runtime-probed", report.Fields{"ping_us": took.Microseconds(), "health": status})
}

func message(err error) string {
	if err == nil {
		return ""
	}
	var wire *connect.Error
	if errors.As(err, &wire) {
		return wire.Message()
	}
	return err.Error()
}

// wait returns the reason why the plugin exits.
func (p *Program) wait() string {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	shutdown := p.shutdown
	if p.Settings.Stay {
		shutdown = nil
	}
	select {
	case <-shutdown:
		return "shutdown"
	case received := <-signals:
		return received.String()
	case <-p.peer.Closed():
		return "connection ended"
	}
}

func (p *Program) finish(reason string) int {
	drain := p.peer.Close()
	p.Report.Check(drain.StreamsLeft == 0, "%d streams were still open after the drain", drain.StreamsLeft)
	p.Report.Check(p.peer.Cause() == nil, "the connection failed: %v", p.peer.Cause())
	cancelled := p.Cancelled()
	p.Report.Check(cancelled == 0 || p.Settings.AllowCancelled, "%d handlers lost their context before they were done", cancelled)
	least := p.Settings.MinRequests
	if p.Settings.ExpectRefusal != "" {
		least = 0
	}
	return p.Report.Finish(least, report.Fields{
		"ended_by": reason, "drain_ms": drain.Took.Milliseconds(), "streams_left": drain.StreamsLeft,
		"cancelled": cancelled, "problems": p.peer.Problems(),
	})
}
