package contract

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pgha/internal/lab"
)

// do is one step that changes the world.
func (w *world) do(t *testing.T, line string) error {
	t.Helper()
	words := strings.Fields(line)
	if len(words) < 2 {
		return fmt.Errorf("not understood")
	}
	what, whom := words[0], words[1]
	rest := strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(line, what+" "), whom))
	switch what {
	case "etcd":
		return w.doEtcd(whom, rest)
	case "sql":
		_, err := w.member(t, whom).Query(rest)
		return err
	case "agent":
		return w.doAgent(w.member(t, whom), rest)
	case "postgres":
		return w.doPostgres(w.member(t, whom), rest)
	case "healthy":
		return w.awaitHealthy()
	case "tls":
		return w.ca.issue(whom, strings.Fields(w.unmasked(rest)))
	case "bin":
		return w.holdProgram(t, w.member(t, whom), rest)
	}
	return fmt.Errorf("not understood")
}

func (w *world) doEtcd(verb, rest string) error {
	switch verb {
	case "kill":
		w.down = true
		w.etcd.Members[0].Kill()
	case "start":
		w.etcd.Members[0].Start()
		w.etcd.WaitHealthy(patience)
		w.down = false
	case "put":
		key, value, _ := strings.Cut(rest, " ")
		w.etcd.Put(w.cluster.Key(key), value)
	case "delete":
		w.etcd.Delete(w.cluster.Key(rest))
	default:
		return fmt.Errorf("not understood")
	}
	return nil
}

func (w *world) doAgent(m *lab.Member, verb string) error {
	switch verb {
	case "stop":
		m.Shutdown(patience)
	case "fails": // it ends by itself, with exit code 1
		if code, err := m.Agent().Wait(w.limit); err != nil || code != 1 {
			return fmt.Errorf("exit code %d, %v", code, err)
		}
	case "kill":
		m.KillAgent()
	case "start":
		m.Start()
		if last := w.until(func() string { return w.silentYet(m) }); last != "" {
			return errors.New(last)
		}
	case "freeze":
		m.FreezeAgent()
	case "thaw":
		m.ThawAgent()
	case "reload":
		return m.Agent().Signal(syscall.SIGHUP)
	default:
		return fmt.Errorf("not understood")
	}
	return nil
}

func (w *world) doPostgres(m *lab.Member, verb string) error {
	sig, known := map[string]syscall.Signal{"stop": syscall.SIGINT, "crash": syscall.SIGKILL,
		"freeze": syscall.SIGSTOP, "thaw": syscall.SIGCONT}[verb]
	if !known {
		return fmt.Errorf("not understood")
	}
	pid := m.Postmaster()
	if pid == 0 {
		return fmt.Errorf("PostgreSQL does not run")
	}
	if verb == "freeze" || verb == "thaw" {
		return signalTree(pid, sig)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		return err
	}
	if w.until(func() string {
		if lab.Running(pid) {
			return "it runs"
		}
		return ""
	}) != "" {
		return fmt.Errorf("PostgreSQL of %s has not ended", m.Name)
	}
	return nil
}

// signalTree signals the postmaster and its children.
func signalTree(postmaster int, sig syscall.Signal) error {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", postmaster, postmaster))
	if err != nil {
		return err
	}
	for _, f := range append(strings.Fields(string(children)), fmt.Sprint(postmaster)) {
		var pid int
		if _, err := fmt.Sscan(f, &pid); err != nil {
			return err
		}
		// A backend may have ended since the list was read.
		if err := syscall.Kill(pid, sig); err != nil && err != syscall.ESRCH {
			return err
		}
	}
	return nil
}

// holdProgram makes one of PostgreSQL's programs wait for the file <name>.go
// in the member's directory (hold), or creates that file (release; fail makes
// the program fail): states that last a moment last as long as a case needs.
func (w *world) holdProgram(t *testing.T, m *lab.Member, rest string) error {
	t.Helper()
	verb, name, _ := strings.Cut(rest, " ")
	gate, dir := filepath.Join(m.Dir, name+".go"), filepath.Join(m.Dir, "bin")
	switch verb {
	case "release":
		return os.WriteFile(gate, nil, 0o644)
	case "fail":
		return os.WriteFile(gate, []byte("exit 1\n"), 0o644)
	}
	if verb != "hold" {
		return fmt.Errorf("not understood")
	}
	real := lab.PGBin(t, lab.PGVersion(t))
	if _, err := os.Stat(dir); err == nil {
		return os.Remove(gate)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	programs, err := filepath.Glob(real + "/*")
	if err != nil {
		return err
	}
	for _, p := range programs {
		if err := os.Symlink(p, filepath.Join(dir, filepath.Base(p))); err != nil {
			return err
		}
	}
	held := filepath.Join(dir, name)
	text := fmt.Sprintf("#!/bin/sh\nwhile [ ! -e %s ]; do sleep 0.05; done\n. %s\nexec %s/%s \"$@\"\n", gate, gate, real, name)
	if err := os.Remove(held); err != nil {
		return err
	}
	if err := os.WriteFile(held, []byte(text), 0o755); err != nil {
		return err
	}
	edit(t, m.Config(), "bin_dir: "+real+"\n", "bin_dir: "+dir+"\n")
	return nil
}
