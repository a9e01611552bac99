package ha

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"

	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// withoutData is section 3: this member has no data to run on.
func withoutData(in Input) Decision {
	switch {
	case in.holder():
		// 2, step 10: leftovers of PostgreSQL first, the key second.
		if in.Local.Alive {
			return startJob(in, JobSpec{Kind: JobStop, Name: "stop without data directory", Mode: StopImmediate},
				Reason{Code: ReleasedDataEmpty})
		}
		if in.Tried.Release == NotTried {
			return act(in, ReleaseLeader{}, Reason{Code: ReleasedDataEmpty})
		}
		return rest(in, Reason{Code: ReleasedDataEmpty})
	case in.Cluster.Leader != nil && in.Cluster.Leader.Name == in.Self: // given up in this very cycle
		return rest(in, Reason{Code: ReleasedDataEmpty})
	case in.Local.Data == DataUnreadable:
		return rest(in, Reason{Code: DataUnreachable, Detail: "see the log"}).
			noting("the data directory cannot be read")
	case in.Settings.Pause:
		return rest(in, Reason{Code: PausedDataEmpty})
	case in.Now.Before(in.Memory.RetryAfter):
		return restFor(in, in.Memory.RetryAfter.Sub(in.Now), Reason{Code: RetryLater, Detail: "failed to bootstrap ...; next attempt follows"}).
			noting(cloneFailed(in))
	case leftovers(in) && claimedByOther(in):
		// Perhaps our own, of an agent before this one, whose registration may
		// still be on its way: the data are kept until the claim is decided.
		return rest(in, Reason{Code: WaitingForBootstrap})
	case leftovers(in):
		return startJob(in, JobSpec{Kind: JobUnbootstrap, Name: string(JobUnbootstrap)},
			Reason{Code: Stepping, Detail: "moving aside what a bootstrap that was cut short left behind"})
	case in.Cluster.Leader != nil:
		return clone(in)
	case claimedByUs(in):
		return startJob(in, JobSpec{Kind: JobBootstrap, Name: string(JobBootstrap)}, Reason{Code: Bootstrapping})
	case in.Cluster.Initialize == nil && in.CanBootstrap && !in.Tags.NoFailover:
		return raceToInitialize(in)
	case in.Settings.ClonesLeaderless && (in.Cluster.Initialize == nil || in.Cluster.Initialize.SystemID != ""):
		return cloneLeaderless(in)
	default:
		return rest(in, Reason{Code: WaitingForBootstrap})
	}
}

// cloneLeaderless makes a replica by the methods that need no leader, a backup
// for one. While a member bootstraps (an empty initialize) it is waited for:
// the new cluster is the one to copy (3.2, pitfall 180).
func cloneLeaderless(in Input) Decision {
	const name = "bootstrap (without leader)"
	return startJob(in, JobSpec{Kind: JobClone, Name: name}, Reason{Code: Cloning, Name: name})
}

// nothingToRun says whether there is nothing here that PostgreSQL may be
// started on.
func nothingToRun(in Input) bool {
	return in.Local.Data == DataEmpty || in.Local.Data == DataUnreadable || leftovers(in)
}

// leftovers: a bootstrap was cut short before the cluster was registered, and
// its server may still be running. Roles and post_bootstrap may be missing, and
// nobody but us ever saw the data. Once they are registered, everything had
// been done and they are the cluster's, whatever the marker says.
func leftovers(in Input) bool {
	return in.Local.Data == DataHalfBootstrapped && !registeredAsOurs(in)
}

// raceToInitialize is the bootstrap race: the empty initialize key, created
// under our lease so that it vanishes by itself if we die (pitfall 174).
func raceToInitialize(in Input) Decision {
	if in.Tried.Initialize == NotTried {
		return do(in, ClaimInitialize{}, "nobody has initialised this cluster")
	}
	// Refused, or of unknown outcome: the next cycle reads whose it is.
	return restFor(in, retryPause, Reason{Code: InitializeLost})
}

// claimedByUs: the empty initialize key stands under our own lease.
func claimedByUs(in Input) bool {
	init := in.Cluster.Initialize
	return init != nil && init.SystemID == "" && init.Lease != 0 && init.Lease == in.Lease
}

