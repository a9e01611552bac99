package contract

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"pgha/internal/lab"
)

const (
	settingsBegin = "restapi:\n"
	settingsMark  = "  # the case's own\n"
)

// settings puts the input's lines into section restapi of the members' files,
// in place of those of the case before, and makes the agents read them.
// Arguments: tls (pg02 speaks it then), cert (show a client certificate),
// name=N (the server's expected name), keep (the files stay as they are: only
// how pg02 is spoken to changes).
func (w *world) settings(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	for _, m := range w.on(t, d) {
		if d.HasArg("keep") {
			break
		}
		rewriteSection(t, m, w.unmasked(d.Input))
		if err := m.Agent().Signal(1); err != nil {
			t.Fatal(err)
		}
	}
	w.tls = nil
	if d.HasArg("tls") {
		w.tls = &tlsFiles{ca: filepath.Join(w.Dir, "tls/ca.crt"), cert: filepath.Join(w.Dir, "tls/client.crt"),
			key: filepath.Join(w.Dir, "tls/client.key"), present: d.HasArg("cert"), serverName: "pg"}
		d.MaybeScanArgs(t, "name", &w.tls.serverName)
	}
	return "ok"
}

func rewriteSection(t *testing.T, m *lab.Member, lines string) {
	t.Helper()
	raw, err := os.ReadFile(m.Config())
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(raw), settingsBegin)
	if !found {
		t.Fatalf("no section restapi in %s", m.Config())
	}
	if before, after, again := strings.Cut(rest, settingsMark); again {
		rest = before + after[strings.Index(after, "\netcd3:"):]
	}
	own := ""
	if lines != "" {
		own = settingsMark + "  " + strings.ReplaceAll(lines, "\n", "\n  ") + "\n"
	}
	// The case's own come last: of a key that is there twice the last counts.
	text := head + settingsBegin + rest
	if i := strings.Index(text, "\netcd3:"); i >= 0 {
		text = strings.TrimRight(text[:i], "\n") + "\n" + own + text[i:]
	}
	if err := os.WriteFile(m.Config(), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
