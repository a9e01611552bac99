package clusterops

import (
	"fmt"
	"strings"
	"testing"

	"pgha/internal/dcs"
	"pgha/internal/render"
)

// stored builds a cluster from "key value" lines.
func stored(lines string) *dcs.Cluster {
	var kvs []dcs.KV
	for i, line := range strings.Split(strings.TrimSpace(lines), "\n") {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		kvs = append(kvs, dcs.KV{Key: dcs.Key(key), Value: []byte(value), Revision: dcs.Revision(i + 1)})
	}
	return dcs.DecodeCluster(100, kvs)
}

const (
	db1 = `members/db1 {"conn_url":"postgres://192.0.2.11:5432/postgres","state":"running","role":"primary","timeline":3}` + "\n"
	db2 = `members/db2 {"conn_url":"postgres://192.0.2.12:5432/postgres","state":"running","role":"replica","timeline":3,` +
		`"receive_lsn":164008032,"replay_lsn":157589120,"replication_state":"streaming"%s}` + "\n"
	db3 = `members/db3 {"conn_url":"postgres://192.0.2.13:5432/postgres","state":"stopped","role":"replica"%s}` + "\n"
	// 0/9C69060 is 164008032, 0/9649E80 is 157589120: 6.1 MiB apart
	shop = "initialize 7500000000000000001\nleader db1\nstatus {\"optime\":164008032}\n"
	tags = `,"tags":{"clonefrom":true,"dc":"North"}`
)

// TestSamples compares with the samples of the contract (ctl.md section 3).
func TestSamples(t *testing.T) {
	machine := stored(shop + strings.TrimSuffix(db1, "}\n") +
		`,"pending_restart":true,"pending_restart_reason":{"max_connections":{"old_value":"50","new_value":"60"}}}` + "\n" +
		fmt.Sprintf(db2, tags) + fmt.Sprintf(db3, ""))
	tagged := stored(shop + db1 + fmt.Sprintf(db2, tags))
	for _, tc := range []struct {
		name    string
		cluster *dcs.Cluster
		format  render.Format
		want    string
	}{
		{"synchronous, maintenance mode", stored(`initialize 7500000000000000001
			config {"pause":true,"synchronous_mode":true}
			leader db1
			status {"optime":5368709216}
			sync {"leader":"db1","sync_standby":"db2"}
			` + db1 + strings.Replace(strings.Replace(fmt.Sprintf(db2, ""), "164008032", "5368709216", 1), "157589120", "5368709200", 1)), render.Pretty, `
+ Cluster: shop (7500000000000000001) -----------+----+-------------+-----+------------+-----+
| Member | Host       | Role         | State     | TL | Receive LSN | Lag | Replay LSN | Lag |
+--------+------------+--------------+-----------+----+-------------+-----+------------+-----+
| db1    | 192.0.2.11 | Leader       | running   |  3 |             |     |            |     |
| db2    | 192.0.2.12 | Sync Standby | streaming |  3 |  1/40000060 |   0 | 1/40000050 |   0 |
+--------+------------+--------------+-----------+----+-------------+-----+------------+-----+
 Maintenance mode: on
`},
		{"json", machine, render.JSON, `
[{"Cluster": "shop", "Member": "db1", "Host": "192.0.2.11", "Role": "Leader", "State": "running", "TL": 3, "Pending restart": "*", "Pending restart reason": "max_connections: 50->60"}, {"Cluster": "shop", "Member": "db2", "Host": "192.0.2.12", "Role": "Replica", "State": "streaming", "TL": 3, "Receive LSN": "0/9C69060", "Receive Lag": 0, "Replay LSN": "0/9649E80", "Replay Lag": 6, "Tags": {"clonefrom": true, "dc": "North"}}, {"Cluster": "shop", "Member": "db3", "Host": "192.0.2.13", "Role": "Replica", "State": "stopped", "Receive LSN": "unknown", "Replay LSN": "unknown"}]
`},
		{"tsv", tagged, render.TSV, `
Cluster	Member	Host	Role	State	TL	Receive LSN	Receive Lag	Replay LSN	Replay Lag	Tags
shop	db1	192.0.2.11	Leader	running	3					
shop	db2	192.0.2.12	Replica	streaming	3	0/9C69060	0	0/9649E80	6	{clonefrom: true, dc: North}
`},
		{"a row of several lines", tagged, render.Pretty, `
+ Cluster: shop (7500000000000000001) ------+----+-------------+-----+------------+-----+-----------------+
| Member | Host       | Role    | State     | TL | Receive LSN | Lag | Replay LSN | Lag | Tags            |
+--------+------------+---------+-----------+----+-------------+-----+------------+-----+-----------------+
| db1    | 192.0.2.11 | Leader  | running   |  3 |             |     |            |     |                 |
+--------+------------+---------+-----------+----+-------------+-----+------------+-----+-----------------+
| db2    | 192.0.2.12 | Replica | streaming |  3 |   0/9C69060 |   0 |  0/9649E80 |   6 | clonefrom: true |
|        |            |         |           |    |             |     |            |     | dc: North       |
+--------+------------+---------+-----------+----+-------------+-----+------------+-----+-----------------+
`},
		{"scheduled switchover, notes, long reason", stored(shop + db1 + strings.TrimSuffix(fmt.Sprintf(db3, ""), "}\n") +
			`,"pgha":{"version":"1","note":"rewind failed;\nrun pgha ctl reinit"},"pending_restart":true,"pending_restart_reason":` +
			`{"a":{"old_value":"1","new_value":"2"},"shared_preload_libraries":{"old_value":"","new_value":"0123456789012345678901234"}},` +
			`"scheduled_restart":{"schedule":"2035-01-01T10:00:00+00:00","postgres_version":"15.3"}}` + "\n" +
			`failover {"leader":"db1","member":"db3","scheduled_at":"2035-01-01T10:00:00.5+02:00"}`), render.Pretty, `
+ Cluster: shop (7500000000000000001) ----+----+-------------+-----+------------+-----+-----------------+-----------------------------------------------+---------------------------------------------+
| Member | Host       | Role    | State   | TL | Receive LSN | Lag | Replay LSN | Lag | Pending restart | Pending restart reason                        | Scheduled restart                           |
+--------+------------+---------+---------+----+-------------+-----+------------+-----+-----------------+-----------------------------------------------+---------------------------------------------+
| db1    | 192.0.2.11 | Leader  | running |  3 |             |     |            |     |                 |                                               |                                             |
+--------+------------+---------+---------+----+-------------+-----+------------+-----+-----------------+-----------------------------------------------+---------------------------------------------+
| db3    | 192.0.2.13 | Replica | stopped |    |     unknown |     |    unknown |     | *               | a: 1->2                                       | 2035-01-01T10:00:00+00:00 if version < 15.3 |
|        |            |         |         |    |             |     |            |     |                 | shared_preload_libraries: [hidden - too long] |                                             |
+--------+------------+---------+---------+----+-------------+-----+------------+-----+-----------------+-----------------------------------------------+---------------------------------------------+
 Switchover scheduled at: 2035-01-01T10:00:00.500000+02:00
                    from: db1
                      to: db3
 db3: rewind failed; run pgha ctl reinit
`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b strings.Builder
			if err := Print(&b, tc.cluster, List{Scope: "shop", Format: tc.format}); err != nil {
				t.Fatal(err)
			}
			if got := "\n" + b.String(); got != tc.want {
				t.Errorf("got:%s\nwant:%s", got, tc.want)
			}
		})
	}
}

