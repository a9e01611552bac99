package contract

import (
	"fmt"
	"testing"

	"pgha/internal/lab"
)

// TestBootstrap walks the cases of testdata/bootstrap: states of the only
// member of a new cluster, held by programs that wait. Each file has a cluster
// of its own; its first case starts the agent.
func TestBootstrap(t *testing.T) {
	l := lab.New(t)
	l.NeedNetwork()
	etcd := l.StartEtcd(1)
	for _, c := range []struct {
		file, member string
		bootstrap    func(*lab.Member) []string
	}{
		{"1-initdb", "pg11", nil},
		{"2-custom", "pg12", func(m *lab.Member) []string {
			return []string{"method: own", "own:", fmt.Sprintf("  command: %s", m.Script("restore",
				"while [ ! -e "+m.Dir+"/restore.go ]; do sleep 0.05; done; exit 1\n"))}
		}},
	} {
		t.Run(c.file, func(t *testing.T) {
			w := &world{Lab: l, etcd: etcd}
			w.cluster = l.NewCluster(etcd, lab.Options{Scope: c.file, Members: []string{c.member}, Bootstrap: c.bootstrap})
			moveBelowDCS(t, w.member(t, c.member).Config())
			w.walk(t, "bootstrap", "testdata/bootstrap/"+c.file+".txt")
		})
	}
}
