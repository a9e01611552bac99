package ha

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// view is the cluster in the DCS as a scenario tells it.
type view struct {
	leader     string
	initialize string
	members    []string
	changes    map[string][]string // per member, its `member` words
	optime     postgres.LSN
	slots      map[string]dcs.LSN
	retain     []string
	failover   *dcs.Failover
	sync       dcs.Sync
	history    []dcs.HistoryRow
	rawHistory string
	failsafe   map[string]string
	badConfig  bool
}

func newView() view {
	return view{leader: "b", initialize: ownSystemID, members: []string{"a", "b", "c"}, changes: map[string][]string{},
		optime: 0x5000000, rawHistory: "[]"}
}

func (v *view) add(name string) {
	if !slices.Contains(v.members, name) {
		v.members = append(slices.Clone(v.members), name)
		slices.Sort(v.members)
	}
}

func (v *view) set(args []string) error {
	return each(args, func(k, val string) error {
		switch k {
		case "leader":
			v.leader = strings.TrimPrefix(val, "-")
		case "initialize":
			v.initialize = val
			if val == "other" {
				v.initialize = otherSystemID
			}
		case "members":
			v.members = nil
			if val != "" {
				v.members = strings.Split(val, ",")
			}
		case "optime":
			return lsn(val, &v.optime)
		case "slots":
			v.slots = map[string]dcs.LSN{}
			return each(strings.Split(strings.ReplaceAll(val, ":", "="), ","), func(name, at string) error {
				var l postgres.LSN
				err := lsn(at, &l)
				v.slots[name] = l
				return err
			})
		case "retain":
			v.retain = strings.Split(val, ",")
		case "history":
			return v.setHistory(val)
		case "failsafe":
			v.failsafe = map[string]string{}
			for _, name := range strings.Split(val, ",") {
				v.failsafe[name] = "http://" + name + ":8008/patroni"
			}
		case "config":
			v.badConfig = val == "bad"
		default:
			return unknown(k)
		}
		return nil
	})
}

// setHistory reads rows `timeline:switch[:leader]`.
func (v *view) setHistory(val string) error {
	v.history, v.rawHistory = nil, ""
	switch val {
	case "-":
		return nil
	case "[]":
		v.rawHistory = "[]"
		return nil
	}
	v.rawHistory = "rows"
	for _, row := range strings.Split(val, ",") {
		f := strings.Split(row, ":")
		r := dcs.HistoryRow{Reason: "no recovery target specified"}
		if err := timeline(f[0], &r.Timeline); err != nil {
			return err
		}
		if err := lsn(f[1], &r.Switch); err != nil {
			return err
		}
		if len(f) > 2 {
			r.Timestamp, r.NewLeader = "2025-12-31T00:00:00+00:00", f[2]
		}
		v.history = append(v.history, r)
	}
	return nil
}

func (v *view) setMember(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("member needs a name")
	}
	changes := map[string][]string{}
	for name, words := range v.changes {
		changes[name] = words
	}
	changes[args[0]] = args[1:]
	v.changes = changes
	return change(&dcs.Member{}, args[1:])
}

func change(m *dcs.Member, words []string) error {
	return each(words, func(k, val string) error {
		if tag, ok := strings.CutPrefix(k, "tag."); ok {
			k = "tag"
			addTag(m, tag, val)
		}
		switch k {
		case "tag":
		case "nofailover", "nostream", "clonefrom":
			addTag(m, k, true)
		case "role":
			m.Role = postgres.Role(val)
		case "state":
			m.State = postgres.State(strings.ReplaceAll(val, "_", " "))
		case "lsn":
			return lsn(val, &m.Location)
		case "tl":
			return timeline(val, &m.Timeline)
		case "nourl":
			m.ConnURL = ""
		case "noapi":
			m.APIURL = ""
		case "cut":
			m.ReplicationState = ""
		case "archive":
			m.ReplicationState = "in archive recovery"
		case "patroni":
			m.Pgha = nil
		case "version":
			m.Version = val
		case "nolease":
			m.Lease = 0
		case "checkpoint-pending":
			no := false
			m.CheckpointAfterPromote = &no
		default:
			return unknown(k)
		}
		return nil
	})
}

func addTag(m *dcs.Member, name string, value any) {
	if m.Tags == nil {
		m.Tags = map[string]any{}
	}
	m.Tags[name] = value
}

// cluster is the view as one read returns it.
func (v *view) cluster() *dcs.Cluster {
	c := &dcs.Cluster{Revision: 100, Config: &dcs.Config{Raw: []byte("{}"), Valid: !v.badConfig, Revision: 10},
		Status: dcs.Status{Optime: v.optime, Slots: v.slots, RetainSlots: v.retain}, Failover: v.failover, FailoverRevision: 50,
		Sync: v.sync, History: v.history, HistoryRaw: v.rawHistory, Failsafe: v.failsafe}
	switch v.initialize {
	case "-":
	case "empty":
		c.Initialize = &dcs.Initialize{Revision: 20}
	case "theirs":
		c.Initialize = &dcs.Initialize{Revision: 20, Lease: storyLease + 1}
	case "mine":
		c.Initialize = &dcs.Initialize{Revision: 20, Lease: storyLease}
	default:
		c.Initialize = &dcs.Initialize{SystemID: postgres.SystemID(v.initialize), Revision: 20}
	}
	if v.leader != "" {
		c.Leader = &dcs.Leader{Name: v.leader, Lease: storyLease, Revision: 30}
	}
	for i, name := range v.members {
		m := dcs.Member{Name: name, Lease: dcs.LeaseID(100 + i), MemberData: dcs.MemberData{
			ConnURL: "postgres://" + name + ":5432/postgres", APIURL: "http://" + name + ":8008/patroni",
			State: postgres.StateRunning, Role: postgres.RoleReplica, Timeline: 1, Location: 0x5000000,
			ReplicationState: "streaming", Pgha: &dcs.PghaInfo{}}}
		if name == v.leader {
			m.Role = postgres.RolePrimary
		}
		_ = change(&m, v.changes[name]) // checked when it was told
		c.Members = append(c.Members, m)
	}
	return c
}

