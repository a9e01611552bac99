package agent

// What the journal says of jobs and of requests for another leader.

import (
	"strings"
	"time"

	"pgha/agent/ha"
	"pgha/internal/dcs"
	"pgha/internal/journal"
)

// request records a request for another leader when it appears and when it is
// gone.
func (k *keeper) request(p Pass, seen *journal.Facts) {
	switch f := p.Wanted; {
	case f != nil:
		if k.wanted == nil || k.wanted.Revision != f.Revision {
			r := stamp(p, journal.KindRequest, "change_wanted", requestText(f), seen)
			r.Other = f.Candidate
			k.add(r)
		}
		k.wanted, k.asked = f, p.Wall
	case k.wanted != nil && (p.Wall.Sub(k.asked) > p.View.Settings.TTL || p.Wall.Before(k.asked)):
		k.wanted = nil // what follows has nothing to do with it
	}
}

func requestText(f *dcs.Failover) string {
	text := "failover to " + f.Candidate + " is asked for"
	if f.Leader != "" {
		text = "switchover from " + f.Leader + " is asked for"
		if f.Candidate != "" {
			text = "switchover from " + f.Leader + " to " + f.Candidate + " is asked for"
		}
	}
	if !f.ScheduledAt.IsZero() {
		text += ", at " + f.ScheduledAt.Format(time.RFC3339)
	}
	return text
}

// finished records how a long action ended.
func (k *keeper) finished(p Pass, seen *journal.Facts) {
	f := p.Finished
	if f == nil {
		return
	}
	kind := journal.KindJob
	switch f.Kind {
	case ha.JobRewind:
		kind = journal.KindRewind
	case ha.JobClone, ha.JobReinit, ha.JobBootstrap, ha.JobUnbootstrap:
		kind = journal.KindClone
	}
	r := stamp(p, kind, "job_done", jobText(f.JobSpec)+": done", seen)
	if !f.OK {
		r.Code, r.Text = "job_failed", jobText(f.JobSpec)+" failed: "+orCause(f.Err)
	}
	if f.PrePromoteFailed {
		r.Code = "pre_promote_failed"
	}
	if f.Source != nil {
		r.Other = f.Source.Name
	}
	r.Action = string(f.Kind)
	k.add(r)
}

func jobText(s ha.JobSpec) string {
	if s.Kind == ha.JobStop {
		return string(s.Mode) + " stop of PostgreSQL"
	}
	if s.Name != "" {
		return s.Name
	}
	return string(s.Kind)
}

func orCause(text string) string {
	if text == "" {
		return "for an unknown reason, see the log"
	}
	return strings.Join(strings.Fields(text), " ")
}
