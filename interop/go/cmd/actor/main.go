// Command actor is one end of a yamux session on HashiCorp's library, for the
// differential tests of Keyway's multiplexer. It receives commands as JSON lines
// on one unix socket, runs the session on another, and replies to each command
// with the observation of an application.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"sync"
)

// command is one line of the control socket.
type command struct {
	ID     uint64 `json:"id"`
	Act    string `json:"act"`
	Stream uint32 `json:"stream"`
	Bytes  int    `json:"bytes"`
	// Chunk and Pause (milliseconds) slow a read down; 0 reads as fast as it can.
	Chunk int `json:"chunk"`
	Pause int `json:"pause"`
	// Count is the number of streams that "request" opens.
	Count int `json:"count"`
	// The settings of a session.
	Role        string `json:"role"`
	AcceptQueue int    `json:"accept_queue"`
	KeepAlive   int    `json:"keep_alive"`
	OpenTimeout int    `json:"open_timeout"`
	Window      uint32 `json:"window"`
}

// reply is the result of a command.
type reply struct {
	ID   uint64 `json:"id"`
	Saw  string `json:"saw"`
	Text string `json:"text,omitempty"`
	// Stream is the id of an opened stream.
	Stream uint32 `json:"stream"`
	Bytes  int    `json:"bytes"`
	// The resources of the process, for "count".
	Streams     int `json:"streams"`
	Goroutines  int `json:"goroutines"`
	Descriptors int `json:"descriptors"`
}

func main() {
	control := flag.String("control", "", "unix socket that the commands come from")
	data := flag.String("data", "", "unix socket that each session connects to")
	flag.Parse()
	if err := serve(*control, *data); err != nil {
		fmt.Fprintln(os.Stderr, "actor:", err)
		os.Exit(1)
	}
}

// serve executes commands until the control socket ends.
func serve(control, data string) error {
	conn, err := net.Dial("unix", control)
	if err != nil {
		return err
	}
	out := replies{encoder: json.NewEncoder(conn)}
	var current *end
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return err
		}
		if c.Act == "start" {
			if current != nil {
				_ = current.session.Close()
			}
			if current, err = start(data, c); err != nil {
				return err
			}
			out.send(reply{ID: c.ID, Saw: "done"})
			continue
		}
		// Commands run concurrently; each waits for its own events.
		go func(e *end) {
			r := e.perform(c)
			r.ID = c.ID
			out.send(r)
		}(current)
	}
	return lines.Err()
}

// replies writes one reply at a time.
type replies struct {
	mu      sync.Mutex
	encoder *json.Encoder
}

func (a *replies) send(r reply) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.encoder.Encode(r); err != nil {
		// The control socket is closed.
		os.Exit(1)
	}
}
