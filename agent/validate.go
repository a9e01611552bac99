package agent

// --validate-config: the rules of the configuration itself are in
// internal/config; here is what depends on this machine and on etcd
// (contract: config.md 7).

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"pgha/internal/config"
	"pgha/internal/postgres"
)

// ValidateOptions is the command line of --validate-config.
type ValidateOptions struct {
	ConfigPath string // as for Run
	Environ    []string
	// IgnoreListenPort leaves the check out whether the ports are free: for a
	// member that runs.
	IgnoreListenPort bool
}

// Validate checks a configuration for this machine, and changes nothing. The
// local configuration is returned even with problems. The error says that it
// cannot be read at all.
func Validate(ctx context.Context, o ValidateOptions) (*config.Local, []config.Problem, error) {
	local, problems, err := config.Validate(o.ConfigPath, o.Environ)
	if err != nil {
		return nil, nil, err
	}
	v := &validator{local: local, problems: problems}
	if !o.IgnoreListenPort {
		v.restPort()
		v.postgresPorts()
	}
	v.etcd(ctx)
	if version := v.programs(ctx); local.PostgreSQL.DataDir != "" {
		v.dataDir(version)
	}
	return local, v.problems, nil
}

type validator struct {
	local    *config.Local
	problems []config.Problem
}

// add takes a problem unless the path has one already.
func (v *validator) add(path string, value any, message string) {
	if !slices.ContainsFunc(v.problems, func(p config.Problem) bool { return p.Path == path }) {
		v.problems = append(v.problems, config.Problem{Path: path, Value: config.Masked(path, value), Message: message})
	}
}

func (v *validator) restPort() {
	listen := v.local.RestAPI.Listen
	if host, port, err := net.SplitHostPort(listen); err == nil {
		v.port("restapi.listen", listen, host, port)
	}
}

func (v *validator) postgresPorts() {
	p := v.local.PostgreSQL
	if p.Port == 0 {
		return
	}
	for host := range strings.SplitSeq(p.Listen, ",") {
		v.port("postgresql.listen", p.Listen, strings.TrimSpace(host), fmt.Sprint(p.Port))
	}
}

// port says whether this machine can listen there.
func (v *validator) port(path, value, host, port string) {
	if host == "*" {
		host = ""
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err == nil {
		listener.Close()
		return
	}
	dns := new(net.DNSError)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		v.add(path, value, "Port "+port+" is already in use.")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		v.add(path, value, host+" is not an address of this machine")
	case errors.Is(err, syscall.EACCES):
		v.add(path, value, "this user may not listen on port "+port)
	case errors.As(err, &dns):
		v.add(path, value, host+" cannot be resolved")
	default:
		v.add(path, value, err.Error())
	}
}

// etcdPatience bounds the connection to one server.
const etcdPatience = 3 * time.Second

// etcd: every server must accept a connection.
func (v *validator) etcd(ctx context.Context) {
	key := "etcd3.host"
	for _, k := range []string{"hosts", "url", "proxy"} {
		if section, _ := v.local.Tree["etcd3"].(map[string]any); section[k] != nil {
			key = "etcd3." + k
		}
	}
	var silent []string
	for _, endpoint := range v.local.Etcd3.Endpoints {
		u, err := url.Parse(endpoint)
		if err != nil {
			continue // reported by the configuration's own rules
		}
		dialer := net.Dialer{Timeout: etcdPatience}
		conn, err := dialer.DialContext(ctx, "tcp", u.Host)
		if err != nil {
			silent = append(silent, u.Host)
			continue
		}
		conn.Close()
	}
	if len(silent) > 0 {
		v.add(key, strings.Join(silent, ","), "is not reachable")
	}
}

// programs looks for PostgreSQL's programs and returns the server's version;
// 0 when it is not known.
func (v *validator) programs(ctx context.Context) postgres.Version {
	eff := config.Merge(v.local, config.DefaultDynamic(), config.ServerFacts{})
	if eff.BinDir != "" {
		if info, err := os.Stat(eff.BinDir); err != nil || !info.IsDir() {
			v.add("postgresql.bin_dir", eff.BinDir, "is not an existing directory")
			return 0
		}
	}
	server := ""
	for _, program := range []string{"pg_ctl", "initdb", "pg_controldata", "pg_basebackup", "postgres", "pg_isready", "pg_rewind"} {
		name, own := eff.BinName[program]
		if program == "pg_rewind" && !own {
			continue
		}
		path, key := "postgresql.bin_dir", eff.BinDir
		if own {
			path, key = "postgresql.bin_name."+program, name
		} else {
			name = program
		}
		found, err := exec.LookPath(filepath.Join(eff.BinDir, name))
		switch {
		case err == nil && program == "postgres":
			server = found
		case err != nil && eff.BinDir == "":
			v.add(path, key, "does not contain '"+name+"': not in PATH, and bin_dir is not set")
		case err != nil:
			v.add(path, key, "does not contain '"+name+"' as an executable program")
		}
	}
	if server == "" {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, server, "--version").Output()
	if err != nil {
		v.add("postgresql.bin_dir", server, "cannot be run: "+err.Error())
		return 0
	}
	version, err := postgres.ParseServerVersion(string(out))
	switch {
	case err != nil:
		v.add("postgresql.bin_dir", server, err.Error())
	case version < postgres.OldestSupported:
		v.add("postgresql.bin_dir", server, fmt.Sprintf("is PostgreSQL %s, the oldest supported is %d", version, postgres.OldestSupported.Major()))
	}
	return version
}

// dataDir: missing or empty, or data of the version that the programs are.
func (v *validator) dataDir(version postgres.Version) {
	const path = "postgresql.data_dir"
	dir := v.local.PostgreSQL.DataDir
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return
	case err != nil:
		v.add(path, dir, "cannot be read: "+errors.Unwrap(err).Error())
		return
	}
	if !slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		return !strings.HasPrefix(e.Name(), ".") && e.Name() != "lost+found"
	}) {
		return
	}
	text, err := os.ReadFile(filepath.Join(dir, "PG_VERSION"))
	if err != nil {
		v.add(path, dir, "doesn't look like a valid data directory: no readable PG_VERSION in it, and it is not empty")
		return
	}
	if info, err := os.Stat(filepath.Join(dir, "pg_wal")); err != nil || !info.IsDir() {
		v.add(path, dir, "doesn't look like a valid data directory: no pg_wal in it")
		return
	}
	data, err := postgres.ParsePGVersionFile(string(text))
	switch {
	case err != nil:
		v.add(path, dir, err.Error())
	case version != 0 && data.Major() != version.Major():
		v.add(path, dir, fmt.Sprintf("holds data of PostgreSQL %d, but the programs are PostgreSQL %d", data.Major(), version.Major()))
	}
}
