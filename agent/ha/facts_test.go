package ha

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// world is the input of a scenario's cycle, and how its attempts end.
type world struct {
	in       Input
	outcomes map[string]Outcome
	peers    map[string]Peer
	follow   FollowOutcome
	examine  ExamineOutcome
	now      string // who leads when the cluster is read again; empty: as before
}

const (
	ourSystem   postgres.SystemID = "7400000000000000001"
	otherSystem postgres.SystemID = "7400000000000000002"
)

// parseFacts reads facts: words `key=value` or `key`. A line that begins with
// peer= or member= is about that member, all others about the cluster as the
// deciding member sees it. A word nobody knows is an error.
func parseFacts(self, text string) (*world, error) {
	w := defaults(self)
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		set := w.fact
		if name, ok := strings.CutPrefix(words[0], "peer="); ok {
			w.peers[name] = Peer{Name: name, Answered: true, Running: true, Timeline: 1, Location: 0x5000000, Priority: 1, Pgha: true}
			set, words = w.aboutPeer(name), words[1:]
		} else if name, ok := strings.CutPrefix(words[0], "member="); ok {
			set, words = w.aboutMember(name), words[1:]
		}
		for _, word := range words {
			key, value, _ := strings.Cut(word, "=")
			if err := set(key, value); err != nil {
				return nil, fmt.Errorf("fact %q: %w", word, err)
			}
		}
	}
	w.finish()
	return w, nil
}

func defaults(self string) *world {
	c := &dcs.Cluster{
		Revision: 100, HistoryRaw: "[]", Initialize: &dcs.Initialize{SystemID: ourSystem, Revision: 1},
		Config: &dcs.Config{Raw: []byte("{}"), Valid: true, Revision: 2},
	}
	for i, name := range []string{"a", "b", "c"} {
		c.Members = append(c.Members, dcs.Member{Name: name, Lease: dcs.LeaseID(i + 1), MemberData: dcs.MemberData{
			ConnURL: "postgres://" + name, APIURL: "http://" + name, State: postgres.StateRunning, Role: postgres.RoleReplica, Timeline: 1}})
	}
	return &world{
		outcomes: map[string]Outcome{}, peers: map[string]Peer{}, follow: FollowSame, examine: ExamineSame,
		in: Input{
			Now: clock.Instant(1000 * time.Second), Wall: time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC), Self: self,
			Settings: Settings{Dynamic: config.Dynamic{TTL: 30 * time.Second, LoopWait: 10 * time.Second, RetryTimeout: 10 * time.Second,
				MaximumLagOnFailover: 1 << 20, PrimaryStartTimeout: 300 * time.Second, UseSlots: true, MemberSlotsTTL: 30 * time.Minute}},
			Tags: config.Tags{FailoverPriority: 1}, CanBootstrap: true, Cluster: c, Lease: dcs.LeaseID(self[0]-'a') + 1,
			Local: Local{SystemID: ourSystem, Alive: true, State: postgres.StateRunning, Role: postgres.RoleReplica, InRecovery: true,
				Queried: true, Timeline: 1, Location: 0x5000000, RewindUsable: true, MajorVersion: 17},
			Memory: Memory{UnlockedSince: clock.Instant(999 * time.Second)},
		},
	}
}

// finish makes facts that depend on others.
func (w *world) finish() {
	in := &w.in
	if !in.Local.Alive || in.Local.State != postgres.StateRunning {
		in.Local.Queried, in.Local.Timeline, in.Local.Location = false, 0, 0
	}
	if in.Local.Primary() && in.Local.Timeline == 2 {
		in.Local.HistoryFile = []postgres.HistoryEntry{{Timeline: 1, Switch: 0x4000000, Reason: "no recovery target specified"}}
	}
	if c := in.Cluster; c != nil && c.Leader != nil {
		in.Memory.UnlockedSince = 0
		if m := c.Member(c.Leader.Name); m != nil {
			m.Role = postgres.RolePrimary
		}
		if c.Leader.Name == in.Self && in.LeaderUntil == 0 {
			in.LeaderUntil = in.Now.Add(20 * time.Second)
		}
	}
}

// reread is the cluster as a second read finds it.
func (w *world) reread() *dcs.Cluster {
	c := *w.in.Cluster
	if w.now != "" {
		c.Leader = &dcs.Leader{Name: w.now, Lease: 9, Revision: 50}
	}
	return &c
}

// settle is how an attempt ends.
func (w *world) settle(what string, tried *Outcome) string {
	*tried = Done
	if o, ok := w.outcomes[what]; ok {
		*tried = o
	}
	return [...]string{"", "done", "refused", "no answer"}[*tried]
}

var outcomeNames = []string{"", "done", "refused", "failed"}

// fact is one word about the cluster or the deciding member.
func (w *world) fact(key, value string) error {
	for _, group := range []func(string, string) (bool, error){w.aboutCluster, w.aboutLocal, w.aboutSettings, w.aboutCourse} {
		if known, err := group(key, value); known || err != nil {
			return err
		}
	}
	return fmt.Errorf("nobody knows this word")
}

