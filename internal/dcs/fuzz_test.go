package dcs

import (
	"testing"
	"time"
)

// Times in keys: what is read with a zone is written so that every member
// reads the same instant.
func FuzzTime(f *testing.F) {
	for _, s := range []string{
		"2031-01-01T10:00:00+02:00", "2031-01-01 10:00:00.123456 UTC", "20310101T100000Z", "2031-01-01T10:00", "2031-01-01 10:00 -0330", "soon",
		"2031-01-01T10:00:00.999999999+00:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+14", "2031-02-30T10:00:00Z", "2031-01-01T10:00:00 CET",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, zoned, ok := ParseTime(s)
		if !ok {
			return
		}
		text := FormatTime(at)
		again, zone, ok := ParseTime(text)
		if !ok || !zone || !again.Equal(at.Truncate(time.Microsecond)) {
			t.Fatalf("%q (zoned %v) is %v, written %q, read %v", s, zoned, at, text, again)
		}
	})
}

// A whole scope with one foreign value in it: the other keys are read as if
// it were not there.
func FuzzOneDamagedKey(f *testing.F) {
	for _, key := range []Key{KeyInitialize, KeyConfig, KeyStatus, KeyFailover, KeySync, KeyHistory, KeyFailsafe, "members/b", "optime/leader", "members/a/x", ""} {
		for _, value := range []string{"", "x", "[]", `{"leader":17}`, "\xff", `{"scheduled_at":"soon","member":"b"}`} {
			f.Add(string(key), []byte(value))
		}
	}
	whole := []KV{
		{Key: KeyLeader, Value: []byte("a"), Lease: 7, Revision: 1},
		{Key: "members/a", Value: []byte(memberExample), Lease: 7, Revision: 2},
		{Key: KeyConfig, Value: []byte(`{"ttl":30,"pause":true}`), Revision: 3},
		{Key: KeyInitialize, Value: []byte("7012345678901234567"), Revision: 4},
		{Key: KeySync, Value: []byte(`{"leader":"a","sync_standby":"b"}`), Revision: 5},
		{Key: KeyHistory, Value: []byte(`[[1,5,"x"]]`), Revision: 6},
	}
	f.Fuzz(func(t *testing.T, key string, raw []byte) {
		kvs := []KV{{Key: Key(key), Value: raw, Revision: 9}}
		for _, kv := range whole {
			if string(kv.Key) != key {
				kvs = append(kvs, kv)
			}
		}
		c := DecodeCluster(9, kvs)
		unharmed := map[Key]bool{
			KeyLeader:     c.Leader != nil && c.Leader.Name == "a",
			"members/a":   c.Member("a") != nil && c.Member("a").Timeline == 2,
			KeyConfig:     c.Config != nil && c.Config.Valid,
			KeyInitialize: c.Initialize != nil && c.Initialize.SystemID.Valid(),
			KeySync:       c.Sync.Leader == "a",
			KeyHistory:    c.Timeline() == 2,
		}
		for k, fine := range unharmed {
			if !fine && string(k) != key {
				t.Fatalf("%q in %q harms %s", raw, key, k)
			}
		}
		if len(c.Damaged) > 1 {
			t.Fatalf("%q in %q: %q", raw, key, c.Damaged)
		}
	})
}
