package ha

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"pgha/internal/clock"
	"pgha/internal/dcs"
)

var rewindNames = []string{"initial", "check", "need", "not-needed", "success", "failed"}

var upstreamNames = map[UpstreamOutcome]string{UpstreamDead: "dead", UpstreamIdle: "idle", UpstreamPrimary: "primary", UpstreamFed: "fed", UpstreamUnclear: "unclear"}

func levelName(l Level) string {
	return map[Level]string{Info: "info", Warning: "warning", Error: "error", Critical: "critical"}[l]
}

func outcomeName(o Outcome) string {
	return map[Outcome]string{Done: "done", Refused: "refused", Failed: "failed"}[o]
}

func followName(o FollowOutcome) string {
	return map[FollowOutcome]string{FollowSame: "same", FollowChanged: "changed", FollowRestart: "restart", FollowFailed: "failed"}[o]
}

func examineName(o ExamineOutcome) string {
	return map[ExamineOutcome]string{ExamineSame: "same", ExamineDiverged: "diverged", ExamineUndecided: "undecided", ExamineSplit: "split"}[o]
}

// because gives a step's reason in brackets; a result's stands in its own line.
func because(r Reason) string {
	if r.Code == Stepping {
		return " (" + r.Detail + ")"
	}
	return " [" + string(r.Code) + "]"
}

// describe is an action in one line.
func describe(a Action) string {
	switch a := a.(type) {
	case Rest:
		if a.Again == 0 {
			return "rest"
		}
		return "rest " + a.Again.String()
	case Exit:
		return fmt.Sprintf("exit %d", a.Code)
	case StartJob:
		return "start " + describeJob(a.Job)
	case RenewLeader:
		return "renew" + statusText(a.Status) + failsafeText(a.Failsafe)
	case ReleaseLeader:
		if a.Optime != 0 {
			return "release optime=" + a.Optime.String()
		}
		return "release"
	case HandOver:
		return fmt.Sprintf("hand over to %s optime=%s", a.To.Name, a.Optime)
	case AskFailsafe:
		return "ask to agree " + memberNames(a.Members, "")
	case ExtendLeadership:
		return "extend leadership"
	case AskPeers:
		return "ask " + memberNames(a.Members, a.Slow)
	case Follow:
		return "follow " + source(a.Source)
	case Examine:
		return "examine against " + a.Leader.Name
	case SyncSlots:
		if a.Only != nil {
			return "drop only slots " + strings.Join(a.Only, " ")
		}
		return "slots " + slotsText(a.Want)
	case Answer:
		return fmt.Sprintf("answer %d %q", a.Code, a.Text)
	case SetRole:
		if a.Announce {
			return "role " + string(a.Role) + ", announced"
		}
		return "role " + string(a.Role)
	case WriteHistory:
		return "history " + historyText(a.Rows)
	case PutSystemID:
		return fmt.Sprintf("initialize=%s%s", a.ID, guardText(a.Absent, a.Revision))
	case RegisterCluster:
		return fmt.Sprintf("register %s%s", a.ID, guardText(false, a.Revision))
	case RestoreConfig:
		return "restore config" + guardText(a.Revision == 0, a.Revision)
	case ClearFailover:
		return "clear failover" + guardText(false, a.Revision)
	case RewriteFailover:
		return "failover candidate=" + a.Request.Candidate
	case UnclaimInitialize:
		return "delete initialize" + guardText(false, a.Revision)
	}
	names := map[Action]string{Reload{}: "reload", Reload{Briefly: true}: "reload briefly", TouchMember{}: "write member key", ClaimInitialize{}: "claim initialize",
		AskUpstream{}: "ask the server in primary_conninfo", AcquireLeader{}: "acquire", CancelJob{}: "cancel job"}
	return names[a]
}

func guardText(absent bool, rev dcs.Revision) string {
	switch {
	case absent:
		return " if absent"
	case rev != 0:
		return fmt.Sprintf(" if at %d", rev)
	}
	return ""
}

func describeJob(j JobSpec) string {
	out := "job"
	for _, w := range jobWords {
		if w.kind == j.Kind {
			out = w.word
		}
	}
	if j.Name != string(j.Kind) {
		out += fmt.Sprintf(" %q", j.Name)
	}
	switch j.Kind {
	case JobStop:
		out += " " + string(j.Mode)
		if j.Checkpoint {
			out += " with checkpoint"
		}
	case JobPromote, JobCrashRecovery, JobBootstrap, JobUnbootstrap:
	case JobStartPrimary:
	default:
		out += " from " + source(j.Source)
	}
	if j.BaseBackupOnly {
		out += " by base backup"
	}
	if j.Kind == JobRestart {
		out += " as " + string(j.Role)
	}
	if j.Timeout != 0 {
		out += " within " + j.Timeout.String()
	}
	return out
}

