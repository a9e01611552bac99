package clusterops

import (
	"io"
	"strings"
	"testing"

	"pgha/internal/dcs"
	"pgha/internal/render"
)

// Whatever stands in the keys, people and programs get a list of it, and a
// person's terminal gets nothing but text.
func FuzzList(f *testing.F) {
	for _, m := range []string{"", "x", "{}", `{"conn_url":"postgres://[::1]:5432/x","state":"running","role":"replica","xlog_location":9223372036854775807,"tags":{"a":{"b":[1,null]}}}`,
		`{"conn_url":"postgres://h:99999/x","pending_restart":true,"pending_restart_reason":{"a":5},"scheduled_restart":{"schedule":"2031-01-01T10:00:00Z"}}`,
		`{"tags":{"replicatefrom":"b\u001b"},"pgha":{"note":"\u001b[2J"}}`} {
		f.Add("b", m, "a", `{"optime":5}`, `{"ttl":30,"pause":true}`)
		f.Add("\x1b[31m", m, "ghost", "x", "[")
	}
	f.Fuzz(func(t *testing.T, name, member, leader, status, conf string) {
		c := dcs.DecodeCluster(9, []dcs.KV{
			{Key: dcs.MemberKey(name), Value: []byte(member), Revision: 1},
			{Key: "members/a", Value: []byte(`{"tags":{"replicatefrom":"b"},"state":"running"}`), Revision: 1},
			{Key: dcs.KeyLeader, Value: []byte(leader), Revision: 1}, {Key: dcs.KeyStatus, Value: []byte(status), Revision: 1},
			{Key: dcs.KeyConfig, Value: []byte(conf), Revision: 1}, {Key: dcs.KeyFailover, Value: []byte(status), Revision: 1},
		})
		for _, format := range []render.Format{render.Pretty, render.Topology, render.JSON, render.YAML, render.TSV} {
			var b strings.Builder
			if err := Print(&b, c, List{Scope: "shop", Format: format, Extended: true}); err != nil {
				t.Fatalf("%s: %v", format, err)
			}
			if (format == render.Pretty || format == render.Topology) && strings.ContainsAny(b.String(), "\x1b\r\x00\a") {
				t.Fatalf("%s: %q", format, b.String())
			}
		}
		for _, m := range c.Members {
			Address(m)
		}
		if doc := Dynamic(c); doc != nil {
			io.WriteString(io.Discard, render.EncodeYAML(doc))
		}
		LoopWait(c)
		LeaderFirst(c)
	})
}
