package stories

import (
	"testing"
	"time"

	"pgha/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// slack is what a loaded test machine may add to any promised time.
const slack = 4 * time.Second

// short stories run with every `make test`.
func short(t *testing.T) *lab.Lab {
	t.Helper()
	return lab.New(t)
}

// long stories run with `make lab`.
func long(t *testing.T) *lab.Lab {
	t.Helper()
	if lab.Mode() == "short" {
		t.Skip("runs with `make lab`")
	}
	return lab.New(t)
}

// healthyCluster is three members on three etcd members, ready for trouble.
func healthyCluster(t *testing.T, l *lab.Lab, o lab.Options) *lab.Cluster {
	t.Helper()
	e := l.StartEtcd(3)
	c := l.NewCluster(e, o)
	c.Start()
	return c
}

// ttl of the cluster as a duration.
func ttl(c *lab.Cluster) time.Duration { return time.Duration(c.TTL) * time.Second }

// syncPath is the user's own synchronous path (rulings 11).
var syncPath = lab.Options{Parameters: []string{`synchronous_standby_names: "ANY 1 (*)"`}}

// sameServer fails unless the postmaster is the one it was.
func sameServer(t *testing.T, m *lab.Member, pid int) {
	t.Helper()
	if now := m.Postmaster(); now != pid || pid == 0 {
		t.Errorf("PostgreSQL of %s was pid %d, is now %d", m.Name, pid, now)
	}
}
