package agent

import (
	"testing"

	"pgha/internal/dcs"
)

// The member key is written again when it is not what we wrote (contract:
// dcs-layout.md 2), also by a hand that used no lease, and on an idle cluster,
// where nothing of it changes by itself.
func TestMemberKeyIsMended(t *testing.T) {
	data := dcs.MemberData{State: "running", Role: "replica", Tags: map[string]any{"x": 1.5, "clonefrom": true}}
	encoded := dcs.EncodeMember(data)
	read := func(value string, lease dcs.LeaseID) *dcs.Member {
		d, _ := dcs.DecodeMember([]byte(value))
		return &dcs.Member{Name: "a", Lease: lease, MemberData: d}
	}
	for _, tt := range []struct {
		name string
		key  *dcs.Member
		want bool
	}{
		{"as written", read(string(encoded), 7), true},
		{"gone", nil, false},
		{"damaged", read("x", 7), false},
		{"without a lease", read(string(encoded), 0), false},
		{"under another lease", read(string(encoded), 8), false},
		{"another content", read(`{"state":"stopped","role":"replica"}`, 7), false},
	} {
		if got := stands(tt.key, 7, encoded); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
