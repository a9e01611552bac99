package ha

import (
	"testing"

	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// When an active device is stopped (20, "off"), and when it is not.
func TestNeedsNoWatchdog(t *testing.T) {
	ours := &dcs.Cluster{Leader: &dcs.Leader{Name: "a"}}
	theirs := &dcs.Cluster{Leader: &dcs.Leader{Name: "b"}}
	primary := Local{Alive: true, Role: postgres.RolePrimary}
	standby := Local{Alive: true, InRecovery: true, Role: postgres.RoleReplica}
	promoted := Local{Alive: true, InRecovery: true, Role: postgres.RolePromoted}
	dead := Local{Role: postgres.RolePrimary}
	for _, c := range []struct {
		name    string
		local   Local
		cluster *dcs.Cluster
		job     JobKind
		pause   bool
		want    bool
	}{
		{"the leader", primary, ours, "", false, false},
		{"the leader in pause", primary, ours, "", true, true},
		{"a primary without the key", primary, theirs, "", false, false},
		{"a primary, etcd silent", primary, nil, "", false, false},
		{"a primary being stopped", primary, theirs, JobStop, false, false},
		{"a primary restarting", dead, ours, JobRestart, false, false},
		{"a crashed primary on its way back", dead, ours, JobStartPrimary, false, false},
		{"a failed start", dead, ours, "", false, true},
		{"crash recovery", dead, theirs, JobCrashRecovery, false, true},
		{"coming back as a standby", dead, theirs, JobStartStandby, false, true},
		{"to be copied anew", dead, theirs, JobReinit, false, true},
		{"rewinding", dead, theirs, JobRewind, false, true},
		{"a standby", standby, theirs, "", false, true},
		{"a standby that holds the key", standby, ours, "", false, false},
		{"a standby about to be promoted", standby, ours, JobPromote, false, false},
		{"a promotion under way without the key", promoted, theirs, "", false, false},
	} {
		in := Input{Self: "a", Local: c.local, Cluster: c.cluster}
		in.Settings.Pause = c.pause
		var job *Job
		if c.job != "" {
			job = &Job{JobSpec: JobSpec{Kind: c.job}}
		}
		if got := NeedsNoWatchdog(in, job); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