func TestYAMLSample(t *testing.T) {
	var b strings.Builder
	c := stored(shop + strings.TrimSuffix(db1, "}\n") +
		`,"pending_restart":true,"pending_restart_reason":{"max_connections":{"old_value":"50","new_value":"60"}}}`)
	if err := Print(&b, c, List{Scope: "shop", Format: render.YAML}); err != nil {
		t.Fatal(err)
	}
	const want = `- Cluster: shop
  Host: 192.0.2.11
  Member: db1
  Pending restart: '*'
  Pending restart reason: 'max_connections: 50->60'
  Role: Leader
  State: running
  TL: 3

`
	if b.String() != want {
		t.Errorf("got:\n%s", b.String())
	}
}

func TestTopologySample(t *testing.T) {
	const want = `+ Cluster: shop (7500000000000000001) -------+----+-------------+-----+------------+-----+
| Member  | Host       | Role    | State     | TL | Receive LSN | Lag | Replay LSN | Lag |
+---------+------------+---------+-----------+----+-------------+-----+------------+-----+
| db1     | 192.0.2.11 | Leader  | running   |  3 |             |     |            |     |
| + db2   | 192.0.2.12 | Replica | streaming |  3 |   0/9C69060 |   0 |  0/9649E80 |   6 |
|   + db3 | 192.0.2.13 | Replica | stopped   |    |     unknown |     |    unknown |     |
+---------+------------+---------+-----------+----+-------------+-----+------------+-----+
`
	c := stored(shop + db1 + fmt.Sprintf(db2, "") + fmt.Sprintf(db3, `,"tags":{"replicatefrom":"db2"}`))
	table := Table(c, List{Scope: "shop", Format: render.Topology})
	// The contract's sample leaves the column of tags out.
	table.Columns = table.Columns[:len(table.Columns)-1]
	for i := range table.Rows {
		table.Rows[i] = table.Rows[i][:len(table.Columns)]
	}
	var b strings.Builder
	if err := render.Write(&b, render.Topology, table); err != nil {
		t.Fatal(err)
	}
	if b.String() != want {
		t.Errorf("got:\n%s", b.String())
	}
}

