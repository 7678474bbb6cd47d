// Package launch starts a plugin process as a runtime does: with one inherited
// socket and one environment variable.
package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Variable names the launch configuration in the child's environment.
const Variable = "DOCKER_SECRETS_ENGINE_PLUGIN_LAUNCH_CFG"

// childFD is the number of the first extra file in the child.
const childFD = 3

// Config is the JSON value of Variable. Timeout is in nanoseconds.
type Config struct {
	Name    string        `json:"name"`
	Timeout time.Duration `json:"timeout"`
	FD      int           `json:"fd"`
}

// FromEnv reads the configuration of a launched plugin and removes it from the
// environment. It is nil for an external plugin.
func FromEnv() (*Config, error) {
	text, found := os.LookupEnv(Variable)
	if !found {
		return nil, nil
	}
	if err := os.Unsetenv(Variable); err != nil {
		return nil, err
	}
	var config Config
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		return nil, fmt.Errorf("reading %s: %w", Variable, err)
	}
	if config.Name == "" || config.Timeout == 0 || config.FD <= 2 {
		return nil, fmt.Errorf("%s lacks a name, a timeout or a descriptor above 2", Variable)
	}
	return &config, nil
}

// Conn takes over the inherited descriptor.
func (c *Config) Conn() (net.Conn, error) {
	file := os.NewFile(uintptr(c.FD), "plugin connection")
	if file == nil {
		return nil, errors.New("the launch variable names no open descriptor")
	}
	defer file.Close()
	return net.FileConn(file)
}

// Child is a launched plugin process and the runtime's end of its connection.
type Child struct {
	Conn net.Conn
	Cmd  *exec.Cmd
	done chan error
}

// Start launches an executable: the child's environment is the launch variable
// and extraEnv, nothing else.
func Start(path, name string, timeout time.Duration, extraEnv []string) (*Child, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(Config{Name: name, Timeout: timeout, FD: childFD})
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path)
	cmd.Env = append([]string{Variable + "=" + string(text)}, extraEnv...)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		conn.Close()
		return nil, err
	}
	child := &Child{Conn: conn, Cmd: cmd, done: make(chan error, 1)}
	go func() { child.done <- cmd.Wait() }()
	return child, nil
}

// Wait waits for the end of the child, or stops it: SIGINT after grace, SIGKILL
// after another grace. The first result reports whether it ended by itself.
func (c *Child) Wait(grace time.Duration) (bool, error) {
	select {
	case err := <-c.done:
		return true, err
	case <-time.After(grace):
	}
	_ = c.Cmd.Process.Signal(syscall.SIGINT)
	select {
	case err := <-c.done:
		return false, err
	case <-time.After(grace):
	}
	_ = c.Cmd.Process.Kill()
	return false, <-c.done
}

func socketPair() (*os.File, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making the socket pair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "runtime end"), os.NewFile(uintptr(fds[1]), "plugin end"), nil
}
