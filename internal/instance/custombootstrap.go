package instance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pgha/internal/config"
	"pgha/internal/postgres"
)

// customBootstrap is what holds from the end of a custom bootstrap command
// until the roles are set (contract: ha-behaviour.md 3.3, config.md 5.6, 6.3).
// It lives in memory only: a bootstrap that is cut short is moved aside.
type customBootstrap struct {
	keepRecovery bool   // recovery settings of the tool stay as they are
	hba          []byte // pg_hba.conf before the temporary rules; nil: none
}

// noArchive is the archive_command of a cluster that is being restored: its
// log must not reach the archive before the bootstrap has succeeded, and must
// not be lost for it either (pitfalls 182). What waits is archived afterwards.
const noArchive = "/bin/false"

func (s *Server) setCustom(c *customBootstrap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.custom = c
}

func (s *Server) customNow() *customBootstrap {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.custom
}

// runCustom runs a custom bootstrap command and settles how the cluster it
// made is started first: with the given recovery settings, with those the
// tool left, or without any.
func (s *Server) runCustom(ctx context.Context, b *config.Bootstrap) error {
	l, _, _ := s.values()
	args, err := b.Arguments(l.Scope, s.dataDir())
	if err != nil {
		return err
	}
	if _, err := runTool(ctx, tool{path: args[0], args: args[1:]}); err != nil {
		return fmt.Errorf("method %s: %w", b.Method, err)
	}
	if _, err := peekControl(s.dataDir()); err != nil {
		return errors.Join(fmt.Errorf("method %s ended with exit code 0 but made no data directory", b.Method), err)
	}
	s.forgetSystem()
	if err := s.restoreConfig(); err != nil {
		return err
	}
	if err := removeTrigger(s.dataDir()); err != nil {
		return err
	}
	recovery, given := b.Custom["recovery_conf"].(map[string]any)
	keep := !given && truthy(b.Custom["keep_existing_recovery_conf"])
	s.setCustom(&customBootstrap{keepRecovery: keep})
	switch {
	case given:
		return s.customRecovery(ctx, recovery)
	case keep:
		return nil
	}
	return s.dropRecoveryFiles()
}

func (s *Server) customRecovery(ctx context.Context, conf map[string]any) error {
	if err := s.dropRecoveryFiles(); err != nil {
		return err
	}
	version, err := s.Version(ctx)
	if err != nil {
		return err
	}
	params := map[string]string{}
	for k, v := range conf {
		params[k] = fmt.Sprint(v)
	}
	s.setRecovery(postgres.TranslateRecovery(params, version))
	name := filepath.Join(s.dataDir(), postgres.StandbySignal(params))
	return writeFile(name, "", s.fileMode(name))
}

// StartBootstrapped starts what InitDB made and waits until it is a primary:
// for a restored cluster that is the end of its recovery, however long it
// takes (pitfalls 183). waiting, when not nil, is called when recovery turns
// out to go on. Errors: those of Start; ErrNotRunning when PostgreSQL ended.
func (s *Server) StartBootstrapped(ctx context.Context, waiting func()) error {
	defer s.begin("bootstrap")()
	if c := s.customNow(); c != nil {
		hba, err := readFileIfThere(s.configPath("pg_hba.conf"))
		if err != nil {
			return err
		}
		s.setCustom(&customBootstrap{keepRecovery: c.keepRecovery, hba: hba})
	}
	if result, err := s.Start(ctx, StartOptions{}); result == StartFailed {
		return err
	}
	for told := false; ; {
		p, running := s.findPostmaster()
		if !running {
			return fmt.Errorf("wait for the end of recovery: %w", ErrNotRunning)
		}
		if f, err := readPidFile(s.dataDir()); err == nil && f.pid == p.pid && f.status == "ready" {
			if row, err := s.monitor(ctx); err == nil && !row.InRecovery {
				s.mu.Lock()
				s.role = postgres.RolePrimary
				s.setState(postgres.StateRunning)
				s.mu.Unlock()
				return nil
			}
		}
		if !told && waiting != nil {
			waiting()
		}
		told = true
		if !pause(ctx, 5*poll) {
			return fmt.Errorf("wait for the end of recovery: %w", context.Cause(ctx))
		}
	}
}

