package main

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"time"
	_ "unsafe" // for linkname

	"github.com/hashicorp/yamux"
)

// reset ends both directions of a stream at once. The library exports no
// reset: this is the function of its half-closed timer, the only way in which it
// resets an established stream.
//
//go:linkname reset github.com/hashicorp/yamux.(*Stream).closeTimeout
func reset(*yamux.Stream)

// writeSize is the size of a single write. The library sends it as one frame.
const writeSize = 1 << 20

// readSize is the size of a read without a pace.
const readSize = 64 << 10

// end is one end of a session with its streams.
type end struct {
	session  *yamux.Session
	isClient bool

	mu       sync.Mutex
	arrived  *sync.Cond
	streams  map[uint32]*held
	accepted int
	// acceptEnded is set when no stream will be accepted any more.
	acceptEnded bool
}

// held is a stream and the positions of its two directions. The commands of one
// direction are sequential.
type held struct {
	*yamux.Stream
	wrote, read int
}

func start(address string, c command) (*end, error) {
	conn, err := net.Dial("unix", address)
	if err != nil {
		return nil, err
	}
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	if os.Getenv("ACTOR_LOG") != "" {
		config.LogOutput = os.Stderr
	}
	if c.AcceptQueue > 0 {
		config.AcceptBacklog = c.AcceptQueue
	}
	if c.KeepAlive > 0 {
		config.KeepAliveInterval = time.Duration(c.KeepAlive) * time.Millisecond
	}
	if c.OpenTimeout > 0 {
		config.StreamOpenTimeout = time.Duration(c.OpenTimeout) * time.Millisecond
	}
	if c.Window > 0 {
		config.MaxStreamWindowSize = c.Window
	}
	e := &end{isClient: c.Role == "client", streams: map[uint32]*held{}}
	e.arrived = sync.NewCond(&e.mu)
	if e.isClient {
		e.session, err = yamux.Client(conn, config)
	} else {
		e.session, err = yamux.Server(conn, config)
	}
	return e, err
}

func (e *end) perform(c command) reply {
	switch c.Act {
	case "accepting":
		go e.accepting(e.keep)
		return saw("done")
	case "open":
		return e.open()
	case "open_refused":
		return e.openRefused()
	case "accept":
		return e.accept(c.Stream)
	case "go_away":
		return outcome(0, e.session.GoAway())
	case "close":
		return outcome(0, e.session.Close())
	case "no_more_streams":
		return e.noMoreStreams()
	case "ended":
		<-e.session.CloseChan()
		return saw("done")
	case "echo":
		go e.accepting(func(stream *yamux.Stream) { go echo(stream) })
		return saw("done")
	case "request":
		return e.request(c.Count, c.Bytes)
	case "ping":
		_, err := e.session.Ping()
		return outcome(0, err)
	case "count":
		return e.count()
	}
	return e.onStream(c)
}

// onStream performs a command on a stream.
func (e *end) onStream(c command) reply {
	e.mu.Lock()
	stream := e.streams[c.Stream]
	e.mu.Unlock()
	if stream == nil {
		return reply{Saw: "unknown", Text: "there is no such stream"}
	}
	switch c.Act {
	case "write":
		return e.write(stream, c.Bytes)
	case "read":
		return e.read(stream, c, false)
	case "read_end":
		return e.read(stream, c, true)
	case "finish":
		return outcome(0, stream.Close())
	case "reset":
		reset(stream.Stream)
		return saw("done")
	case "drop":
		e.mu.Lock()
		delete(e.streams, c.Stream)
		e.mu.Unlock()
		return outcome(0, stream.Close())
	}
	return reply{Saw: "unknown", Text: "there is no act " + c.Act}
}

func (e *end) keep(stream *yamux.Stream) {
	e.mu.Lock()
	e.streams[stream.StreamID()] = &held{Stream: stream}
	e.mu.Unlock()
	e.arrived.Broadcast()
}

// accepting accepts every stream.
func (e *end) accepting(take func(*yamux.Stream)) {
	for {
		stream, err := e.session.AcceptStream()
		if err != nil {
			e.mu.Lock()
			e.acceptEnded = true
			e.mu.Unlock()
			e.arrived.Broadcast()
			return
		}
		e.mu.Lock()
		e.accepted++
		e.mu.Unlock()
		take(stream)
	}
}

