package config

import (
	"strings"
	"testing"
)

// TestStateDirIsAbsolute: two agents started in different directories must find
// the same lock and guard.
func TestStateDirIsAbsolute(t *testing.T) {
	for dir, refused := range map[string]bool{"state/pg": true, "./pg": true, "/var/lib/pgha": false} {
		l, err := loadText(t, "postgresql: {data_dir: /var/lib/pg}\npgha: {state_dir: "+dir+"}\n")
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, e := range l.agentErrors {
			got += e.Error()
		}
		if strings.Contains(got, "pgha.state_dir") != refused {
			t.Errorf("state_dir %s: %q", dir, got)
		}
	}
}
