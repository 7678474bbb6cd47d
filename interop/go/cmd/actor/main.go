// Command actor is one end of a yamux session, played on HashiCorp's library
// for the differential tests of Keyway's multiplexer. It is told what to do in
// JSON lines on one unix socket, runs the session on another, and answers each
// line with what an application saw.
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

// command is one line that the actor is told.
type command struct {
	ID     uint64 `json:"id"`
	Act    string `json:"act"`
	Stream uint32 `json:"stream"`
	Bytes  int    `json:"bytes"`
	// Chunk and Pause (milliseconds) slow a read down; 0 reads as fast as it can.
	Chunk int `json:"chunk"`
	Pause int `json:"pause"`
	// Count is how many streams "ask" opens.
	Count int `json:"count"`
	// The settings of a session.
	Role        string `json:"role"`
	Backlog     int    `json:"backlog"`
	KeepAlive   int    `json:"keep_alive"`
	OpenTimeout int    `json:"open_timeout"`
	Window      uint32 `json:"window"`
}

// reply is what came of a command.
type reply struct {
	ID   uint64 `json:"id"`
	Saw  string `json:"saw"`
	Text string `json:"text,omitempty"`
	// Stream is the id of an opened stream.
	Stream uint32 `json:"stream"`
	Bytes  int    `json:"bytes"`
	// What is left in the process, of "count".
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

// serve obeys until the control socket ends, which is the end of the process.
func serve(control, data string) error {
	conn, err := net.Dial("unix", control)
	if err != nil {
		return err
	}
	out := answers{encoder: json.NewEncoder(conn)}
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
		// Each command waits for what it needs, beside the others.
		go func(e *end) {
			r := e.perform(c)
			r.ID = c.ID
			out.send(r)
		}(current)
	}
	return lines.Err()
}

// answers writes one reply at a time.
type answers struct {
	mu      sync.Mutex
	encoder *json.Encoder
}

func (a *answers) send(r reply) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.encoder.Encode(r); err != nil {
		// Nobody is there to be told any more.
		os.Exit(1)
	}
}