// claimedByOther: the empty initialize key stands under another lease than ours.
func claimedByOther(in Input) bool {
	init := in.Cluster.Initialize
	return init != nil && init.SystemID == "" && init.Lease != 0 && init.Lease != in.Lease
}

// clone copies the cluster's data here (3.2).
func clone(in Input) Decision {
	source, kind := cloneSource(in)
	if source == nil || source.ConnURL == "" {
		if in.Settings.ClonesLeaderless {
			return cloneLeaderless(in)
		}
		return restFor(in, retryPause, Reason{Code: WaitingForBootstrap})
	}
	name := "bootstrap from " + kind + " '" + source.Name + "'"
	return startJob(in, JobSpec{Kind: JobClone, Name: name, Source: source}, Reason{Code: Cloning, Name: name})
}

// cloneFailed is the note of a member that could not be made so far; empty: it
// never failed.
func cloneFailed(in Input) string {
	switch n := in.Memory.FailedClones; {
	case n == 0 && in.Now.Before(in.Memory.RetryAfter):
		return "cleaning up after a failed bootstrap did not work; see the log"
	case n == 0:
		return ""
	case n == 1:
		return "creating the replica failed: " + orUnknown(in.Memory.CloneWhy) + "; see the log"
	default:
		return fmt.Sprintf("creating the replica failed %d times, last: %s; see the log", n, orUnknown(in.Memory.CloneWhy))
	}
}

func orUnknown(why string) string {
	if why == "" {
		return "cause unknown"
	}
	return why
}

// cloneSource chooses where from (3.2): a running member tagged clonefrom,
// else the leader. kind is "replica" or "leader". A member from which the last
// attempt failed is passed over once: its key may outlive it by a ttl.
func cloneSource(in Input) (source *dcs.Member, kind string) {
	var offers []dcs.Member
	for _, m := range in.Cluster.Members {
		if m.Name != in.Self && m.Name != in.Cluster.Leader.Name && m.ConnURL != "" && m.Name != in.Memory.BadSource &&
			m.State == postgres.StateRunning && config.Truthy(m.Tags["clonefrom"]) {
			offers = append(offers, m)
		}
	}
	if len(offers) == 0 {
		return in.Cluster.LeaderMember(), "leader"
	}
	// Spread several new replicas over the sources without a dice.
	h := fnv.New32a()
	h.Write([]byte(in.Self))
	return &offers[int(h.Sum32())%len(offers)], "replica"
}

// afterBootstrap is the end of a bootstrap, good or bad (3.3).
func afterBootstrap(in Input) Decision {
	if in.Memory.BootstrapFailed {
		return undoBootstrap(in)
	}
	if in.Tried.Acquire == Done || in.holder() {
		in.Memory.BootstrapDone = false
		return rest(in, Reason{Code: Initialized})
	}
	ours := registeredAsOurs(in)
	claimed := claimedByUs(in)
	switch {
	case !in.Local.SystemID.Valid():
		return restFor(in, retryPause, Reason{Code: RetryLater, Detail: "waiting for the new server's system identifier"})
	case in.Tried.Register == Done || ours:
		if in.Tried.Acquire == NotTried {
			return do(in, AcquireLeader{}, "the new cluster's first leader")
		}
		return restFor(in, retryPause, Reason{Code: RetryLater, Detail: "the new cluster is registered; the leader key could not be taken yet"})
	case !in.Local.Primary() && !isStarting(in) && claimed && in.Tried.Initialize == NotTried:
		// The claim goes first: a registration still on its way would make this
		// the cluster's only data, after they were moved aside.
		return do(in, UnclaimInitialize{Revision: in.Cluster.Initialize.Revision}, "the new server is gone; nothing can be registered after this")
	case !in.Local.Primary() && !isStarting(in) && claimed && in.Tried.Initialize != Done:
		return restFor(in, retryPause, Reason{Code: RetryLater, Detail: "the new server is gone; the claim on initialize could not be given back yet"})
	case !in.Local.Primary() && !isStarting(in):
		// Stopped or crashed before anybody knew of the new cluster.
		in.Memory.BootstrapDone, in.Memory.BootstrapFailed = false, true
		return undoBootstrap(in).saying(Line{Error, "PostgreSQL does not run as primary any more; giving this bootstrap up"})
	case !in.Local.Primary():
		return restFor(in, retryPause, Reason{Code: RetryLater, Detail: "waiting for end of recovery after bootstrap"})
	case claimed && in.Tried.Register == NotTried:
		if d, ok := bootstrapWatchdog(in); ok {
			return d
		}
		return do(in, RegisterCluster{ID: in.Local.SystemID, Revision: in.Cluster.Initialize.Revision}, "bootstrap finished")
	case claimed:
		return restFor(in, retryPause, Reason{Code: RetryLater, Detail: "the new cluster could not be registered yet"})
	default:
		// Our claim ran out meanwhile: somebody else may bootstrap.
		in.Memory.BootstrapDone, in.Memory.BootstrapFailed = false, true
		return undoBootstrap(in).saying(Line{Error, "the claim on initialize was lost during the bootstrap; giving this data directory up"})
	}
}

