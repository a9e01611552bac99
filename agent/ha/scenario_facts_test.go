package ha

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// The notation: a line is a topic and tokens, a token is `word` or `key=value`.
//
//	cluster  leader=b|- initialize=<id>|other|empty|mine|- members=a,b,c optime=0/5 slots=b:0/5 retain=x
//	         history=1:0/3:b|[]|- failsafe=a,b config=bad
//	member b role= state= lsn= tl= nofailover nourl noapi nolease checkpoint-pending cut archive patroni tag.X=
//	failover leader= candidate= at=+10s nozone      failover -
//	sync     leader= standbys=b,c
//	local    primary|standby|starting|starting-primary|stopped|demoted|crashed|empty|foreign|unreadable|half  lsn= tl= role= id= ...
//	set      pause ttl= loop_wait= start_timeout= lag= check_timeline failsafe slots_ttl= use_slots=off permanent= permanent-logical= permanent-standby=
//	         remove-on-diverged remove-on-rewind-failure unsupported
//	tags     nofailover nostream replicatefrom= priority=
//	peer b   lsn= tl= primary nofailover watchdog-failed priority= patroni silent down cut (does not stream)
//	agree    b=yes|no|silent c=yes@0/5 (answers to POST /failsafe)
//	promise  b heard=-5s until=25s slots=a:0/5 mixed (agreed with b); promise -
//	born     -5s (when this agent began)
//	health   well | connect|data_write|wal_write failures=3 for=10s hanging | crowded | stay (the last three of any)
//	try      renew= acquire= release= handover= failover= initialize= register= config= (done, refused, failed)
//	         follow=same|changed|restart|failed examine=same|diverged|undecided|split upstream=dead|idle|primary|fed|unclear
//	reload   as cluster, or: silent
//	job      <kind> phase=shutdown|promoting checkpoint= canceled age=
//	finished ok|failed|unreachable|still-starting checkpoint=
//	request  restart|reinit role= force pending pending-now timeout=
//	watchdog unused|idle|active failed
//	time     now=+5s lease=12s (left of the leader key)
//	memory   led (a view with a leader was read) rewind= recovering recovered retry=2s
//	dcs      silent|answers            shutdown stop|detach          lost (a new agent: memory gone)
func (s *story) fact(words []string) error {
	if len(words) == 0 {
		return nil
	}
	args := words[1:]
	switch words[0] {
	case "cluster":
		return s.view.set(args)
	case "member":
		return s.view.setMember(args)
	case "failover":
		return s.setFailover(args)
	case "sync":
		return each(args, func(k, v string) error {
			switch k {
			case "leader":
				s.view.sync.Leader = v
			case "standbys":
				s.view.sync.Standbys = strings.Split(v, ",")
			default:
				return unknown(k)
			}
			return nil
		})
	case "reload":
		s.reload = args
	case "agree", "promise", "born":
		return s.setFailsafe(words[0], args)
	case "dcs":
		s.silent = args[0] == "silent"
	case "shutdown":
		s.in.Shutdown = ShutdownStop
		if args[0] == "detach" {
			s.in.Shutdown = ShutdownDetach
		}
	case "lost":
		s.in.Memory, s.running, s.in.Job = Memory{}, nil, nil
	case "local":
		return each(args, s.setLocal)
	case "set":
		return each(args, s.setSetting)
	case "tags":
		return each(args, s.setTag)
	case "health":
		return s.setHealth(args)
	case "peer":
		return s.setPeer(args)
	case "try":
		return each(args, s.setScript)
	case "job":
		return s.setJob(args)
	case "finished":
		return s.setFinished(args)
	case "watchdog":
		return each(args, s.setWatchdog)
	case "request":
		return s.setRequest(args)
	case "time":
		return each(args, s.setTime)
	case "memory":
		return each(args, s.setMemory)
	default:
		return unknown(words[0])
	}
	return nil
}

func unknown(word string) error { return fmt.Errorf("unknown word %q", word) }

