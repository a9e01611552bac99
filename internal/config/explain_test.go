package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// explained finds one row.
func explained(t *testing.T, layers Layers, key string) Explanation {
	t.Helper()
	rows, _ := Explain(layers)
	for _, r := range rows {
		if r.Key == key {
			return r
		}
	}
	t.Fatalf("no row %s in %v", key, rows)
	return Explanation{}
}

func TestExplainLayers(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"1.yml": "scope: s\npostgresql:\n  listen: 'a:5432'\n  data_dir: /d\n  callbacks: {on_start: x}\n  parameters: {work_mem: 1MB}\n",
		"2.yml": "postgresql:\n  listen: 'b:5432'\n  recovery_conf: {restore_command: cp}\n  create_replica_methods: [walg]\n  walg: {command: w}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	doc := mustParse(t, `{"master_start_timeout":7,"slots":{"a":null},"postgresql":{"callbacks":{"on_stop":"y"},"pg_hba":["all"],"pg_hba_replica":["own"],
		"parameters":{"work_mem":"2MB","wal_keep_segments":10},"parameters_replica":{"work_mem":"3MB"},"use_pg_rewind":"on"}}`)
	layers := Layers{Local: mustLoad(t, dir, "PATRONI_POSTGRESQL_DATA_DIR=/env"), Dynamic: doc, From: "DCS"}
	one, two := filepath.Join(dir, "1.yml"), filepath.Join(dir, "2.yml")
	cases := []struct{ key, value, source, note string }{
		{"postgresql.listen", "b:5432", two + ":2:3", "a:5432 " + one + ":3:3 overruled by " + two + ":2:3"},
		{"postgresql.data_dir", "/env", "environment variable PATRONI_POSTGRESQL_DATA_DIR", "/d " + one + ":4:3 overruled by environment variable PATRONI_POSTGRESQL_DATA_DIR"},
		{"postgresql.callbacks.on_start", "x", one + ":5:3", ""},
		{"postgresql.callbacks", "<nil>", SourceIgnored, "map[on_stop:y] DCS overruled by " + one + ":5:3: the local configuration replaces it completely"},
		{"postgresql.parameters.work_mem", "1MB", one + ":6:16", "2MB DCS overruled by " + one + ":6:16"},
		{"postgresql.parameters.wal_keep_size", "160MB", "DCS", ""},
		{"postgresql.parameters.port", "5432", "forced: taken from postgresql.listen", ""},
		{"postgresql.use_pg_rewind", "true", "DCS", ""},
		{"postgresql.recovery_conf.restore_command", "cp", two + ":3:19", ""},
		{"postgresql.walg", "map[command:w]", two + ":5:3", ""},
		{"postgresql.pg_hba", "[all]", "DCS", ""},
		{"primary_start_timeout", "7", "DCS", ""},
		{"slots", "map[a:<nil>]", "DCS", ""},
		{"ttl", "30", SourceDefault, ""},
	}
	for _, c := range cases {
		r := explained(t, layers, c.key)
		note := ""
		if len(r.Notes) > 0 {
			note = fmt.Sprint(r.Notes[0].Value, " ", r.Notes[0].Source, " ", r.Notes[0].Why)
		}
		if fmt.Sprint(r.Value) != c.value || r.Source != c.source || note != c.note {
			t.Errorf("%s: %v from %q, note %q; want %s from %q, note %q", c.key, r.Value, r.Source, note, c.value, c.source, c.note)
		}
	}
	layers.Server.Role = "replica"
	if r := explained(t, layers, "postgresql.parameters.work_mem"); r.Value != "3MB" || r.Source != "DCS" {
		t.Errorf("as a replica: %v from %s", r.Value, r.Source)
	}
}

// Whatever the schema calls a value in force is what the agent's own reading
// gives: Explain does not know better than Merge.
func TestExplainAgreesWithMerge(t *testing.T) {
	l := mustLoad(t, "testdata/full.yml", "HOME=/home/pg")
	rows, _ := Explain(Layers{Local: l, Dynamic: DocumentFromMap(BootstrapDocument(l))})
	d, err := ParseDynamic(BootstrapDocument(l), nil)
	if err != nil {
		t.Fatal(err)
	}
	eff := Merge(l, d, ServerFacts{})
	seen := 0
	for _, r := range rows {
		name, isParameter := strings.CutPrefix(r.Key, "postgresql.parameters.")
		if isParameter {
			seen++
			if r.Value != Masked(r.Key, eff.Parameters[name]) {
				t.Errorf("%s: %v, the agent uses %q", r.Key, r.Value, eff.Parameters[name])
			}
		}
		if strings.Contains(fmt.Sprint(r), "secret") {
			t.Errorf("a password shows: %v", r)
		}
		if r.Source == "" {
			t.Errorf("%s: no source", r.Key)
		}
	}
	if seen != len(eff.Parameters) {
		t.Errorf("%d parameters explained, %d in force", seen, len(eff.Parameters))
	}
}

func TestSelectExplanations(t *testing.T) {
	rows := []Explanation{{Key: "ttl"}, {Key: "postgresql.parameters.max_connections"}, {Key: "postgresql.parameters.work_mem"}, {Key: "restapi.listen"}, {Key: "postgresql.listen"}}
	for key, want := range map[string]int{"ttl": 1, "postgresql.parameters": 2, "Work_Mem": 1, "listen": 2, "bootstrap.dcs.ttl": 1, "postgresql.": 3, "nothing": 0} {
		if got, _ := SelectExplanations(rows, key); len(got) != want {
			t.Errorf("%s: %v", key, got)
		}
	}
	for key, want := range map[string]string{"tlt": "ttl", "max_conections": "postgresql.parameters.max_connections", "log.dri": "log.dir", "ctl.cacert": "ctl.cacert", "zzzz": ""} {
		if _, got := SelectExplanations(rows, key); got != want {
			t.Errorf("%s: %q", key, got)
		}
	}
}