// registeredAsOurs says whether initialize holds our own system identifier.
func registeredAsOurs(in Input) bool {
	return in.Cluster != nil && in.Cluster.Initialize != nil && in.Local.SystemID.Valid() &&
		in.Cluster.Initialize.SystemID == in.Local.SystemID
}

// undoBootstrap cleans up and lets the next member try: data aside, then the
// key, then the end of this agent with the cause (3.3, last table).
func undoBootstrap(in Input) Decision {
	if !in.Memory.BootstrapCleaned {
		return startJob(in, JobSpec{Kind: JobUnbootstrap, Name: string(JobUnbootstrap)}, Reason{Code: BootstrapFailed, Detail: in.Memory.BootstrapWhy}).
			saying(Line{Info, "removing initialize key after failed attempt to bootstrap the cluster"})
	}
	init := in.Cluster.Initialize
	if claimedByUs(in) && in.Tried.Initialize == NotTried {
		return do(in, UnclaimInitialize{Revision: init.Revision}, "let the next member try")
	}
	return act(in, Exit{Code: 1}, Reason{Code: BootstrapFailed, Detail: in.Memory.BootstrapWhy})
}

// foreignCluster says whether the system identifier forbids going on (3.1).
func foreignCluster(in Input) bool {
	if in.Local.Data == DataForeign || !in.Local.SystemID.Valid() {
		return true
	}
	init := in.Cluster.Initialize
	if init != nil && init.SystemID.Valid() {
		return init.SystemID != in.Local.SystemID
	}
	return in.unlocked() && !in.Settings.Pause && in.Tried.Initialize != Done
}

// wrongSystem is section 3.1.
func wrongSystem(in Input) Decision {
	init := in.Cluster.Initialize
	switch {
	case in.Local.Data == DataForeign || !in.Local.SystemID.Valid():
		// A holder does not refresh: its key runs out.
		return rest(in, Reason{Code: SystemIDInvalid}).noting("the data directory holds no usable PostgreSQL data; reinitialize it with `pgha ctl reinit`")
	case init != nil && init.SystemID.Valid() && !in.Settings.Pause:
		return act(in, Exit{Code: exitRefused}, Reason{Code: SystemIDMismatch, Detail: string(init.SystemID) + " != " + string(in.Local.SystemID)}).
			saying(Line{Critical, "system ID mismatch, node " + in.Self + " belongs to a different cluster: " + string(init.SystemID) + " != " + string(in.Local.SystemID)})
	case init != nil && init.SystemID.Valid():
		warn := Line{Warning, "system ID has changed while in paused mode. Patroni will exit when resuming unless system ID is reset: " +
			string(init.SystemID) + " != " + string(in.Local.SystemID)}
		if in.holder() && in.Tried.Release == NotTried {
			return act(in, ReleaseLeader{}, Reason{Code: ReleasedMismatch}).saying(warn)
		}
		if in.Tried.Release != NotTried {
			return rest(in, Reason{Code: ReleasedMismatch}).saying(warn)
		}
		return otherSystemInPause(in).saying(warn).noting("its data belong to another cluster; the agent will exit when the pause ends")
	case standbyHere(in) && in.Tried.Initialize == NotTried && in.Tried.Upstream == UpstreamNotAsked:
		return do(in, AskUpstream{}, "is the server that this standby followed a primary")
	case standbyHere(in) && upstreamLives(in):
		return waitForUpstream(in)
	case in.Tried.Initialize == NotTried:
		put := PutSystemID{ID: in.Local.SystemID, Absent: init == nil}
		if init != nil {
			put.Revision = init.Revision
			if init.SystemID == "" && init.Lease != 0 && !claimedByUs(in) {
				return rest(in, Reason{Code: WaitingForBootstrap}) // a living member is at it
			}
		}
		return do(in, put, "the cluster is not registered")
	default:
		return restFor(in, retryPause, Reason{Code: RetryLater, Detail: "the cluster could not be registered in the DCS yet"})
	}
}