func (w *world) aboutCluster(key, value string) (bool, error) {
	c := w.in.Cluster
	switch key {
	case "leader":
		c.Leader = nil
		if value != "-" {
			c.Leader = &dcs.Leader{Name: value, Lease: dcs.LeaseID(value[0]-'a') + 1, Revision: 50}
		}
	case "former":
		led := *c
		led.Leader = &dcs.Leader{Name: value}
		w.in.Memory.LastLed = &led
	case "initialize":
		switch value {
		case "-":
			c.Initialize = nil
		case "other":
			c.Initialize.SystemID = otherSystem
		case "ours":
			c.Initialize = &dcs.Initialize{Lease: w.in.Lease, Revision: 7}
		case "claimed":
			c.Initialize = &dcs.Initialize{Lease: 77, Revision: 7}
		}
	case "config":
		c.Config = nil
	case "optime":
		lsn, err := postgres.ParseLSN(value)
		c.Status.Optime = lsn
		return true, err
	case "cluster-timeline":
		tl, err := strconv.Atoi(value)
		c.History = []dcs.HistoryRow{{Timeline: postgres.Timeline(tl - 1), Switch: 0x4000000, Timestamp: "then", NewLeader: "b"}}
		return true, err
	case "failover", "switchover":
		return true, w.failover(value)
	case "sync":
		leader, standbys, _ := strings.Cut(value, "/")
		c.Sync = dcs.Sync{Leader: leader, Standbys: strings.Split(standbys, ",")}
	case "dcs":
		w.in.Cluster = nil
	case "reread":
		w.now = value
	default:
		return false, nil
	}
	return true, nil
}

// failover reads leader:candidate, with @seconds until it is due.
func (w *world) failover(value string) error {
	who, at, scheduled := strings.Cut(value, "@")
	leader, candidate, _ := strings.Cut(who, ":")
	f := &dcs.Failover{Leader: leader, Candidate: candidate, Revision: 60}
	if scheduled {
		d, err := time.ParseDuration(at)
		if err != nil {
			return err
		}
		f.ScheduledAt = w.in.Wall.Add(d)
	}
	w.in.Cluster.Failover = f
	return nil
}

func (w *world) aboutLocal(key, value string) (bool, error) {
	l := &w.in.Local
	switch key {
	case "primary":
		l.Role, l.InRecovery = postgres.RolePrimary, false
	case "role":
		l.Role = postgres.Role(value)
	case "stopped", "crashed":
		l.Alive, l.InRecovery, l.State = false, true, postgres.State(key)
	case "starting":
		d, err := time.ParseDuration(value)
		l.State, l.StateSince = postgres.StateStarting, w.in.Now.Add(-d)
		return true, err
	case "control":
		l.Control = ControlState(strings.ReplaceAll(value, "_", " "))
	case "signal":
		l.RecoverySignal = true
	case "data":
		l.Data = map[string]DataDir{"empty": DataEmpty, "foreign": DataForeign, "unreadable": DataUnreadable, "half": DataHalfBootstrapped}[value]
		l.Alive, l.State, l.Role, l.SystemID = false, postgres.StateStopped, postgres.RoleUninitialized, ""
	case "system":
		l.SystemID = otherSystem
	case "lsn":
		lsn, err := postgres.ParseLSN(value)
		l.Location = lsn
		return true, err
	case "tl":
		tl, err := strconv.Atoi(value)
		l.Timeline = postgres.Timeline(tl)
		return true, err
	case "streaming":
		l.Streaming = true
	case "no-rewind":
		l.RewindUsable, l.RewindUnusable = false, "wal_log_hints is off"
	case "half-rewound":
		l.HalfRewound = true
	case "until":
		d, err := time.ParseDuration(value)
		w.in.LeaderUntil = w.in.Now.Add(d)
		return true, err
	default:
		return false, nil
	}
	return true, nil
}

func (w *world) aboutSettings(key, value string) (bool, error) {
	s := &w.in.Settings
	switch key {
	case "pause":
		s.Pause, w.in.Memory.Paused = true, true
	case "nofailover":
		w.in.Tags.NoFailover = true
	case "nostream":
		w.in.Tags.NoStream = true
	case "replicatefrom":
		w.in.Tags.ReplicateFrom = value
	case "no-bootstrap":
		w.in.CanBootstrap = false
	case "check-timeline":
		s.CheckTimeline = true
	case "start-timeout":
		d, err := time.ParseDuration(value)
		s.PrimaryStartTimeout = d
		return true, err
	case "remove-on-diverged":
		s.RemoveOnDiverged = true
	case "remove-on-failure":
		s.RemoveOnRewindFailure = true
	case "unsupported":
		s.Unsupported = []config.Finding{{Message: value}}
	default:
		return false, nil
	}
	return true, nil
}

