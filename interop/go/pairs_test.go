package interop

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// programs is the folder with the built programs.
var programs string

func TestMain(m *testing.M) { os.Exit(build(m)) }

func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "interop-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if out, err := exec.Command("go", "build", "-o", dir+"/", "./cmd/...").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	programs = dir
	return m.Run()
}

// program is one started program and its report.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	report string
	output bytes.Buffer
}

func start(t *testing.T, name string, args ...string) *program {
	t.Helper()
	p := &program{t: t, report: filepath.Join(t.TempDir(), name+".jsonl")}
	p.cmd = exec.Command(filepath.Join(programs, name), append([]string{"-report", p.report}, args...)...)
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// wait fails the test unless the program ends with code.
func (p *program) wait(code int) map[string]any {
	p.t.Helper()
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	text, _ := os.ReadFile(p.report)
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Fatalf("%s ended with %d\n%s\n%s", p.cmd.Path, got, text, p.output.Bytes())
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	summary := map[string]any{}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &summary); err != nil || summary["event"] != "summary" {
		p.t.Fatalf("%s wrote no summary: %s", p.cmd.Path, text)
	}
	return summary
}

// event waits until the program has reported one.
func (p *program) event(name string) {
	p.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		text, _ := os.ReadFile(p.report)
		if bytes.Contains(text, []byte(`"event":"`+name+`"`)) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	p.t.Fatalf("%s never reported %q", p.cmd.Path, name)
}

func (p *program) terminate() {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
}

// socket is an address of this test's own.
func socket(t *testing.T) string { return filepath.Join(t.TempDir(), "daemon.sock") }

// pluginEnv hands settings to a plugin that a program launches.
func pluginEnv(report string, more ...string) []string {
	args := []string{"-env", "INTEROP_REPORT=" + report}
	for _, each := range more {
		args = append(args, "-env", each)
	}
	return args
}

func TestRuntimeLaunchesPlugin(t *testing.T) {
	report := filepath.Join(t.TempDir(), "plugin.jsonl")
	args := append(pluginEnv(report), "-exec", filepath.Join(programs, "plugin"), "-each", "-slow", "64", "-big", "2", "-requests", "500", "-goaway")
	summary := start(t, "runtime", args...).wait(0)
	if took := summary["stop_ms"].(float64); took >= 500 {
		t.Errorf("the stop took %v ms", took)
	}
	text, err := os.ReadFile(report)
	if err != nil || !bytes.Contains(text, []byte(`"ended_by":"shutdown"`)) {
		t.Errorf("the plugin reported %v %s", err, text)
	}
}

func TestRuntimeTakesEachGeneration(t *testing.T) {
	for _, generation := range []string{"plugins", "register", "engine", "early-engine"} {
		t.Run(generation, func(t *testing.T) {
			report := filepath.Join(t.TempDir(), "plugin.jsonl")
			args := append(pluginEnv(report, "INTEROP_GENERATION="+generation), "-exec", filepath.Join(programs, "plugin"), "-each", "-requests", "50")
			start(t, "runtime", args...).wait(0)
		})
	}
}

func TestRuntimeEndsPluginInEachWay(t *testing.T) {
	for _, end := range []string{"shutdown", "shutdown-in-flight", "eof", "interrupt"} {
		t.Run(end, func(t *testing.T) {
			report := filepath.Join(t.TempDir(), "plugin.jsonl")
			// The call in flight keeps the plugin for 1.3 s.
			args := append(pluginEnv(report, "INTEROP_DRAIN_GOAL=1900ms"), "-exec", filepath.Join(programs, "plugin"), "-requests", "10", "-end", end)
			start(t, "runtime", args...).wait(0)
		})
	}
}

func TestRuntimeRefusesPlugin(t *testing.T) {
	report := filepath.Join(t.TempDir(), "plugin.jsonl")
	args := append(pluginEnv(report, "INTEROP_EXPECT_REFUSAL=already_exists"), "-exec", filepath.Join(programs, "plugin"), "-refuse")
	start(t, "runtime", args...).wait(0)
}

func TestRuntimeTakesPluginByHand(t *testing.T) {
	for _, acceptor := range []string{"-reference-acceptor=false", "-reference-acceptor=true"} {
		at := socket(t)
		runtime := start(t, "runtime", "-listen", at, acceptor, "-each", "-requests", "100")
		runtime.event("ready")
		plugin := start(t, "plugin", "-socket", at, "-name", "demo", "-register-twice")
		runtime.wait(0)
		plugin.wait(0)
	}
}

func TestDaemonServesClientAndPlugins(t *testing.T) {
	at := socket(t)
	daemon := start(t, "daemon", "-listen", at, "-min-plugins", "2")
	daemon.event("ready")
	plugin := start(t, "plugin", "-socket", at, "-name", "demo")
	plugin.event("runtime-probed")
	module := start(t, "accesscontrol", "-socket", at, "-name", "guard", "-min-requests", "0")
	module.event("runtime-probed")
	start(t, "client", "-socket", at, "-each", "-management", "-old", "-access", "-slow", "16", "-big", "2", "-requests", "300").wait(0)
	daemon.terminate()
	daemon.wait(0)
	plugin.wait(0)
	module.wait(0)
}

// The checks must be able to fail.
func TestNoRequestIsAFailure(t *testing.T) {
	at := socket(t)
	daemon := start(t, "daemon", "-listen", at)
	daemon.event("ready")
	plugin := start(t, "plugin", "-socket", at, "-name", "demo")
	plugin.event("runtime-probed")
	daemon.terminate()
	daemon.wait(1)
	plugin.wait(1)
	start(t, "client", "-socket", at, "-requests", "1", "-wait", "0s").wait(1)
}

func TestMissingSecretIsAFailure(t *testing.T) {
	report := filepath.Join(t.TempDir(), "plugin.jsonl")
	args := append(pluginEnv(report), "-exec", filepath.Join(programs, "plugin"), "-requests", "5", "-want", "demo/hit=3:00")
	start(t, "runtime", args...).wait(1)
}
