package config

import (
	"strings"
	"testing"
	"time"
)

// fuzzDocuments are dynamic configurations, good and bad.
var fuzzDocuments = []string{
	`{}`, `{"ttl":30,"loop_wait":10,"retry_timeout":10,"maximum_lag_on_failover":1048576,"postgresql":{"use_pg_rewind":true,"parameters":{"max_connections":100}}}`,
	`{"ttl":"abc"}`, `{"ttl":5,"loop_wait":1,"retry_timeout":2,"pause":true}`, `{"ttl":null}`, `{"ttl":10.5,"loop_wait":"10"}`, `{"postgresql":5}`,
	`{"postgresql":{"parameters":[1]}}`, `{"pause":"banana"}`, `{"pause":"on","standby_cluster":{"host":"h"}}`, `{"standby_cluster":"x"}`,
	`{"slots":{"a":{"type":"physical"},"b":null,"c":5}}`, `{"ignore_slots":[{"name":"x"},5]}`, `{"ttl":-1,"loop_wait":99999999,"retry_timeout":1e308}`,
	`{"synchronous_mode":"quorum","synchronous_node_count":"2"}`, `{"postgresql":{"parameters":{"max_connections":"lots","port":5433,"work_mem":"8MB"}}}`,
	`{"member_slots_ttl":"30min","primary_start_timeout":-5}`, `{"postgresql":{"pg_hba":{"a":1},"use_slots":"off"}}`,
}

// One document after the other, as a cluster meets them: whatever is in them,
// the timing fits together, and a rejected document leaves that of the one
// before in force (config contract 1.4).
func FuzzDynamic(f *testing.F) {
	for i, d := range fuzzDocuments {
		f.Add([]byte(fuzzDocuments[(i+1)%len(fuzzDocuments)]), []byte(d))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		one, err := ParseDocument(first)
		if err != nil {
			return
		}
		two, err := ParseDocument(second)
		if err != nil {
			return
		}
		before, _ := ParseDynamic(one.Map(), nil)
		after, err := ParseDynamic(two.Map(), &before)
		for _, d := range []Dynamic{before, after} {
			if d.TTL < 5*time.Second || d.LoopWait < time.Second || d.RetryTimeout < 2*time.Second || d.LoopWait+2*d.RetryTimeout > d.TTL {
				t.Fatalf("ttl %v, loop_wait %v, retry_timeout %v", d.TTL, d.LoopWait, d.RetryTimeout)
			}
		}
		if err != nil && (after.timing() != before.timing() || !EqualText(after.Accepted, before.Accepted)) {
			t.Fatalf("rejected (%v), and yet %v after %v", err, after.timing(), before.timing())
		}
		// What is written back when the key is lost must be read as what is in force.
		again, err := ParseDynamic(DocumentFromMap(after.Accepted).Map(), nil)
		if err != nil || again.timing() != after.timing() {
			t.Fatalf("written back %s: %v, %v; in force %v", DocumentFromMap(after.Accepted).Compact(), again.timing(), err, after.timing())
		}
		Merge(&Local{}, after, ServerFacts{MajorVersion: 15})
		// A patch made again changes nothing. (A null in a map that was not there
		// is stored by the first time and deletes by the second, as in Patroni.)
		patched := one.Clone()
		patched.MergePatch(two)
		patched.MergePatch(two)
		if stands := patched.Clone(); patched.MergePatch(two) || !patched.Equal(stands) {
			t.Fatalf("%s patched with %s changes again", first, second)
		}
	})
}

// Two files of a directory and a variable of the environment: one line of
// complaint or a configuration, and merging a file twice is merging it once.
func FuzzLocalConfiguration(f *testing.F) {
	f.Add("scope: a\nname: b\n", "name: c\netcd3: {hosts: [a, b]}\n", "PATRONI_ETCD3_HOSTS", "'a:1','b:2'")
	f.Add("etcd3: {url: 'http://u:p@h'}\n", "etcd3: null\n", "PATRONI_RESTAPI_LISTEN", "8008")
	f.Add("tags: {nofailover: 'no'}\n", "tags: []\n", "PATRONI_POSTGRESQL_LISTEN", "*:5432,[::]")
	f.Add("log: {level: 5, format: [a, {b: c}]}\n", "bootstrap: {dcs: {ttl: x}, initdb: [a, {b: c}]}\n", "PATRONI_LOG_LOGGERS", "{a: b")
	f.Add("watchdog: on\n", "postgresql: {authentication: x}\n", "PATRONI_admin_PASSWORD", "x")
	f.Add("a: &a [*a]\n", "<<: {a: b}\n", "PATRONI_TAGS", "{x: y}")
	f.Fuzz(func(t *testing.T, a, b, name, value string) {
		if len(a)+len(b)+len(value) > 1<<14 || strings.ContainsAny(name, "=\x00") {
			return
		}
		one, err := decodeMap([]byte(a), "a.yml")
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("more than one line: %q", err)
			}
			return
		}
		two, err := decodeMap([]byte(b), "b.yml")
		if err != nil {
			return
		}
		mergeNode(one, two, new([]overruled))
		once := EncodeYAML(one.Value())
		mergeNode(one, two, new([]overruled))
		if twice := EncodeYAML(one.Value()); string(twice) != string(once) {
			t.Fatalf("merged once\n%s\nmerged again\n%s", once, twice)
		}
		for _, environ := range [][]string{{"PATRONI_CONFIGURATION=" + string(once), name + "=" + value}, {name + "=" + value}} {
			l, err := LoadLocal("", environ)
			if err != nil {
				if strings.Contains(err.Error(), "\n") {
					t.Fatalf("more than one line: %q", err)
				}
				continue
			}
			if err := l.CheckAgent(); err != nil && strings.Contains(err.Error(), "\n") {
				t.Fatalf("more than one line: %q", err)
			}
			for _, w := range l.Warnings {
				if strings.Contains(w.String(), "\n") {
					t.Fatalf("more than one line: %q", w.String())
				}
			}
		}
	})
}

// Numbers and truth values of PostgreSQL's settings.
func FuzzGUC(f *testing.F) {
	for _, s := range []string{"10", "0x1f", "010", "8MB", "1.5", "1e3", "-1", " 5 s ", "on", "of", "99999999999999999999", "5min", "0b1", "1_000"} {
		f.Add(s, "s")
		f.Add(s, "kB")
		f.Add(s, "")
	}
	f.Fuzz(func(t *testing.T, text, unit string) {
		n, ok := ParseGUCInt(text, unit)
		padded, same := ParseGUCInt(" "+text+" ", unit)
		if ok && (!same || padded != n) {
			t.Fatalf("%q %q: %d, with blanks %d", text, unit, n, padded)
		}
		v, ok := ParseGUCBool(text)
		if upper, same := ParseGUCBool(strings.ToUpper(text)); ok && (!same || upper != v) {
			t.Fatalf("%q: %v in capitals %v", text, v, upper)
		}
	})
}

// A key or variable of any length costs nothing: every agent of a cluster
// reads /config in its loop.
func TestLongUnknownKeysAreQuick(t *testing.T) {
	long := strings.Repeat("maximum_lag_on_failover", 40000)
	began := time.Now()
	doc, err := ParseDocument([]byte(`{"` + long + `":1,"postgresql":{"` + long + `":2}}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseDynamic(doc.Map(), nil); err != nil {
		t.Error(err)
	}
	if _, err := LoadLocal("", []string{"PATRONI_" + strings.ToUpper(long) + "=1", "PATRONI_NAME=a"}); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
}
