package main

import (
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/hashicorp/yamux"
)

// A write can fail on the closed connection before its session has detected the
// end. The library returns the error of the connection then.
func TestAnErrorOfTheConnectionIsTheEndOfTheSession(t *testing.T) {
	for _, cause := range []error{
		os.NewSyscallError("write", syscall.EPIPE),
		os.NewSyscallError("read", syscall.ECONNRESET),
		net.ErrClosed,
	} {
		err := &net.OpError{Op: "write", Net: "unix", Err: cause}
		if got := outcome(3, err); got.Saw != "lost" || got.Bytes != 3 {
			t.Errorf("%v: saw %q after %d bytes", err, got.Saw, got.Bytes)
		}
	}
}

func TestAnUnknownErrorIsNoEndOfTheSession(t *testing.T) {
	if got := outcome(0, yamux.ErrInvalidVersion); got.Saw != "other" {
		t.Errorf("saw %q", got.Saw)
	}
}
