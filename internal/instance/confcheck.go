package instance

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"pgha/internal/postgres"
)

// confCheckRounds bounds the rounds of dropping and asking again: the server
// names unknown parameters before it looks at values.
const confCheckRounds = 4

// confCheck remembers the last postgresql.conf the server was asked about.
type confCheck struct {
	asked    string            // as rendered from the configuration
	content  string            // without what the server refused
	rejected map[string]string // name -> value of those
}

// Rejected are the configured parameters left out of postgresql.conf because
// this PostgreSQL does not know them or refuses their values, by name.
func (s *Server) Rejected() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.check.rejected)
}

// accepted returns a postgresql.conf the server can start with. It is asked
// itself (postgres -C reads the whole file): no list of parameters is older
// than the binary, extensions included. What it refuses is left out with a
// warning, never a failed start (contract: config.md 5.3; pitfalls 155). When
// it cannot be asked, or complains of another file, the content stays.
func (s *Server) accepted(ctx context.Context, in postgres.RenderInput) string {
	asked := postgres.RenderConf(in)
	s.mu.Lock()
	last := s.check
	s.mu.Unlock()
	if last.asked == asked {
		return last.content
	}
	next := confCheck{asked: asked, content: asked, rejected: map[string]string{}}
	in.Parameters = maps.Clone(in.Parameters)
	for range confCheckRounds {
		complaints, ok := s.askServer(ctx, next.content)
		if !ok {
			break
		}
		dropped := false
		for name, value := range in.Parameters {
			if why := complaints[strings.ToLower(name)]; why != "" && !postgres.IsControlledGUC(name) {
				s.log.Warn(fmt.Sprintf("the parameter %s is left out of postgresql.conf: %s", name, why))
				next.rejected[strings.ToLower(name)] = value
				delete(in.Parameters, name)
				dropped = true
			}
		}
		if !dropped {
			break
		}
		next.content = postgres.RenderConf(in)
	}
	s.mu.Lock()
	s.check = next
	s.mu.Unlock()
	return next.content
}

// complained finds the parameter in a complaint: unrecognized, invalid,
// outside its range, of the wrong type.
var complained = regexp.MustCompile(`^(?:LOG|FATAL|ERROR|WARNING):\s+(.*parameter "([^"]+)".*)$`)

// askServer has the server read a configuration. ok is false when it found
// nothing to complain of, or could not be asked.
func (s *Server) askServer(ctx context.Context, content string) (complaints map[string]string, ok bool) {
	file := strings.TrimSuffix(s.confFile(), ".conf") + ".check.conf" // beside it: includes are relative
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		s.log.Warn("the configuration cannot be checked", "err", err)
		return nil, false
	}
	defer os.Remove(file)
	res, err := runTool(ctx, tool{path: s.program("postgres"), parsed: true, dir: filepath.Clean(s.dataDir()), args: []string{
		"-D", s.dataDir(), "-c", "config_file=" + file, "-c", "lc_messages=C", "-c", "log_min_messages=info",
		"-c", "log_destination=stderr", "-c", "log_line_prefix=", "-C", "port"}})
	if err == nil || res.code < 0 {
		return nil, false
	}
	complaints = map[string]string{}
	for line := range strings.Lines(res.stderr) {
		if m := complained.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			complaints[strings.ToLower(m[2])] = m[1]
		}
	}
	if len(complaints) == 0 {
		s.log.Warn("the server complains of its configuration", "output", lastLines(res.stderr, 3))
	}
	return complaints, len(complaints) > 0
}
