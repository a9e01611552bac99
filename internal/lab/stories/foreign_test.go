package stories

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

// A member with another cluster's data directory is refused, says why, and
// leaves the data alone. Contract: ha-behaviour.md 3.1.
func TestAnotherClustersDataIsRefused(t *testing.T) {
	l := long(t)
	e := l.StartEtcd(3)
	c := l.NewCluster(e, lab.Options{})
	stranger := c.Members[2]
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	initdb := filepath.Join(lab.PGBin(t, lab.PGVersion(t)), "initdb")
	if out, code, err := stranger.Run(ctx, initdb, "-N", "-U", "postgres", "-D", stranger.DataDir()); err != nil || code != 0 {
		t.Fatalf("initdb: %d %v\n%s", code, err, out)
	}
	before, err := os.ReadFile(filepath.Join(stranger.DataDir(), "global/pg_control"))
	if err != nil {
		t.Fatal(err)
	}

	c.Members[0].Start()
	c.Members[1].Start()
	c.WaitHealthy(60*time.Second, stranger)
	id, _, err := e.Get(c.Key("initialize"))
	if err != nil {
		t.Fatal(err)
	}
	stranger.Start()
	code, err := stranger.Agent().Wait(30 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if code != 3 { // rulings 51: refused for safety
		t.Errorf("exit code %d, want 3", code)
	}
	want := fmt.Sprintf("system ID mismatch, node %s belongs to a different cluster: %s != ", stranger.Name, id)
	if !strings.Contains(stranger.AgentLog(), want) {
		t.Errorf("the log does not say %q", want)
	}
	after, err := os.ReadFile(filepath.Join(stranger.DataDir(), "global/pg_control"))
	if err != nil || string(before) != string(after) {
		t.Errorf("the foreign data directory was touched (%v)", err)
	}
	c.WaitHealthy(5*time.Second, stranger)
}
