package instance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pgha/internal/postgres"
)

// controlTimeout bounds one run of pg_controldata: on broken storage it may
// hang (pitfalls 85).
const controlTimeout = 30 * time.Second

// ErrUnsupportedVersion is returned by Version for a server outside 13 to 18
// (rulings 32).
var ErrUnsupportedVersion = errors.New("this major version of PostgreSQL is not supported")

// controlCache remembers what pg_control said while its bytes are unchanged.
type controlCache struct {
	key    controlKey
	data   postgres.ControlData
	valid  bool
	sysID  postgres.SystemID
	idOf   [16]byte // first bytes of pg_control the id was read from
	idInit bool
	// timeline of a standby without WAL receiver, and what it is valid for
	timeline   postgres.Timeline
	timelineOf timelineKey
}

// controlKey is the beginning of global/pg_control: system identifier, format
// and catalog versions, state, time and checkpoint. The layout is not relied
// on: different bytes mean "look again", nothing more.
type controlKey [64]byte

// peekControl reads the beginning of global/pg_control: microseconds, where a
// run of pg_controldata takes milliseconds, so that a shutdown is noticed at
// once.
func peekControl(dir string) (controlKey, error) {
	var k controlKey
	f, err := os.Open(filepath.Join(dir, "global", "pg_control"))
	if err != nil {
		return k, err
	}
	defer f.Close()
	if _, err := io.ReadFull(f, k[:]); err != nil {
		return k, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return k, nil
}

// ControlData runs pg_controldata. The result is remembered while the file's
// beginning is unchanged. An error means that the tool failed; a result that
// is not Usable means that it ran and said nothing to be relied on.
func (s *Server) ControlData(ctx context.Context) (postgres.ControlData, error) {
	dir := s.dataDir()
	key, keyErr := peekControl(dir)
	s.mu.Lock()
	c := s.control
	s.mu.Unlock()
	if keyErr == nil && c.valid && c.key == key {
		return c.data, nil
	}
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	res, err := runTool(ctx, tool{path: s.program("pg_controldata"), args: []string{dir}, parsed: true})
	if err != nil {
		return postgres.ControlData{}, fmt.Errorf("read control data of %s: %w", dir, err)
	}
	data := postgres.ParseControlData(res.stdout + res.stderr)
	// Only an answer about unchanged bytes may be remembered.
	if after, err := peekControl(dir); err == nil && keyErr == nil && after == key && data.Usable() {
		s.mu.Lock()
		s.control.key, s.control.data, s.control.valid = key, data, true
		s.mu.Unlock()
	}
	return data, nil
}

// SystemID is the system identifier of the data directory, empty when its
// control data is unusable. It never changes within a data directory, so
// pg_controldata runs again only when the file's first bytes, which hold it,
// differ.
func (s *Server) SystemID(ctx context.Context) (postgres.SystemID, error) {
	key, err := peekControl(s.dataDir())
	if err != nil {
		return "", fmt.Errorf("read system identifier: %w", err)
	}
	id := [16]byte(key[:16])
	s.mu.Lock()
	c := s.control
	s.mu.Unlock()
	if c.idInit && c.idOf == id {
		return c.sysID, nil
	}
	data, err := s.ControlData(ctx)
	if err != nil {
		return "", err
	}
	if !data.Usable() {
		return "", nil
	}
	s.mu.Lock()
	s.control.idOf, s.control.sysID, s.control.idInit = id, data.SystemID, true
	s.mu.Unlock()
	return data.SystemID, nil
}

// forgetSystem drops everything remembered about the data directory's content.
func (s *Server) forgetSystem() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.control = controlCache{}
	s.recovery = nil
	s.serverVer = 0
	s.check = confCheck{}
}

// toolCache remembers what the binaries say of themselves.
type toolCache struct {
	binary   postgres.Version
	binaryOf string // path and modification time it was read from
	// described is what the binary lists of its parameters.
	described   map[string]postgres.SettingInfo
	describedOf string
}

// Described is what `postgres --describe-config` lists, by lower-case name:
// the decider for parameters our own rules do not know (config contract 5.3).
// Nil when the program cannot be asked.
func (s *Server) Described(ctx context.Context) map[string]postgres.SettingInfo {
	path := s.program("postgres")
	of := path
	if fi, err := os.Stat(path); err == nil {
		of += fi.ModTime().String()
	}
	s.mu.Lock()
	c := s.tools
	s.mu.Unlock()
	if c.describedOf == of && c.described != nil {
		return c.described
	}
	res, err := runTool(ctx, tool{path: path, args: []string{"--describe-config"}, parsed: true})
	if err != nil {
		s.log.Warn("the parameters that this PostgreSQL knows cannot be listed", "err", err)
		return nil
	}
	described := postgres.ParseDescribeConfig(res.stdout)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tools.described, s.tools.describedOf = described, of
	return described
}

// Version is the version this member's PostgreSQL has: the running server's
// own answer; else the binary's when its major version is that of
// PG_VERSION; else PG_VERSION; else the binary's (contract: config.md 5.3).
// Errors: ErrUnsupportedVersion.
func (s *Server) Version(ctx context.Context) (postgres.Version, error) {
	s.mu.Lock()
	running := s.serverVer
	s.mu.Unlock()
	if running != 0 {
		return running, nil
	}
	var inDir postgres.Version
	if b, err := os.ReadFile(filepath.Join(s.dataDir(), "PG_VERSION")); err == nil {
		if inDir, err = postgres.ParsePGVersionFile(string(b)); err != nil {
			return 0, err
		}
	}
	bin, err := s.binaryVersion(ctx)
	if err != nil && inDir == 0 {
		return 0, err
	}
	v := bin
	if inDir != 0 && inDir.Major() != bin.Major() {
		v = inDir
	}
	if v < postgres.OldestSupported {
		return v, fmt.Errorf("PostgreSQL %s: %w", v, ErrUnsupportedVersion)
	}
	return v, nil
}

func (s *Server) binaryVersion(ctx context.Context) (postgres.Version, error) {
	path := s.program("postgres")
	of := path
	if fi, err := os.Stat(path); err == nil {
		of += fi.ModTime().String()
	}
	s.mu.Lock()
	c := s.tools
	s.mu.Unlock()
	if c.binaryOf == of && c.binary != 0 {
		return c.binary, nil
	}
	res, err := runTool(ctx, tool{path: path, args: []string{"--version"}, parsed: true})
	if err != nil {
		return 0, fmt.Errorf("ask PostgreSQL's version: %w", err)
	}
	v, err := postgres.ParseServerVersion(strings.TrimSpace(res.stdout))
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	s.tools.binary, s.tools.binaryOf = v, of
	s.mu.Unlock()
	return v, nil
}
