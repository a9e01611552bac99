package ha

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
)

// sentencesOf is what people's log rules match: the results of a cycle as
// Patroni prints them (contract: ha-behaviour.md 23.1 to 23.3), and pgha's own.
var sentencesOf = []struct {
	reason Reason
	text   string
}{
	// 23.1: with a lock, PostgreSQL running.
	{Reason{Code: Leading, Self: "a"}, "no action. I am (a), the leader with the lock"},
	{Reason{Code: Following, Self: "a", Member: "b"}, "no action. I am (a), a secondary, and following a leader (b)"},
	{Reason{Code: PausedIdle, Self: "a"}, "no action. I am (a)"},
	{Reason{Code: PromotedWithLock}, "promoted self to leader because I had the session lock"},
	{Reason{Code: WaitingForPromotion}, "waiting to become primary after promote..."},
	{Reason{Code: ReleasedNotPrimary}, "removed leader lock because postgres is not running as primary"},
	{Reason{Code: PausedRenewFailed}, "continue to run as primary after failing to update leader lock in DCS"},
	{Reason{Code: DemotedRenewFailed}, "demoted self because failed to update leader lock in DCS"},
	{Reason{Code: NotPromotingNoRenew}, "not promoting because failed to update leader lock in DCS"},
	{Reason{Code: DemotedNoLock}, "demoting self because I do not have the lock and I was a leader"},
	{Reason{Code: SwitchoverDemoting, Name: "switchover"}, "switchover: demoting myself"},
	{Reason{Code: SwitchoverDemoting, Name: "manual failover"}, "manual failover: demoting myself"},
	{Reason{Code: Restarting}, "restart initiated"},
	{Reason{Code: Rewinding, Member: "b"}, "running pg_rewind from b"},
	{Reason{Code: Reinitializing}, "reinitializing due to diverged timelines"},
	{Reason{Code: CrashRecovering}, "doing crash recovery in a single user mode"},
	// 23.2: without a lock.
	{Reason{Code: AcquiredAsPrimary}, "acquired session lock as a leader"},
	{Reason{Code: PromotedByAcquiring}, "promoted self to leader by acquiring session lock"},
	{Reason{Code: DemotedAfterLosing}, "demoted self after trying and failing to obtain lock"},
	{Reason{Code: FollowingAfterLosing}, "following new leader after trying and failing to obtain lock"},
	{Reason{Code: DemotedNotHealthiest}, "demoting self because i am not the healthiest node"},
	{Reason{Code: NotHealthiest}, "following a different leader because i am not the healthiest node"},
	{Reason{Code: NotAllowedPrimary}, "demoting self because I am not allowed to become primary"},
	{Reason{Code: NotAllowed}, "following a different leader because I am not allowed to promote"},
	{Reason{Code: PausedPrimaryNoLock}, "continue to run as primary without lock"},
	// 23.3: others.
	{Reason{Code: Bootstrapping}, "trying to bootstrap a new cluster"},
	{Reason{Code: InitializeLost}, "failed to acquire initialize lock"},
	{Reason{Code: Cloning, Name: "bootstrap from leader 'b'"}, "trying to bootstrap from leader 'b'"},
	{Reason{Code: Cloning, Name: "bootstrap from replica 'c'"}, "trying to bootstrap from replica 'c'"},
	{Reason{Code: WaitingForBootstrap}, "waiting for leader to bootstrap"},
	{Reason{Code: Initialized}, "initialized a new cluster"},
	{Reason{Code: ReleasedDataEmpty}, "released leader key voluntarily as data dir empty and currently leader"},
	{Reason{Code: DataUnreachable, Detail: "permission denied"}, "data directory is not accessible: permission denied"},
	{Reason{Code: PausedDataEmpty}, "running with empty data directory"},
	{Reason{Code: SystemIDInvalid}, "data dir for the cluster is not empty, but system ID is invalid; consider doing reinitialize"},
	{Reason{Code: SystemIDMismatch, Self: "a", Detail: "1 != 2"}, "system ID mismatch, node a belongs to a different cluster: 1 != 2"},
	{Reason{Code: ReleasedMismatch}, "released leader key voluntarily due to the system ID mismatch"},
	{Reason{Code: CrashFailover}, "stopped PostgreSQL to fail over after a crash"},
	{Reason{Code: StartingPrimary}, "starting primary after failure"},
	{Reason{Code: StartingReadOnly}, "starting as readonly because i had the session lock"},
	{Reason{Code: StartingSecondary}, "starting as a secondary"},
	{Reason{Code: ReleasedStartFailed}, "removed leader key after trying and failing to start postgres"},
	{Reason{Code: StartFailed}, "failed to start postgres"},
	{Reason{Code: StartingLostLock}, "stopped PostgreSQL while starting up because leader key was lost"},
	{Reason{Code: StartingTimeout}, "stopped PostgreSQL because of startup timeout"},
	{Reason{Code: StartingStuck}, "primary start has timed out, but continuing to wait because failover is not possible"},
	{Reason{Code: Starting, Seconds: 42}, "PostgreSQL is still starting up, 42 seconds until timeout"},
	{Reason{Code: RenewedDuring, Name: "promote"}, "updated leader lock during promote"},
	{Reason{Code: JobInProgress, Name: "restart"}, "restart in progress"},
	{Reason{Code: LostBeforePromote}, "lost leader before promote"},
	{Reason{Code: LostDuring, Name: "restart"}, "lost leader lock during restart"},
	{Reason{Code: RecoveryTimeout}, "terminated crash recovery because of startup timeout"},
	{Reason{Code: PausedStopped}, "postgres is not running"},
	{Reason{Code: ReleasedPausedStopped}, "removed leader lock because postgres is not running"},
	{Reason{Code: DemotedNoDCS}, "demoted self because DCS is not accessible and I was a leader"},
	{Reason{Code: NoDCS}, "DCS is not accessible"},
	{Reason{Code: WaitingCheckpoint, Member: "b"}, "Waiting for checkpoint on b before rewind"},
	{Reason{Code: ShutdownPaused}, "Leader key is not deleted and Postgresql is not stopped due paused state"},
	{Reason{Code: ShutdownFailed}, "PostgreSQL shutdown failed, leader key not removed."},
	{Reason{Code: BootstrapFailed, Detail: "initdb: no space"}, "Failed to bootstrap cluster: initdb: no space"},
	// pgha's own.
	{Reason{Code: SwitchoverHandingOver, Name: "switchover", Member: "b"}, "switchover: waiting for b to receive the shutdown checkpoint"},
	{Reason{Code: SwitchoverHandingOver, Name: "switchover"}, "switchover: waiting for a member to receive the shutdown checkpoint"},
	{Reason{Code: RidingThrough, Seconds: 9}, "DCS is not accessible; the leader key is certain for 9 more seconds"},
	{Reason{Code: WaitingNewLeader}, "waiting for a new leader after releasing the leader key"},
}

func TestSentences(t *testing.T) {
	for _, tc := range sentencesOf {
		if got := tc.reason.String(); got != tc.text {
			t.Errorf("%s: %q, want %q", tc.reason.Code, got, tc.text)
		}
	}
}

// inDetail are reasons whose sentence is their detail, or that end no cycle.
var inDetail = map[Code]bool{StayStopped: true, RetryLater: true, Unsupported: true, Stepping: true, BumpLimit: true, StoppingRequest: true}

// Every code has words of its own: the log never shows a bare constant.
func TestEveryCodeHasASentence(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	codes := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Type == nil || len(spec.Values) != 1 {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); !ok || name.Name != "Code" {
			return true
		}
		text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		codes++
		r := Reason{Code: Code(text), Self: "a", Member: "b", Name: "job"}
		if got := r.String(); got == text && !inDetail[r.Code] {
			t.Errorf("%s has no sentence", text)
		} else if strings.Contains(got, "()") && r.Code != WaitForPrimary && r.Code != WaitUpstream || strings.Contains(got, "  ") {
			t.Errorf("%s: %q", text, got)
		}
		return true
	})
	if codes < 60 {
		t.Errorf("%d codes found", codes)
	}
}
