// Package ipc is the connection between a plugin and a runtime: one byte
// stream, multiplexed by yamux, with an HTTP server and an HTTP client on
// both ends, one stream for every request.
package ipc

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

const (
	// drainPoll is the interval at which a closing side checks for open streams.
	drainPoll = 50 * time.Millisecond
	// drainLimit bounds the wait for open streams.
	drainLimit = 2 * time.Second
)

// Role is the end of the connection. The plugin is the yamux
// client, the runtime the server.
type Role int

// The two ends.
const (
	Plugin Role = iota
	Runtime
)

// Options replace defaults of HashiCorp's library.
type Options struct {
	// StreamOpenTimeout ends the session if a stream that this side opened is
	// not acknowledged in time. Zero leaves the default of 75 s.
	StreamOpenTimeout time.Duration
	// KeepAliveInterval is the time between two pings. Zero leaves 30 s.
	KeepAliveInterval time.Duration
}

// Peer is one end of a plugin connection.
type Peer struct {
	// Session is the multiplexer, for pings and GoAway.
	Session *yamux.Session
	// Client sends each request on a stream of its own.
	Client *http.Client

	server *http.Server
	served chan struct{}
	cause  error
	logs   *logCollector
	once   sync.Once
	drain  Drain
}

// Drain is the outcome of closing a connection.
type Drain struct {
	// Took is the time from GoAway to the last check of the streams.
	Took time.Duration
	// StreamsLeft counts the streams that were still open then.
	StreamsLeft int
}

// New multiplexes conn and serves handler on it.
func New(conn io.ReadWriteCloser, role Role, handler http.Handler, options Options) (*Peer, error) {
	logs := &logCollector{}
	config := yamux.DefaultConfig()
	config.LogOutput = nil
	config.Logger = log.New(logs, "", 0)
	if options.StreamOpenTimeout > 0 {
		config.StreamOpenTimeout = options.StreamOpenTimeout
	}
	if options.KeepAliveInterval > 0 {
		config.KeepAliveInterval = options.KeepAliveInterval
	}
	open := yamux.Client
	if role == Runtime {
		open = yamux.Server
	}
	session, err := open(conn, config)
	if err != nil {
		return nil, err
	}
	peer := &Peer{
		Session: session,
		Client:  client(session),
		server:  &http.Server{Handler: handler, ErrorLog: log.New(logs, "", 0)},
		served:  make(chan struct{}),
		logs:    logs,
	}
	go peer.serve()
	return peer, nil
}

func client(session *yamux.Session) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return session.Open() },
		DisableKeepAlives: true,
	}}
}

func (p *Peer) serve() {
	defer close(p.served)
	err := p.server.Serve(p.Session)
	if !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, io.EOF) {
		p.cause = err
	}
	_ = p.Session.Close()
}

// Closed is closed when the connection has ended, by either side.
func (p *Peer) Closed() <-chan struct{} { return p.served }

// Cause is why the connection ended, nil for a clean end. It may be read after
// Closed.
func (p *Peer) Cause() error { return p.cause }

// Problems are the log entries of yamux and net/http about the other side.
func (p *Peer) Problems() []string { return p.logs.lines() }

// Close sends GoAway(0), waits for the open streams and closes the connection.
func (p *Peer) Close() Drain {
	p.once.Do(func() {
		start := time.Now()
		_ = p.Session.GoAway()
		p.Client.CloseIdleConnections()
		p.drain.StreamsLeft = p.waitForStreams()
		p.drain.Took = time.Since(start)
		_ = p.server.Close()
		<-p.served
	})
	return p.drain
}

func (p *Peer) waitForStreams() int {
	limit := time.After(drainLimit)
	for {
		select {
		case <-time.After(drainPoll):
		case <-limit:
			return p.Session.NumStreams()
		}
		if p.Session.NumStreams() == 0 {
			return 0
		}
	}
}

// logCollector keeps the first line of each entry that the libraries log.
type logCollector struct {
	mu   sync.Mutex
	kept []string
}

func (l *logCollector) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.kept) < 100 {
		first, _, _ := strings.Cut(strings.TrimSpace(string(line)), "\n")
		l.kept = append(l.kept, first)
	}
	return len(line), nil
}

func (l *logCollector) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.kept...)
}
