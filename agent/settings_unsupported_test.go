package agent

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/instance"
)

// A setting that this version cannot serve arrives while the agent runs: said
// when it comes, once, and when it goes (rulings 26).
func TestUnsupportedSettingIsSaid(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	local := &config.Local{}
	local.PostgreSQL.DataDir = t.TempDir()
	inst, err := instance.New(instance.Options{Local: local, Launcher: &launcher{}, Clock: clock.System{}, Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	s := newSettings(local, inst, logger)
	learn := func(rev dcs.Revision, doc string) string {
		log.Reset()
		s.Learn(&dcs.Config{Raw: []byte(doc), Revision: rev, Valid: true})
		return log.String()
	}
	learn(1, `{"ttl":20}`)
	for rev, c := range []struct{ doc, want string }{
		{`{"ttl":20,"synchronous_mode":true}`, "synchronous_mode: on is not supported yet"},
		{`{"ttl":21,"synchronous_mode":true}`, ""},
		{`{"ttl":20}`, "races for the leader key again"},
		{`{"ttl":21}`, ""},
		{`{"ttl":20,"standby_cluster":{"host":"x"}}`, "does not race for the leader key"},
	} {
		got := learn(dcs.Revision(rev+2), c.doc)
		if c.want == "" && strings.Contains(got, "race") || !strings.Contains(got, c.want) {
			t.Errorf("%s: want %q in %q", c.doc, c.want, got)
		}
	}
}
