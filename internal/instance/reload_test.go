package instance

import (
	"errors"
	"os/exec"
	"testing"
	"time"

	"pgha/internal/config"
	"pgha/internal/postgres"
)

// The agent's own connections bear a cluster whose settings pgx's simple
// protocol refuses: a database in LATIN1 is such a one from its first day.
func TestForeignSessionSettings(t *testing.T) {
	t.Parallel()
	k := newKeyed(t)
	k.use("parameters: {client_encoding: LATIN1, standard_conforming_strings: off}\n", "")
	k.reload()
	k.sql("ALTER ROLE postgres SET client_encoding = 'SQL_ASCII'")
	k.sql("ALTER ROLE postgres SET standard_conforming_strings = off")
	k.restart(StartOptions{Role: postgres.RolePrimary})
	o := k.Observe(within(t, 20*time.Second))
	if o.Row == nil {
		t.Fatalf("the monitoring query fails: %+v", o)
	}
	if got := k.show("client_encoding"); got != "UTF8" {
		t.Errorf("client_encoding of the agent's sessions: %s", got)
	}
}

// A reload that meets a postmaster just executed would kill it: it has no
// signal handlers before it has written its pid file.
func TestReloadSparesAStartingPostmaster(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	local := &config.Local{}
	local.PostgreSQL.DataDir = t.TempDir()
	s := &Server{local: local, postmaster: p}
	if err := s.signalReload(); !errors.Is(err, ErrStarting) {
		t.Errorf("reload: %v, want %v", err, ErrStarting)
	}
	if !p.alive() {
		t.Error("the reload killed it")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}