func (e *end) accept(id uint32) reply {
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.streams[id] == nil {
		if e.acceptEnded {
			return saw("lost")
		}
		e.arrived.Wait()
	}
	return saw("done")
}

// noMoreStreams waits until accepting has ended.
func (e *end) noMoreStreams() reply {
	e.mu.Lock()
	defer e.mu.Unlock()
	for !e.acceptEnded {
		e.arrived.Wait()
	}
	return saw("done")
}

func (e *end) open() reply {
	stream, err := e.session.OpenStream()
	if err != nil {
		return outcome(0, err)
	}
	e.keep(stream)
	return reply{Saw: "done", Stream: stream.StreamID()}
}

// openRefused opens a stream that the peer refuses. The refusal may be reported
// at once or by the first read.
func (e *end) openRefused() reply {
	stream, err := e.session.OpenStream()
	if err != nil {
		return outcome(0, err)
	}
	n, err := stream.Read(make([]byte, 1))
	return e.ended(n, err)
}

func (e *end) write(stream *held, bytes int) reply {
	buffer := make([]byte, min(bytes, writeSize))
	for bytes > 0 {
		part := buffer[:min(bytes, len(buffer))]
		fill(part, stream.StreamID(), e.isClient, stream.wrote)
		n, err := stream.Write(part)
		stream.wrote += n
		bytes -= n
		if errors.Is(err, yamux.ErrStreamClosed) && e.session.IsClosed() {
			// The library reports a closed stream, but this end has not closed it.
			return reply{Saw: "lost", Text: err.Error()}
		}
		if err != nil {
			return outcome(0, err)
		}
	}
	return saw("done")
}

// read reads a number of bytes, or everything up to the end.
func (e *end) read(stream *held, c command, toEnd bool) reply {
	size := readSize
	if c.Chunk > 0 {
		size = c.Chunk
	}
	buffer := make([]byte, size)
	total := 0
	for toEnd || total < c.Bytes {
		part := buffer
		if !toEnd {
			part = buffer[:min(size, c.Bytes-total)]
		}
		n, err := stream.Read(part)
		if !right(part[:n], stream.StreamID(), !e.isClient, stream.read) {
			return reply{Saw: "wrong", Bytes: stream.read}
		}
		stream.read += n
		total += n
		if err != nil {
			return e.ended(total, err)
		}
		if c.Chunk > 0 {
			time.Sleep(time.Duration(c.Pause) * time.Millisecond)
		}
	}
	return reply{Saw: "done", Bytes: total}
}

// ended converts the error of a read. After the end of the session the library
// reports an end that the peer has not sent.
func (e *end) ended(bytes int, err error) reply {
	if errors.Is(err, io.EOF) {
		if e.session.IsClosed() {
			return reply{Saw: "end_or_lost", Bytes: bytes}
		}
		return reply{Saw: "end", Bytes: bytes}
	}
	return outcome(bytes, err)
}

func (e *end) count() reply {
	descriptors, _ := os.ReadDir("/proc/self/fd")
	e.mu.Lock()
	accepted := e.accepted
	e.mu.Unlock()
	return reply{
		Saw:         "done",
		Bytes:       accepted,
		Streams:     e.session.NumStreams(),
		Goroutines:  runtime.NumGoroutine(),
		Descriptors: len(descriptors),
	}
}

func saw(what string) reply { return reply{Saw: what} }

// outcome converts an error to the vocabulary of the tests.
func outcome(bytes int, err error) reply {
	r := reply{Saw: "other", Bytes: bytes}
	var connection *net.OpError
	switch {
	case err == nil:
		r.Saw = "done"
		return r
	case errors.Is(err, yamux.ErrRemoteGoAway):
		r.Saw = "refused"
	case errors.Is(err, yamux.ErrConnectionReset):
		r.Saw = "reset"
	case errors.Is(err, yamux.ErrStreamClosed):
		r.Saw = "closed"
	case errors.Is(err, yamux.ErrSessionShutdown):
		r.Saw = "lost"
	case errors.As(err, &connection):
		// A write to the closed connection before the session has detected the end.
		r.Saw = "lost"
	}
	r.Text = err.Error()
	return r
}
