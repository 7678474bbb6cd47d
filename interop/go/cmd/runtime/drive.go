package main

import (
	"context"
	"errors"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"github.com/keyway-secrets/keyway/interop/go/internal/expect"
	"github.com/keyway-secrets/keyway/interop/go/internal/host"
	"github.com/keyway-secrets/keyway/interop/go/internal/load"
	"github.com/keyway-secrets/keyway/interop/go/internal/provider"
	"github.com/keyway-secrets/keyway/interop/go/internal/report"
)

// callTimeout bounds every single call.
const callTimeout = 30 * time.Second

// drive runs every enabled phase and returns the exit code.
func (d *driver) drive() int {
	registration, err := d.plugin.Registered(d.registerTimeout)
	if d.options.Refuse {
		d.report.Check(err != nil, "the refused plugin was registered")
		return d.refused()
	}
	if err != nil {
		d.report.Fail("registration: %v", err)
		return d.end()
	}
	d.report.Check(registration.Module || registration.Pattern != "", "the plugin registered no pattern")
	d.probe()
	for _, phase := range []struct {
		enabled bool
		run     func()
	}{
		{d.each, d.getEach},
		{d.module, d.checkModule},
		{d.slow > 0, d.getSlow},
		{d.big > 0, d.getBig},
		{d.requests > 0, d.load},
		{d.idle > 0, d.stayIdle},
		{d.goAway, d.goAwayInFlight},
	} {
		if phase.enabled {
			phase.run()
		}
	}
	return d.end()
}

// probe checks what every plugin serves: pings and /health.
func (d *driver) probe() {
	took, err := d.plugin.Peer.Session.Ping()
	d.report.Check(err == nil, "the plugin did not acknowledge a ping: %v", err)
	d.verify(d.plugin.Health())
	d.report.Event("plugin-probed", report.Fields{"ping_us": took.Microseconds()})
}

func (d *driver) verify(err error) {
	if err != nil {
		d.report.Fail("%v", err)
	}
}

func (d *driver) get(pattern string) ([]*expect.Envelope, error) {
	d.report.Request()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	return d.plugin.GetSecrets(ctx, pattern)
}

func (d *driver) id(name string) string { return d.realm + "/" + name }

// getOne checks one secret of the demo plugin.
func (d *driver) getOne(name string) error {
	envelopes, err := d.get(d.id(name))
	return expect.Dummy(d.id(name), envelopes, err)
}

func (d *driver) getEach() {
	d.verify(d.getOne(provider.Hit))
	d.verify(d.getOne(provider.NoTime))
	_, err := d.get(d.id(provider.Missing))
	d.verify(expect.Code(provider.Missing, err, connect.CodeNotFound))
	_, err = d.get(d.id(provider.Broken))
	d.verify(expect.Code(provider.Broken, err, connect.CodeInternal, connect.CodeUnknown))
	many, err := d.get(d.id("many/*"))
	d.verify(expect.Dummies(d.id("many/*"), provider.ManyCount, many, err))
	_, err = d.get(d.id(provider.Panic))
	d.verify(expect.Code(provider.Panic, err, connect.CodeInternal, connect.CodeUnavailable, connect.CodeUnknown))
	// A panic ends its own call only.
	d.verify(d.getOne(provider.Hit))
	_, err = d.get("not//a pattern")
	d.verify(expect.Code("an invalid pattern", err, connect.CodeInvalidArgument, connect.CodeNotFound, connect.CodeInternal))
}

// getSlow makes calls that take longer than the time within which a stream
// must be acknowledged.
func (d *driver) getSlow() {
	d.concurrently(d.slow, func() error { return d.getOne(provider.Slow) })
}

func (d *driver) getBig() {
	d.concurrently(d.big, func() error { return d.getOne(provider.Big) })
}

func (d *driver) concurrently(count int, request func() error) {
	result := load.Run(count, count, request)
	d.report.Event("concurrent", result.Fields())
	d.report.Check(result.Failed == 0, "%d of %d concurrent calls failed: %s", result.Failed, result.Requests, result.FirstError)
}