// customStart changes the parameters of the first start of a restored cluster:
// with hot_standby=off a standby's limits do not count, so that values raised
// in the log do not end the recovery. Without it nobody could look at a server
// that pauses at its target.
func (s *Server) customStart(params map[string]string) map[string]string {
	c := s.customNow()
	if c == nil {
		return params
	}
	s.mu.Lock()
	action := s.recovery["recovery_target_action"]
	s.mu.Unlock()
	if c.keepRecovery || strings.EqualFold(action, "promote") {
		params["hot_standby"] = "off"
	}
	return params
}

// customFiles changes what the configuration files of a restored cluster say
// until its roles are set. hba is the content of pg_hba.conf.
func (s *Server) customFiles(ctx context.Context, params map[string]string) (hba string) {
	params["hba_file"] = s.configPath("pg_hba.conf")
	params["archive_command"] = noArchive
	delete(params, "archive_library")
	return s.trustRules(ctx)
}

// lookupTime bounds the resolution of the local address.
const lookupTime = 2 * time.Second

// trustRules let nobody in but the agent's own users from this machine: the
// passwords of a restored cluster are not known.
func (s *Server) trustRules(ctx context.Context) string {
	l, _, _ := s.values()
	user := `"` + strings.ReplaceAll(l.PostgreSQL.Superuser.Username, `"`, `""`) + `"`
	if l.PostgreSQL.Superuser.Username == "" {
		user = "all"
	} else if repl := l.PostgreSQL.Replication.Username; repl != "" {
		user += `,"` + strings.ReplaceAll(repl, `"`, `""`) + `"`
	}
	rules := []string{"local all " + user + " trust", "local replication " + user + " trust"}
	host := localTCPHost(l.PostgreSQL.Listen)
	lctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupHost(lctx, host)
	if err != nil {
		s.log.Warn("the local address is not resolved, no rule lets the agent in by it", "host", host, "err", err)
	}
	for _, a := range addrs {
		a, _, _ = strings.Cut(a, "%")
		bits := "/32"
		if strings.Contains(a, ":") {
			bits = "/128"
		}
		rules = append(rules, "host all "+user+" "+a+bits+" trust", "host replication "+user+" "+a+bits+" trust")
	}
	return postgres.FileHeader + strings.Join(rules, "\n") + "\n"
}

// finishCustom takes back what held for the custom bootstrap: the rules that
// let the agent in without a password, the recovery settings, the archive.
func (s *Server) finishCustom(ctx context.Context) error {
	c := s.customNow()
	if c == nil {
		return nil
	}
	s.setCustom(nil)
	name := s.configPath("pg_hba.conf")
	if c.hba == nil {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("restore %s: %w", name, err)
		}
	} else if err := writeFile(name, string(c.hba), s.fileMode(name)); err != nil {
		return err
	}
	if err := s.dropRecoveryFiles(); err != nil {
		return err
	}
	applied, err := s.ApplyConfig(ctx, true)
	if err != nil {
		return err
	}
	s.closeSessions() // the next connection logs in with its password
	if len(applied.Pending) == 0 && !s.customFile("hba_file", "pg_hba.conf") {
		s.saveConfig()
		return nil
	}
	s.log.Info("restarting the restored cluster with its own configuration", "parameters", strings.Join(sortedKeys(applied.Pending), ", "))
	if err := s.Stop(ctx, StopOptions{Restarting: true}); err != nil {
		return err
	}
	if result, err := s.Start(ctx, StartOptions{Role: postgres.RolePrimary}); result != StartReady {
		return errors.Join(errors.New("the restored cluster does not start with its own configuration"), err)
	}
	return nil
}

// truthy judges a YAML value the way the reference does.
func truthy(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		b, ok := postgres.ParseBool(v)
		return v != "" && (b || !ok)
	case int:
		return v != 0
	}
	return true
}
