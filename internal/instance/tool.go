package instance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// toolGrace is how long a cancelled tool may take to clean up after SIGTERM.
const toolGrace = 10 * time.Second

// outputLimit bounds what is kept of a tool's output: its end.
const outputLimit = 1 << 20

// tool is one run of a helper program.
type tool struct {
	path   string
	args   []string
	env    []string // added to, and winning over, toolEnv
	dir    string
	parsed bool         // the output is read by us: C locale
	onLine func(string) // called for each line of stderr, when set
	// abrupt: no time to clean up when ctx ends, SIGKILL at once.
	abrupt bool
	// said receives each line of both outputs in the order written, when set;
	// onLine is not used then.
	said func(string)
}

// toolResult is what a finished tool left.
type toolResult struct {
	stdout, stderr string // at most the last MiB of each
	code           int    // exit code; -1 when ended by a signal
}

// runTool runs a program in a process group of its own that dies with us,
// with an empty standard input. When ctx ends the group gets SIGTERM and,
// 10 s later (abrupt: at once), SIGKILL with all descendants; a program that
// may not be killed (sudo) is waited for. Errors: ctx's cause when it ended
// first; an error that carries the end of the output for a non-zero exit.
func runTool(ctx context.Context, t tool) (toolResult, error) {
	if err := ctx.Err(); err != nil {
		return toolResult{code: -1}, fmt.Errorf("run %s: %w", filepath.Base(t.path), err)
	}
	type outcome struct {
		res toolResult
		err error
	}
	started := make(chan process, 1)
	done := make(chan outcome, 1)
	// The parent-death signal follows the parent *thread*: this goroutine
	// keeps its thread until the child is gone. It is owned by runTool, which
	// returns only after receiving from done.
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		res, err := execTool(t, started)
		done <- outcome{res, err}
	}()
	select {
	case o := <-done:
		return o.res, o.err
	case <-ctx.Done():
	}
	select {
	case p := <-started:
		if t.abrupt {
			killDescendants(p.pid)
			break
		}
		_ = syscall.Kill(-p.pid, syscall.SIGTERM)
		select {
		case o := <-done:
			return o.res, fmt.Errorf("run %s: %w", filepath.Base(t.path), context.Cause(ctx))
		case <-time.After(toolGrace):
			killDescendants(p.pid)
		}
	case o := <-done: // it could not be started
		return o.res, o.err
	}
	o := <-done
	return o.res, fmt.Errorf("run %s: %w", filepath.Base(t.path), context.Cause(ctx))
}

func execTool(t tool, started chan<- process) (toolResult, error) {
	name := filepath.Base(t.path)
	cmd := exec.Command(t.path, t.args...)
	cmd.Env, cmd.Dir = toolEnv(t), t.dir
	var stdout, stderr tail
	cmd.Stdout = &stdout
	cmd.Stderr = &stderr
	lines := &lineWriter{onLine: t.onLine}
	if t.onLine != nil {
		cmd.Stderr = io.MultiWriter(&stderr, lines)
	}
	if t.said != nil {
		lines.onLine = t.said
		both := io.MultiWriter(&stderr, lines) // one value for both: one pipe, the order is kept
		cmd.Stdout, cmd.Stderr = both, both
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// A grandchild that keeps the pipes open must not keep us waiting.
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return toolResult{code: -1}, fmt.Errorf("start %s: %w", t.path, err)
	}
	started <- process{pid: cmd.Process.Pid}
	err := cmd.Wait()
	lines.flush()
	res := toolResult{stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return res, fmt.Errorf("%s: %s: %s", name, exit.ProcessState, lastLines(res.stderr+res.stdout, 5))
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return res, fmt.Errorf("run %s: %w", name, err)
	}
	return res, nil
}

func toolEnv(t tool) []string {
	env := cleanEnv()
	if t.parsed {
		env = setEnv(env, "LC_ALL=C", "LANGUAGE=")
	}
	return setEnv(env, t.env...)
}

// cleanEnv is the environment handed to PostgreSQL and its tools: our own
// without what belongs to the agent (contract: config.md 3.1).
func cleanEnv() []string {
	var out []string
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		switch {
		case name == "NOTIFY_SOCKET", name == "WATCHDOG_USEC", name == "WATCHDOG_PID", strings.HasPrefix(name, "PATRONI_"), strings.HasPrefix(name, "KUBERNETES_"):
		case name == "PG_MALLOC_ARENA_MAX":
			out = append(out, "MALLOC_ARENA_MAX="+value)
		default:
			out = append(out, kv)
		}
	}
	return out
}

// setEnv returns env with the given NAME=value entries replaced or added.
func setEnv(env []string, set ...string) []string {
	out := append([]string(nil), env...)
	for _, kv := range set {
		name, _, _ := strings.Cut(kv, "=")
		found := false
		for i, old := range out {
			if strings.HasPrefix(old, name+"=") {
				out[i], found = kv, true
			}
		}
		if !found {
			out = append(out, kv)
		}
	}
	return out
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - outputLimit; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

// lineWriter hands over complete lines; a carriage return ends one too,
// because progress output uses it.
type lineWriter struct {
	onLine func(string)
	buf    []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.buf = append(w.buf, p...)
	for {
		i := bytes.IndexAny(w.buf, "\r\n")
		if i < 0 && len(w.buf) < longLine {
			return len(p), nil
		}
		if i < 0 {
			w.flush()
			w.buf = w.buf[:0]
			return len(p), nil
		}
		if line := strings.TrimSpace(string(w.buf[:i])); line != "" {
			w.onLine(line)
		}
		w.buf = w.buf[i+1:]
	}
}

// longLine bounds what is held back of a line that does not end.
const longLine = 64 << 10

func (w *lineWriter) flush() {
	if w.onLine != nil && len(w.buf) > 0 {
		w.onLine(strings.TrimSpace(string(w.buf)))
	}
}

// lastLines joins the last n non-empty lines for an error message.
func lastLines(s string, n int) string {
	var out []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	if len(out) > n {
		out = out[len(out)-n:]
	}
	return strings.Join(out, " | ")
}
