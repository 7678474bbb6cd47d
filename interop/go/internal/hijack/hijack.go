// Package hijack upgrades a connection to a daemon to a plugin connection.
package hijack

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Path is the path at which the daemon accepts plugin connections.
const Path = "/hijack"

// responseTimeout is how long a plugin waits for the 101.
const responseTimeout = 2 * time.Second

// Conn is a connection whose first bytes may already sit in a buffer.
type Conn struct {
	net.Conn
	reader *bufio.Reader
}

// Read returns the buffered bytes first.
func (c *Conn) Read(p []byte) (int, error) { return c.reader.Read(p) }

// Request performs the upgrade. Bytes behind the 101 in the same read are kept
// for the caller.
func Request(conn net.Conn) (*Conn, error) {
	request, err := http.NewRequest(http.MethodGet, "http://secrets-engine.localhost"+Path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Connection", "upgrade")
	request.Header.Set("Upgrade", "tcp")
	if err := conn.SetDeadline(time.Now().Add(responseTimeout)); err != nil {
		return nil, err
	}
	if err := request.Write(conn); err != nil {
		return nil, fmt.Errorf("requesting the upgrade: %w", err)
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, request)
	if err != nil {
		return nil, fmt.Errorf("reading the response to the upgrade: %w", err)
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 4096))
		return nil, fmt.Errorf("the daemon refused the upgrade: %s: %s", response.Status, body)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	return &Conn{Conn: conn, reader: reader}, nil
}

// Acceptor serves Path. ReferenceStatusLine makes it respond with
// `HTTP/0.0 101 Switching Protocols`, as the reference's acceptor does.
// Serve owns the connection while it runs; the acceptor closes it afterwards.
type Acceptor struct {
	ReferenceStatusLine bool
	Serve               func(conn net.Conn)
}

// ServeHTTP responds with 101 and passes the connection to Serve.
func (a *Acceptor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		http.Error(w, "this connection cannot be upgraded", http.StatusInternalServerError)
		return
	}
	conn, buffered, err := hijacker.Hijack()
	if err != nil {
		http.Error(w, "this connection cannot be upgraded", http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	version := "HTTP/1.1"
	if a.ReferenceStatusLine {
		version = "HTTP/0.0"
	}
	fmt.Fprintf(buffered, "%s 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n", version)
	if err := buffered.Flush(); err != nil {
		return
	}
	if a.ReferenceStatusLine {
		// The reference reads on from the bare connection, so bytes that a
		// plugin sent before it read the 101 are lost.
		a.Serve(conn)
		return
	}
	a.Serve(&Conn{Conn: conn, reader: buffered.Reader})
}
