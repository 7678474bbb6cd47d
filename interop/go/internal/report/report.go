// Package report writes the observations of a program as JSON lines, and
// determines its exit code. It never receives a secret value: callers pass
// lengths and digests.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
)

// Fields are the facts of one event.
type Fields map[string]any

// Report collects the events, the requests and the failures of one program.
// Its methods may be called from any goroutine.
type Report struct {
	program  string
	requests atomic.Int64

	mu       sync.Mutex
	out      io.WriteCloser
	failures []string
}

// New opens the report of a program: in the file that path names, or on
// standard output when path is empty.
func New(program, path string) (*Report, error) {
	if path == "" {
		return &Report{program: program, out: os.Stdout}, nil
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the report: %w", err)
	}
	return &Report{program: program, out: file}, nil
}

// Event writes one line.
func (r *Report) Event(name string, fields Fields) {
	line := Fields{"program": r.program, "event": name}
	for key, value := range fields {
		line[key] = value
	}
	text, err := json.Marshal(line)
	if err != nil {
		text = fmt.Appendf(nil, `{"program":%q,"event":"unprintable","cause":%q}`, r.program, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// A report that cannot be written shows as a missing summary, which the
	// reader treats as a failure.
	_, _ = r.out.Write(append(text, '\n'))
}

// Request counts one request that this program made or served.
func (r *Report) Request() { r.requests.Add(1) }

// Requests returns the number of counted requests.
func (r *Report) Requests() int64 { return r.requests.Load() }

// Fail records a failed check.
func (r *Report) Fail(format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	r.mu.Lock()
	r.failures = append(r.failures, message)
	r.mu.Unlock()
	r.Event("failure", Fields{"message": message})
}

// Check records a failure unless holds is true.
func (r *Report) Check(holds bool, format string, args ...any) {
	if !holds {
		r.Fail(format, args...)
	}
}

// Finish writes the summary and returns the exit code: 0 if every check held
// and at least minRequests requests were counted.
func (r *Report) Finish(minRequests int64, fields Fields) int {
	if n := r.Requests(); n < minRequests {
		r.Fail("counted %d requests, needed at least %d", n, minRequests)
	}
	r.mu.Lock()
	failures := append([]string{}, r.failures...)
	r.mu.Unlock()
	summary := Fields{"requests": r.Requests(), "failures": failures}
	for key, value := range fields {
		summary[key] = value
	}
	r.Event("summary", summary)
	if len(failures) > 0 {
		return 1
	}
	return 0
}