func TestLag(t *testing.T) {
	const mib = 1 << 20
	for _, tc := range []struct {
		lsn  uint64
		lag  int64
		want any
	}{
		{0, 5, nil},
		{1, 0, int64(0)},
		{1, mib / 2, int64(0)}, // half to even
		{1, mib/2 + 1, int64(1)},
		{1, mib + mib/2, int64(2)},
		{1, 2*mib + mib/2, int64(2)},
	} {
		if got := (Position{LSN: dcs.LSN(tc.lsn), LagBytes: tc.lag}).LagMiB(); got != tc.want {
			t.Errorf("%d bytes: got %v, want %v", tc.lag, got, tc.want)
		}
	}
}

func TestRows(t *testing.T) {
	member := func(name, rest string) string { return "members/" + name + " {" + rest + "}\n" }
	for _, tc := range []struct {
		name, keys, want string
	}{
		{"before 4.1, streaming: one position, received", "status {\"optime\":100}\n" + member("a", `"state":"running","replication_state":"streaming","xlog_location":16`),
			"a:Replica:streaming:0/10:unknown"},
		{"before 4.1, not streaming: one position, replayed", member("a", `"state":"running","xlog_location":16`), "a:Replica:running:unknown:0/10"},
		{"ahead of the status key: no negative lag", "status {\"optime\":1}\n" + member("a", `"receive_lsn":16,"replay_lsn":16,"state":"running"`), "a:Replica:running:0/10:0/10"},
		{"a key without state", member("a", ``), "a:Replica::unknown:unknown"},
		{"quorum", "config {\"synchronous_mode\":\"quorum\"}\nsync {\"leader\":\"x\",\"sync_standby\":\"A\"}\n" + member("a", `"state":"running"`),
			"a:Quorum Standby:running:unknown:unknown"},
		{"sync key without the mode", "sync {\"leader\":\"x\",\"sync_standby\":\"a\"}\n" + member("a", `"state":"running"`), "a:Replica:running:unknown:unknown"},
		{"standby leader shows its replication", "leader a\nconfig {\"standby_cluster\":{\"port\":5432}}\n" + member("a", `"state":"running","replication_state":"in archive recovery"`),
			"a:Standby Leader:in archive recovery:unknown:unknown"},
	} {
		r := Rows(stored(tc.keys))[0]
		if got := strings.Join([]string{r.Name, r.Role, r.State, r.Receive.Text(), r.Replay.Text()}, ":"); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
		if r.Receive.LagBytes < 0 || r.Replay.LagBytes < 0 {
			t.Errorf("%s: negative lag", tc.name)
		}
	}
}

func TestTreeEndsOnACircle(t *testing.T) {
	from := func(name, source string) string {
		return fmt.Sprintf("members/%s {\"tags\":{\"replicatefrom\":%q}}\n", name, source)
	}
	c := stored("leader a\nmembers/a {}\n" + from("b", "c") + from("c", "b") + from("d", "d") + from("e", "a") + from("f", "e"))
	var got []string
	for _, r := range Tree(Rows(c)) {
		got = append(got, fmt.Sprintf("%s%d", r.Name, r.Depth))
	}
	if want := "a0 d1 e1 f2 b1 c2"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestWithRole(t *testing.T) {
	keys := "leader a\nmembers/a {\"role\":%q}\nmembers/b {\"role\":\"replica\"}\n"
	for _, tc := range []struct{ published, want string }{
		{"primary", "leader=a primary=a standby-leader= replica=b standby=b any=a,b"},
		{"master", "leader=a primary=a standby-leader= replica=b standby=b any=a,b"},
		{"standby_leader", "leader=a primary= standby-leader=a replica=b standby=b any=a,b"},
		{"replica", "leader=a primary=a standby-leader=a replica=b standby=b any=a,b"},
	} {
		c := stored(fmt.Sprintf(keys, tc.published))
		var got []string
		for _, role := range Roles() {
			var names []string
			for _, m := range WithRole(c, role) {
				names = append(names, m.Name)
			}
			got = append(got, string(role)+"="+strings.Join(names, ","))
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: got %v, want %s", tc.published, got, tc.want)
		}
	}
}
