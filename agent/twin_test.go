package agent

import (
	"testing"

	"pgha/internal/dcs"
)

func TestTwinWatch(t *testing.T) {
	key := func(lease dcs.LeaseID, rev dcs.Revision) *dcs.Member {
		return &dcs.Member{Name: "a", Lease: lease, Revision: rev}
	}
	var w twinWatch
	w.held(20)
	if rewrite, twin := w.look(key(20, 1), 20); rewrite || twin {
		t.Error("our own key was taken for a twin's")
	}
	// A lease that was granted anew behind our back: written again, no twin.
	if rewrite, twin := w.look(key(10, 2), 20); !rewrite || twin {
		t.Errorf("first sighting: rewrite %v, twin %v", rewrite, twin)
	}
	w.look(key(20, 3), 20)
	// Somebody goes on writing it. One write seen twice counts once.
	for _, k := range []*dcs.Member{key(10, 4), key(10, 4), key(10, 5)} {
		if _, twin := w.look(k, 20); twin {
			t.Fatalf("revision %d: too soon", k.Revision)
		}
	}
	if _, twin := w.look(key(10, 6), 20); !twin {
		t.Error("a twin with the earlier lease: this agent has to end")
	}
	// The other one, seen from there, stays.
	var other twinWatch
	other.held(10)
	for rev := dcs.Revision(1); rev < 9; rev++ {
		if _, twin := other.look(key(20, rev), 10); twin {
			t.Fatal("both twins end")
		}
	}
}