// aboutCourse is what went before, and how attempts of this cycle end.
func (w *world) aboutCourse(key, value string) (bool, error) {
	m := &w.in.Memory
	switch key {
	case "job":
		w.in.Job = &Job{JobSpec: JobSpec{Kind: jobs[value], Name: strings.ReplaceAll(value, "-", " ")}, Started: w.in.Now.Add(-time.Second)}
	case "phase":
		w.in.Job.Phase, w.in.Job.CheckpointLSN = Phase(strings.ReplaceAll(value, "_", " ")), 0x5000000
	case "canceled":
		w.in.Job.Canceled = true
	case "ended", "failed":
		w.in.Finished = &JobResult{JobSpec: JobSpec{Kind: jobs[value]}, OK: key == "ended", Err: "it broke"}
		if w.in.Finished.OK && jobs[value] == JobStop {
			w.in.Finished.CheckpointLSN = 0x5000000
		}
	case "rewind":
		m.Rewind = RewindState(slices.Index([]string{"initial", "check", "need", "not-need", "success", "failed"}, value))
		m.RewindWhy = "the log left timeline 1"
	case "recovering":
		m.Recovering = true
	case "recovered":
		m.CrashRecovered = true
	case "bootstrapped":
		m.BootstrapDone = true
	case "cleaned":
		m.BootstrapFailed, m.BootstrapCleaned = true, true
	case "released":
		d, err := time.ParseDuration(value)
		m.Released = w.in.Now.Add(-d)
		return true, err
	case "unlocked":
		d, err := time.ParseDuration(value)
		m.UnlockedSince = w.in.Now.Add(-d)
		return true, err
	case "demotion":
		m.Demotion = &Demotion{Mode: DemotionMode(value), Since: w.in.Now, Timeline: 1}
	case "demotion-to":
		m.Demotion.Candidate = value
	case "down":
		d, err := time.ParseDuration(value)
		m.Demotion.Stopped, m.Demotion.Down, m.Demotion.Checkpoint = true, w.in.Now.Add(-d), 0x5000000
		return true, err
	case "shutdown":
		w.in.Shutdown = map[string]Shutdown{"stop": ShutdownStop, "detach": ShutdownDetach}[value]
	case "request":
		w.in.Request = &Request{ID: 1, Kind: map[string]RequestKind{"restart": RequestRestart, "reinit": RequestReinit}[value]}
	case "request-role":
		w.in.Request.Role = postgres.Role(value)
	case "follow":
		w.follow = map[string]FollowOutcome{"same": FollowSame, "changed": FollowChanged, "restart": FollowRestart, "failed": FollowFailed}[value]
	case "examine":
		w.examine = map[string]ExamineOutcome{"same": ExamineSame, "diverged": ExamineDiverged, "undecided": ExamineUndecided}[value]
	case "renew", "acquire", "release", "handover", "register", "claim", "clear":
		if key == "claim" {
			key = "initialize"
		}
		w.outcomes[strings.Replace(key, "clear", "failover", 1)] = Outcome(slices.Index(outcomeNames, value))
	default:
		return false, nil
	}
	return true, nil
}

var jobs = map[string]JobKind{
	"bootstrap": JobBootstrap, "clone": JobClone, "promote": JobPromote, "restart": JobRestart, "stop": JobStop, "demote": JobStop,
	"rewind": JobRewind, "start-standby": JobStartStandby, "start-primary": JobStartPrimary, "crash-recovery": JobCrashRecovery,
	"unbootstrap": JobUnbootstrap, "reinit": JobReinit,
}

// aboutPeer sets what a peer answers.
func (w *world) aboutPeer(name string) func(key, value string) error {
	return func(key, value string) error {
		p := w.peers[name]
		defer func() { w.peers[name] = p }()
		switch key {
		case "lsn":
			lsn, err := postgres.ParseLSN(value)
			p.Location = lsn
			return err
		case "tl":
			tl, err := strconv.Atoi(value)
			p.Timeline = postgres.Timeline(tl)
			return err
		case "primary":
			p.Primary = true
		case "priority":
			n, err := strconv.Atoi(value)
			p.Priority = n
			return err
		case "nofailover":
			p.NoFailover = true
		case "patroni":
			p.Pgha = false
		default:
			return fmt.Errorf("nobody knows this word about a peer")
		}
		return nil
	}
}

// aboutMember changes a member's key.
func (w *world) aboutMember(name string) func(key, value string) error {
	return func(key, value string) error {
		m := w.in.Cluster.Member(name)
		switch key {
		case "gone":
			w.in.Cluster.Members = slices.DeleteFunc(w.in.Cluster.Members, func(m dcs.Member) bool { return m.Name == name })
		case "tl":
			tl, err := strconv.Atoi(value)
			m.Timeline = postgres.Timeline(tl)
			return err
		case "checkpoint-outstanding":
			no := false
			m.CheckpointAfterPromote = &no
		case "clonefrom", "nofailover", "nostream":
			m.Tags = map[string]any{key: true}
		default:
			return fmt.Errorf("nobody knows this word about a member")
		}
		return nil
	}
}