// standbyHere: what runs, or would be started, is a standby.
func standbyHere(in Input) bool {
	return in.Local.Alive && in.Local.InRecovery || !in.Local.Alive && in.Local.RecoverySignal
}

// waitForUpstream is rulings 16: whoever registers the cluster may lead it, and
// a standby must not while the primary it followed is alive.
func waitForUpstream(in Input) Decision {
	who := upstreamText(in)
	return restFor(in, retryPause, Reason{Code: WaitForPrimary, Detail: who}).
		noting("the cluster is unknown to the DCS; first start the agent of the member at " + who +
			". If this member is to lead instead, stop that server for good and run `pgha ctl adopt --member " + in.Self + " --force`")
}

// upstreamText names the server that this standby followed, and what it is.
func upstreamText(in Input) string {
	who := "the server in primary_conninfo"
	if in.Tried.UpstreamAt != "" {
		who = in.Tried.UpstreamAt
	}
	switch in.Tried.Upstream {
	case UpstreamPrimary:
		return who + ", which answers as a primary"
	case UpstreamFed:
		return who + ", a standby that receives WAL from a primary"
	case UpstreamIdle:
		return who + ", a standby that receives WAL from nobody"
	case UpstreamUnclear:
		return who + ", where a server is that cannot be asked (see the log)"
	}
	return who + ", from which this standby streamed a moment ago"
}

// otherSystemInPause: nobody here leads this cluster with these data, and
// what runs is left alone until the pause ends.
func otherSystemInPause(in Input) Decision {
	switch {
	case !in.Local.Alive:
		return rest(in, Reason{Code: PausedStopped})
	case in.Local.Primary():
		return rest(in, Reason{Code: PausedPrimaryNoLock})
	}
	return rest(in, Reason{Code: PausedIdle})
}

// upstreamLives says whether a primary may be alive behind the server that
// this standby followed, by what that answered and by the stream. A stream from
// a standby that itself receives from nobody is no sign of one once a ttl
// without a leader has passed: by then every primary's lease is over. Two
// standbys of which one follows the other would wait for ever, and so would
// two that follow each other.
func upstreamLives(in Input) bool {
	told := in.Tried.Upstream
	if told == UpstreamFed && fedByUs(in) {
		told = UpstreamIdle
	}
	switch told {
	case UpstreamDead:
		return streamedLately(in)
	case UpstreamIdle:
		since := in.Memory.UnlockedSince
		return streamedLately(in) && (since.IsZero() || in.Now.Sub(since) < in.Settings.TTL)
	}
	return true
}

// fedByUs says whether the server that this standby followed streams from here:
// what it receives is what it sends. It has one source only.
func fedByUs(in Input) bool {
	for _, m := range in.Cluster.Members {
		kv, err := postgres.ParseConninfo(m.ConnURL)
		if err == nil && kv["host"]+":"+cmp.Or(kv["port"], "5432") == in.Tried.UpstreamAt && slices.Contains(in.Local.Feeds, m.Name) {
			return true
		}
	}
	return false
}

// streamedLately: the WAL receiver is or was connected within ttl, so a
// primary without a key is probably alive.
func streamedLately(in Input) bool {
	return in.Local.Streaming ||
		!in.Local.StreamedAt.IsZero() && in.Now.Sub(in.Local.StreamedAt) < in.Settings.TTL
}

// startJob begins a long action; it ends the cycle with the given reason.
func startJob(in Input, spec JobSpec, r Reason) Decision { return act(in, StartJob{Job: spec}, r) }
