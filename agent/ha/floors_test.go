package ha

import (
	"strings"
	"testing"
	"time"

	"pgha/internal/config"
	"pgha/internal/dcs"
)

func TestRaiseFloors(t *testing.T) {
	short := Settings{Dynamic: config.Dynamic{TTL: 5 * time.Second, LoopWait: time.Second, RetryTimeout: 2 * time.Second}}
	long := Settings{Dynamic: config.Dynamic{TTL: 30 * time.Second, LoopWait: 10 * time.Second, RetryTimeout: 10 * time.Second}}
	ours := dcs.Member{Name: "a", MemberData: dcs.MemberData{Pgha: &dcs.PghaInfo{Version: "1"}}}
	patroni := dcs.Member{Name: "b"}
	cases := []struct {
		name    string
		s       Settings
		members []dcs.Member
		ttl     time.Duration
		retry   time.Duration
		said    string
	}{
		{"pgha alone", short, []dcs.Member{ours}, 5 * time.Second, 2 * time.Second, ""},
		{"nobody", short, nil, 5 * time.Second, 2 * time.Second, ""},
		{"a Patroni member", short, []dcs.Member{ours, patroni}, 20 * time.Second, 3 * time.Second, "Patroni runs b"},
		{"long enough for Patroni", long, []dcs.Member{ours, patroni}, 30 * time.Second, 10 * time.Second, ""},
	}
	for _, c := range cases {
		raised, text := RaiseFloors(c.s, c.members)
		if raised.TTL != c.ttl || raised.RetryTimeout != c.retry || !strings.Contains(text, c.said) || (text != "") != (c.said != "") {
			t.Errorf("%s: ttl %v, retry_timeout %v, %q", c.name, raised.TTL, raised.RetryTimeout, text)
		}
		if raised.LoopWait+2*raised.RetryTimeout > raised.TTL {
			t.Errorf("%s: the rule is broken", c.name)
		}
	}
}
