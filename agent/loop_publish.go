package agent

// What a cycle leaves: the view for REST and the journal, and the member key.

import (
	"bytes"
	"context"
	"time"

	"pgha/agent/ha"
	"pgha/internal/clock"
	"pgha/internal/dcs"
)

// View is what a cycle left: published for REST, the member key and the
// journal. Immutable.
type View struct {
	At      clock.Instant
	Local   ha.Local
	Cluster *dcs.Cluster // last good view; nil before the first
	// ClusterLost: the DCS could not be read in this cycle.
	ClusterLost bool
	DCSSeen     time.Time // civil time of the last good read; zero: never
	Settings    ha.Settings
	LeaderUntil clock.Instant
	// Failsafe is the last known /failsafe; nil: none.
	Failsafe map[string]string
	Memory   ha.Memory
	Job      *ha.Job
	Reason   ha.Reason
	Note     string
	// NextCycle is when the loop will run again at the latest.
	NextCycle clock.Instant
}

// touch keeps the member key alive and true: the lease always, the value
// when it changed.
func (l *Loop) touch(ctx context.Context, in ha.Input, v View) {
	tctx, cancel := l.bounded(ctx, l.settings.RetryTimeout)
	defer cancel()
	if in.Tried.Renew != ha.Done && in.Tried.Acquire != ha.Done {
		lease, err := l.Store.KeepAlive(tctx)
		if err != nil {
			l.Log.Warn("could not keep the member lease alive", "err", err)
			return
		}
		l.lease = lease
		l.twins.held(lease.ID)
	}
	data := l.Member(v)
	encoded := dcs.EncodeMember(data)
	if bytes.Equal(encoded, l.lastMember) && l.lastLease == l.lease.ID && stands(in.Cluster.Member(l.Self), l.lastLease, encoded) {
		return
	}
	if err := l.Store.PutMember(tctx, data); err != nil {
		l.Log.Warn("could not write the member key", "err", err)
		l.lastMember = nil
		return
	}
	l.lastMember, l.lastLease = encoded, l.lease.ID
}

func (l *Loop) view(in ha.Input, d ha.Decision) View {
	job := l.Server.Job()
	return View{
		At: l.Clock.Now(), Local: in.Local, Cluster: l.cluster, ClusterLost: in.Cluster == nil, DCSSeen: l.dcsSeen,
		Settings: l.settings, LeaderUntil: l.leaderUntil, Failsafe: l.failsafe, Memory: in.Memory, Job: job,
		Reason: d.Reason, Note: d.Note, NextCycle: l.Clock.Now().Add(l.settings.LoopWait),
	}
}

func (l *Loop) publish(v View, d ha.Decision) {
	if l.Record != nil {
		l.Record(v, d)
	}
	l.Publish(v)
}
