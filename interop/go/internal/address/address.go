// Package address returns the address of a daemon for each generation of peers.
package address

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Listen opens a Unix socket. A name that starts with `@` is in Linux'
// abstract namespace, which the net package supports.
func Listen(name string) (net.Listener, error) {
	if !strings.HasPrefix(name, "@") {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return nil, err
		}
	}
	return net.Listen("unix", name)
}

// Dial connects to a Unix socket, abstract or not.
func Dial(name string) (net.Conn, error) {
	return net.DialTimeout("unix", name, 2*time.Second)
}

// Current is the address for peers since plugin SDK v0.1.0 on Linux.
func Current() string {
	return fmt.Sprintf("@docker-secrets-engine/%d/daemon.sock", os.Getuid())
}

// CacheDir is the address for plugin SDKs v0.0.11 to v0.0.22.
func CacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "docker-secrets-engine", "engine.sock"), nil
}

// RuntimeDir is the address for plugin SDKs up to v0.0.10.
func RuntimeDir() (string, error) {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "secrets-engine", "engine.sock"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(home, ".cache", "secrets-engine", "engine.sock"), nil
}
