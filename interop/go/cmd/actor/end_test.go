package main

import (
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/hashicorp/yamux"
)

// A write can meet the end of the connection before its session has noticed it.
// The library hands the connection's own error on then.
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