func source(m *dcs.Member) string {
	if m == nil {
		return "nobody"
	}
	return m.Name
}

func memberNames(members []dcs.Member, slow string) string {
	if len(members) == 0 {
		return "nobody"
	}
	var out []string
	for _, m := range members {
		if m.Name == slow {
			out = append(out, m.Name+"(briefly)")
			continue
		}
		out = append(out, m.Name)
	}
	return strings.Join(out, " ")
}

func peersText(peers []Peer) string {
	var out []string
	for _, p := range peers {
		switch {
		case !p.Answered:
			out = append(out, p.Name+" silent")
		case p.Primary:
			out = append(out, p.Name+" "+p.Location.String()+" primary")
		default:
			out = append(out, p.Name+" "+p.Location.String())
		}
	}
	if len(out) == 0 {
		return "nobody"
	}
	return strings.Join(out, ", ")
}

func statusText(s *dcs.Status) string {
	if s == nil {
		return ""
	}
	out := " optime=" + s.Optime.String()
	if len(s.RetainSlots) > 0 {
		out += " retain=" + strings.Join(s.RetainSlots, ",")
	}
	var slots []string
	for name, at := range s.Slots {
		slots = append(slots, name+":"+at.String())
	}
	if len(slots) > 0 {
		sort.Strings(slots)
		out += " slots=" + strings.Join(slots, ",")
	}
	return out
}

func slotsText(want []SlotWant) string {
	if len(want) == 0 {
		return "none"
	}
	var out []string
	for _, w := range want {
		word := w.Name + ":idle"
		switch {
		case w.Active:
			word = w.Name + ":active"
		case w.Logical:
			word = w.Name + ":logical"
		case w.Retained:
			word = w.Name + ":retained"
		}
		if w.LSN != 0 {
			word += "@" + w.LSN.String()
		}
		out = append(out, word)
	}
	return strings.Join(out, " ")
}

func historyText(rows []dcs.HistoryRow) string {
	if len(rows) == 0 {
		return "[]"
	}
	var out []string
	for _, r := range rows {
		out = append(out, fmt.Sprintf("%d:%s:%s", r.Timeline, r.Switch, orDash(r.NewLeader)))
	}
	return strings.Join(out, " ")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// memoryChanges lists what the cycle left different in Memory, one line, or
// nothing. LastLed, SlotSeen and the like change too often to be told.
func memoryChanges(now clock.Instant, before, after Memory) string {
	was, is := memoryWords(now, before), memoryWords(now, after)
	var out []string
	for i := range is {
		if was[i] != is[i] {
			out = append(out, is[i])
		}
	}
	if len(out) == 0 {
		return ""
	}
	return "memory: " + strings.Join(out, " ") + "\n"
}

func memoryWords(now clock.Instant, m Memory) []string {
	demotion := "-"
	if d := m.Demotion; d != nil {
		demotion = string(d.Mode)
		for _, part := range []struct {
			on   bool
			text string
		}{{d.Stopped, "stopped"}, {d.Checkpoint != 0, "checkpoint " + d.Checkpoint.String()}, {d.Released, "released"},
			{d.Candidate != "", "for " + d.Candidate}, {d.HandedTo != "", "handed to " + d.HandedTo}} {
			if part.on {
				demotion += "," + part.text
			}
		}
	}
	at := func(i clock.Instant) string {
		if i.IsZero() {
			return "-"
		}
		return fmt.Sprintf("%+ds", int(i.Sub(now)/time.Second))
	}
	return []string{
		"rewind=" + rewindNames[m.Rewind], "recovering=" + fmt.Sprint(m.Recovering), "crash-recovered=" + fmt.Sprint(m.CrashRecovered),
		"demotion=" + demotion, "unlocked-since=" + at(m.UnlockedSince), "released=" + at(m.Released),
		"pre-promote-failed=" + fmt.Sprint(m.PrePromoteFailed), "gave-way=" + at(m.GaveWay),
		"retry=" + at(m.RetryAfter), "check-since=" + at(m.CheckSince), "bootstrap-done=" + fmt.Sprint(m.BootstrapDone),
		"bootstrap-failed=" + fmt.Sprint(m.BootstrapFailed), "bootstrap-cleaned=" + fmt.Sprint(m.BootstrapCleaned),
		"paused=" + fmt.Sprint(m.Paused), "stop-failed=" + fmt.Sprint(m.StopFailed),
		"failsafe-since=" + at(m.FailsafeSince), "sender-done=" + fmt.Sprint(!m.SenderDone.IsZero()),
	}
}
