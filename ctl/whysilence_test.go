package ctl

import (
	"testing"
	"time"

	"pgha/internal/journal"
)

// TestWhyOutageOfTheDCS: a former leader's silence is the outage in which its
// lease ended, not one long over, and its step-down belongs to it; no renewal is
// made up from the end of a lease that a frozen etcd ended much too late.
func TestWhyOutageOfTheDCS(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2026, 11, 23, 19, 0, s, 0, time.UTC) }
	seen := func(s int) *journal.Facts { answer := at(s); return &journal.Facts{DCSSeen: &answer} }
	of := func(s int, member string, kind journal.Kind, code string, v *journal.Facts) entry {
		when := at(s)
		return entry{Record: journal.Record{At: when, Member: member, Kind: kind, Code: code, Seen: v}, at: when, end: when}
	}
	gone := at(50)
	promoted := of(51, "db2", journal.KindPromotion, "promoted", &journal.Facts{TTL: 10, Leaderless: &gone})
	promoted.Cause, promoted.Other = "leader_lost", "db3"
	tell := &teller{zone: time.UTC, journals: []memberJournal{{Name: "db3", Source: "rest"}, {Name: "db2", Source: "rest"}},
		all: []entry{
			of(3, "db3", journal.KindDCS, "dcs_lost", seen(1)),
			of(9, "db3", journal.KindDCS, "dcs_back", nil),
			of(26, "db3", journal.KindDemotion, "demoted_no_dcs", nil),
			of(27, "db3", journal.KindDCS, "dcs_lost", seen(21)),
			promoted,
		}}
	want := " because the lease of db3 ended at 19:00:50 (the DCS had not answered db3 since 19:00:21, and it had stepped down at 19:00:26)"
	if got := tell.lost(span{from: 4, until: 4, pivot: 4}, "db3"); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	tell.all = tell.all[:2]
	if since, demoted := tell.outage("db3", gone); !since.IsZero() || !demoted.IsZero() {
		t.Errorf("an outage that is over is told: since %s, stepped down %s", since, demoted)
	}
}