func (d *driver) load() {
	request := func() error { return d.getOne(provider.Hit) }
	if d.want.ID != "" {
		request = func() error {
			envelopes, err := d.get(d.want.ID)
			if err != nil {
				return err
			}
			return d.want.Holds(envelopes)
		}
	}
	result := load.Run(d.requests, d.callers, request)
	d.report.Event("load", result.Fields())
	d.report.Check(result.Failed == 0, "%d of %d calls failed: %s", result.Failed, result.Requests, result.FirstError)
	d.report.Check(d.noStreams(), "%d streams stayed open after the load", d.plugin.Peer.Session.NumStreams())
}

// noStreams waits briefly for the last FINs.
func (d *driver) noStreams() bool {
	for range 100 {
		if d.plugin.Peer.Session.NumStreams() == 0 {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

// stayIdle sends nothing, so that only keep-alives pass.
func (d *driver) stayIdle() {
	select {
	case <-time.After(d.idle):
	case <-d.plugin.Peer.Closed():
		d.report.Fail("the connection ended in silence: %v", d.plugin.Peer.Cause())
	}
	d.verify(d.getOne(provider.Hit))
}

// goAwayInFlight sends GoAway(0) while calls are being served. It forbids the
// plugin to open streams; the calls continue, and this side may still open more.
func (d *driver) goAwayInFlight() {
	const calls = 8
	var wait sync.WaitGroup
	for range calls {
		wait.Go(func() { d.verify(d.getOne(provider.Slow)) })
	}
	for range 1000 {
		if d.plugin.Peer.Session.NumStreams() == calls {
			break
		}
		time.Sleep(time.Millisecond)
	}
	d.report.Check(d.plugin.Peer.Session.NumStreams() == calls, "only %d calls were in flight at GoAway", d.plugin.Peer.Session.NumStreams())
	d.verify(d.plugin.Peer.Session.GoAway())
	wait.Wait()
	d.verify(d.getOne(provider.Hit))
	d.report.Event("goaway-in-flight", report.Fields{"calls": calls})
}

// refused waits for a plugin to disconnect after its registration was refused.
func (d *driver) refused() int {
	d.report.Request()
	select {
	case <-d.plugin.Peer.Closed():
	case <-time.After(processGrace):
		d.report.Fail("the refused plugin stayed")
	}
	return d.finish(host.Stopped{})
}

// end stops the plugin in the configured way.
func (d *driver) end() int {
	switch d.config.end {
	case "eof":
		_ = d.plugin.Peer.Session.Close()
		return d.finish(host.Stopped{})
	case "interrupt":
		d.verify(d.child.Cmd.Process.Signal(syscall.SIGINT))
		select {
		case <-d.plugin.Peer.Closed():
		case <-time.After(processGrace):
			d.report.Fail("the interrupted plugin stayed")
		}
		return d.finish(host.Stopped{})
	case "shutdown-in-flight":
		return d.shutdownInFlight()
	}
	stopped := d.plugin.Stop()
	return d.finish(stopped)
}

// shutdownInFlight stops the plugin while it serves a call, which must still
// complete.
func (d *driver) shutdownInFlight() int {
	completed := make(chan error, 1)
	go func() { completed <- d.getOne(provider.Slow) }()
	for range 1000 {
		if d.plugin.Peer.Session.NumStreams() > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond)
	stopped := d.plugin.Stop()
	d.verify(<-completed)
	return d.finish(stopped)
}

func (d *driver) finish(stopped host.Stopped) int {
	d.report.Check(stopped.Err == nil, "Shutdown: %v", stopped.Err)
	d.report.Check(stopped.Drain.StreamsLeft == 0, "%d streams were still open after the drain", stopped.Drain.StreamsLeft)
	if cause := d.plugin.Peer.Cause(); cause != nil {
		d.report.Fail("the connection failed: %v", cause)
	}
	facts := report.Fields{
		"stop_ms": stopped.Took.Milliseconds(), "drain_ms": stopped.Drain.Took.Milliseconds(),
		"streams_left": stopped.Drain.StreamsLeft, "problems": d.plugin.Peer.Problems(),
	}
	if d.child != nil {
		d.waitForChild(facts)
	}
	if d.handOver != nil {
		close(d.handOver)
	}
	return d.report.Finish(1, facts)
}

// waitForChild checks that the process ended by itself.
func (d *driver) waitForChild(facts report.Fields) {
	byItself, err := d.child.Wait(processGrace)
	d.report.Check(byItself, "the plugin process had to be killed")
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		facts["exit"] = exit.String()
		d.report.Check(d.options.Refuse, "the plugin process ended with %v", exit)
	}
}