func each(args []string, set func(k, v string) error) error {
	for _, a := range args {
		k, v, _ := strings.Cut(a, "=")
		if err := set(k, v); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) setFailover(args []string) error {
	s.view.failover = nil
	if len(args) == 1 && args[0] == "-" {
		return nil
	}
	f := &dcs.Failover{Revision: 50}
	err := each(args, func(k, v string) error {
		switch k {
		case "leader":
			f.Leader = v
		case "candidate":
			f.Candidate = v
		case "at":
			d, err := time.ParseDuration(v)
			f.ScheduledAt = s.in.Wall.Add(d)
			return err
		case "nozone":
			f.NoZone, f.ScheduledAt = true, s.in.Wall.Add(time.Hour)
		default:
			return unknown(k)
		}
		return nil
	})
	s.view.failover = f
	return err
}

func (s *story) setPeer(args []string) error {
	p := Peer{Name: args[0], Answered: true, Running: true, Streaming: true, Location: 0x5000000, Timeline: 1, Priority: 1, Pgha: true}
	err := each(args[1:], func(k, v string) error {
		switch k {
		case "silent":
			p = Peer{Name: args[0], Fault: "no answer"}
		case "primary":
			p.Primary = true
		case "down":
			p.Running, p.Streaming, p.Location = false, false, 0
		case "cut":
			p.Streaming = false
		case "nofailover":
			p.NoFailover = true
		case "watchdog-failed":
			p.WatchdogFailed = true
		case "unwell":
			p.Unwell = "data_write: no space left on device"
		case "patroni":
			p.Pgha = false
		case "lsn":
			return lsn(v, &p.Location)
		case "tl":
			return timeline(v, &p.Timeline)
		case "priority":
			n, err := strconv.Atoi(v)
			p.Priority = n
			return err
		default:
			return unknown(k)
		}
		return nil
	})
	s.peers[p.Name] = p
	return err
}

func (s *story) setTime(k, v string) error {
	var d time.Duration
	err := duration(v, &d)
	switch k {
	case "now":
		s.pass(d)
	case "lease":
		s.in.LeaderUntil = s.in.Now.Add(d)
	default:
		return unknown(k)
	}
	return err
}

func (s *story) setMemory(k, v string) error {
	m := &s.in.Memory
	switch k {
	case "rewind":
		i := slices.Index(rewindNames, v)
		m.Rewind = RewindState(i)
		if i < 0 {
			return unknown(v)
		}
	case "recovering":
		m.Recovering = true
	case "recovered":
		m.CrashRecovered = true
	case "led": // the last view that was read is that of above, led by b if by nobody
		c := *s.view.cluster()
		if c.Leader == nil {
			c.Leader = &dcs.Leader{Name: "b"}
		}
		m.LastLed, s.in.Failsafe.Members = &c, c.Failsafe
	case "bootstrap-done":
		m.BootstrapDone = true
	default:
		return unknown(k)
	}
	return nil
}

func duration(v string, to *time.Duration) (err error) {
	*to, err = time.ParseDuration(v)
	return err
}

func lsn(v string, to *postgres.LSN) (err error) {
	*to, err = postgres.ParseLSN(v)
	return err
}

func timeline(v string, to *postgres.Timeline) error {
	n, err := strconv.ParseUint(v, 10, 32)
	*to = postgres.Timeline(n)
	return err
}

func (s *story) setScript(k, v string) error {
	outcomes := map[string]*Outcome{"renew": &s.script.renew, "acquire": &s.script.acquire, "release": &s.script.release,
		"handover": &s.script.handOver, "failover": &s.script.failover, "initialize": &s.script.initialize,
		"register": &s.script.register, "config": &s.script.config, "watchdog": &s.script.watchdog}
	if o := outcomes[k]; o != nil {
		for _, known := range []Outcome{Done, Refused, Failed} {
			if outcomeName(known) == v {
				*o = known
				return nil
			}
		}
		return unknown(v)
	}
	switch k {
	case "upstream":
		for o, name := range upstreamNames {
			if name == v {
				s.script.upstream = o
				return nil
			}
		}
	case "follow":
		for _, o := range []FollowOutcome{FollowSame, FollowChanged, FollowRestart, FollowFailed} {
			if followName(o) == v {
				s.script.follow = o
				return nil
			}
		}
	case "examine":
		for _, o := range []ExamineOutcome{ExamineSame, ExamineDiverged, ExamineUndecided, ExamineSplit} {
			if examineName(o) == v {
				s.script.examine, s.script.why = o, "timeline 1 was left at 0/4000000"
				return nil
			}
		}
	}
	return unknown(k + "=" + v)
}