// setLocal tells what PostgreSQL here is like.
func (s *story) setLocal(k, v string) error {
	l := &s.in.Local
	run := func(alive, recovery bool, state postgres.State, role postgres.Role) {
		l.Alive, l.InRecovery, l.Queried, l.State, l.Role = alive, recovery, alive && state == postgres.StateRunning, state, role
		l.Data, l.StateSince = DataPresent, s.in.Now
		if alive {
			l.Control, l.RecoverySignal = ControlUnknown, false
		}
	}
	switch k {
	case "primary":
		run(true, false, postgres.StateRunning, postgres.RolePrimary)
		l.Control = ControlUnknown
	case "standby":
		run(true, true, postgres.StateRunning, postgres.RoleReplica)
	case "starting":
		run(true, true, postgres.StateStarting, l.Role)
	case "starting-primary": // no query is possible: the remembered role tells
		run(true, false, postgres.StateStarting, postgres.RolePrimary)
	case "stopped": // a standby, shut down
		run(false, true, postgres.StateStopped, postgres.RoleReplica)
		l.Control, l.RecoverySignal = ControlShutDownStdby, true
	case "demoted": // a primary, shut down
		run(false, true, postgres.StateStopped, postgres.RoleDemoted)
		l.Control, l.RecoverySignal = ControlShutDown, false
	case "crashed":
		run(false, true, postgres.StateCrashed, l.Role)
		l.Control = ControlProduction
		if l.Role != postgres.RolePrimary {
			l.Control = ControlArchiveRecover
		}
	case "empty":
		run(false, true, postgres.StateStopped, postgres.RoleUninitialized)
		l.Data, l.SystemID = DataEmpty, ""
	case "foreign":
		run(false, true, postgres.StateStopped, postgres.RoleReplica)
		l.Data, l.SystemID = DataForeign, ""
	case "unreadable":
		run(false, true, postgres.StateStopped, postgres.RoleReplica)
		l.Data, l.SystemID = DataUnreadable, ""
	case "half":
		run(false, true, postgres.StateStopped, postgres.RoleReplica)
		l.Data, l.SystemID = DataHalfBootstrapped, ownSystemID
	default:
		return s.setDetail(k, v)
	}
	return nil
}

func (s *story) setDetail(k, v string) error {
	l := &s.in.Local
	switch k {
	case "lsn":
		return lsn(v, &l.Location)
	case "checkpoint":
		return lsn(v, &l.CheckpointLSN)
	case "tl":
		return timeline(v, &l.Timeline)
	case "role":
		l.Role = postgres.Role(v)
	case "state":
		l.State = postgres.State(strings.ReplaceAll(v, "_", " "))
	case "control":
		l.Control = ControlState(strings.ReplaceAll(v, "_", " "))
	case "id":
		l.SystemID = postgres.SystemID(v)
		if v == "other" {
			l.SystemID = otherSystemID
		}
		if v == "own" {
			l.SystemID = ownSystemID
		}
	case "alive":
		l.Alive = true
	case "recovery":
		l.InRecovery = true
	case "streaming":
		l.Streaming, l.StreamedAt = true, s.in.Now
	case "feeds":
		l.Feeds = strings.Split(v, ",")
	case "streamed":
		var ago time.Duration
		err := duration(v, &ago)
		l.Streaming, l.StreamedAt = false, s.in.Now.Add(-ago)
		return err
	case "since":
		var ago time.Duration
		err := duration(v, &ago)
		l.StateSince = s.in.Now.Add(-ago)
		return err
	case "start-timeout":
		return duration(v, &l.StartTimeout)
	case "slots":
		l.Slots = map[string]postgres.LSN{}
		for _, name := range strings.Split(v, ",") {
			l.Slots[name] = l.Location
		}
	case "history":
		l.HistoryFile = nil
		for i, at := range strings.Split(v, ",") {
			var sw postgres.LSN
			if err := lsn(at, &sw); err != nil {
				return err
			}
			l.HistoryFile = append(l.HistoryFile, postgres.HistoryEntry{Timeline: postgres.Timeline(i + 1), Switch: sw, Reason: "no recovery target specified"})
		}
	case "label":
		l.BackupLabel = true
	case "half-rewound":
		l.HalfRewound = v != "no"
	case "norewind":
		l.RewindUsable, l.RewindUnusable = false, "use_pg_rewind is not set"
	case "unfenced":
		l.Unfenced = true
	case "superseded":
		l.Superseded = true
	default:
		return unknown(k)
	}
	return nil
}
