package ha

// Facts of scenarios that are configured: settings, tags, watchdog.

import (
	"maps"
	"strconv"
	"time"

	"pgha/internal/config"
)

func storySettings() Settings {
	return Settings{Dynamic: config.Dynamic{TTL: 30 * time.Second, LoopWait: 10 * time.Second, RetryTimeout: 10 * time.Second,
		MaximumLagOnFailover: 1 << 20, PrimaryStartTimeout: 300 * time.Second, MemberSlotsTTL: 30 * time.Minute, UseSlots: true}}
}

func (s *story) setSetting(k, v string) error {
	set := &s.in.Settings
	switch k {
	case "pause":
		set.Pause = v != "off"
	case "ttl":
		return duration(v, &set.TTL)
	case "loop_wait":
		return duration(v, &set.LoopWait)
	case "start_timeout":
		return duration(v, &set.PrimaryStartTimeout)
	case "slots_ttl":
		return duration(v, &set.MemberSlotsTTL)
	case "lag":
		n, err := strconv.ParseInt(v, 10, 64)
		set.MaximumLagOnFailover = n
		return err
	case "max_history":
		n, err := strconv.Atoi(v)
		set.MaxTimelinesHistory = n
		return err
	case "check_timeline":
		set.CheckTimeline = true
	case "failsafe":
		set.FailsafeMode = true
	case "use_slots":
		set.UseSlots = v != "off"
	case "remove-on-diverged":
		set.RemoveOnDiverged = true
	case "remove-on-rewind-failure":
		set.RemoveOnRewindFailure = true
	case "permanent", "permanent-logical", "permanent-standby": // one more each time; - : none
		set.Slots = maps.Clone(set.Slots)
		if set.Slots == nil || v == "-" {
			set.Slots = map[string]config.Slot{}
		}
		switch {
		case v == "-":
		case k == "permanent-logical":
			set.Slots[v] = config.Slot{Type: "logical", Database: "postgres", Plugin: "pgoutput"}
		case k == "permanent-standby":
			set.Slots[v] = config.Slot{Type: "physical", ClusterType: "standby"}
		default:
			set.Slots[v] = config.Slot{Type: "physical", ClusterType: "primary"}
		}
	case "no_leader": // a replica method works without a leader
		set.ClonesLeaderless = true
	case "unsupported":
		set.Unsupported = []config.Finding{{Path: "synchronous_mode", Message: "synchronous_mode is not supported yet"}}
	default:
		return unknown(k)
	}
	return nil
}

func (s *story) setTag(k, v string) error {
	switch k {
	case "nofailover":
		s.in.Tags.NoFailover, s.in.Tags.FailoverPriority = true, 0
	case "nostream":
		s.in.Tags.NoStream = true
	case "replicatefrom":
		s.in.Tags.ReplicateFrom = v
	case "priority":
		n, err := strconv.Atoi(v)
		s.in.Tags.FailoverPriority = n
		return err
	case "nobootstrap": // no bootstrap section in the own configuration
		s.in.CanBootstrap = false
	default:
		return unknown(k)
	}
	return nil
}

func (s *story) setWatchdog(k, _ string) error {
	switch k {
	case "failed":
		s.in.WatchdogFailed = true
		return nil
	case "unused":
		s.in.Watchdog = WatchdogUnused
	case "idle":
		s.in.Watchdog = WatchdogIdle
	case "active":
		s.in.Watchdog = WatchdogActive
	default:
		return unknown(k)
	}
	s.in.WatchdogFailed = false
	return nil
}
