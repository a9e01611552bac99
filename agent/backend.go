package agent

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"pgha/agent/ha"
	"pgha/agent/rest"
	"pgha/internal/api"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// backend is the agent as REST sees it: published facts, and requests that
// the loop or the store carry out.
type backend struct {
	*publisher
	loop   *Loop
	store  dcs.Store
	client *api.Client
	reload func()
}

var _ rest.Backend = (*backend)(nil)

// Cluster reads the DCS now.
func (b *backend) Cluster(ctx context.Context) (*dcs.Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, b.settings.Current().RetryTimeout)
	defer cancel()
	return b.store.Load(ctx)
}

// AskPeers asks members for their status.
func (b *backend) AskPeers(ctx context.Context, members []dcs.Member) []api.PeerStatus {
	return b.client.AskAll(ctx, members, api.Ask{PerPeer: peerBound})
}

// Do carries a request out.
func (b *backend) Do(ctx context.Context, r rest.Request) rest.Result {
	switch r := r.(type) {
	case rest.RestartRequest:
		return b.restart(ctx, r)
	case rest.CancelRestartRequest:
		if b.scheduledRestart() == nil {
			return rest.NoRestartScheduled
		}
		b.schedule(nil)
		b.publishSoon(ctx)
		return rest.RestartDeleted
	case rest.ReinitRequest:
		return b.submit(ctx, ha.Request{Kind: ha.RequestReinit, Force: r.Force, FromLeader: r.FromLeader})
	case rest.ReloadRequest:
		b.reload()
	case rest.WakeRequest:
		b.loop.Sleeper.Wake()
	case rest.FailsafeRequest:
		return b.agree(ctx, r)
	case rest.FailoverRequest:
		f := r.Failover
		return b.write(ctx, dcs.Write{Key: dcs.KeyFailover, Value: dcs.EncodeFailover(&f)})
	case rest.ClearFailoverRequest:
		return b.write(ctx, dcs.Write{Key: dcs.KeyFailover, Value: []byte("{}"), Guard: dcs.Guard{Revision: r.Revision}})
	case rest.ConfigRequest:
		return b.write(ctx, dcs.Write{Key: dcs.KeyConfig, Value: r.Document, Guard: r.Guard})
	}
	return rest.Result{Code: http.StatusOK}
}

func (b *backend) write(ctx context.Context, w dcs.Write) rest.Result {
	ctx, cancel := context.WithTimeout(ctx, b.settings.Current().RetryTimeout)
	defer cancel()
	err := b.store.Apply(ctx, w)
	b.loop.Sleeper.Wake()
	return rest.Result{Code: http.StatusOK, Err: err}
}

// agree leaves leading to a primary that cannot reach the DCS, unless this
// member leads itself.
func (b *backend) agree(ctx context.Context, r rest.FailsafeRequest) rest.Result {
	if r.Name == b.loop.Self {
		return rest.FailsafeLeader
	}
	from := ha.FailsafeSender{Name: r.Name, ConnURL: r.ConnURL, APIURL: r.APIURL, Slots: r.Slots}
	if !b.loop.Promises.Accept(from, max(b.settings.Current().TTL, r.TTL)) {
		return rest.FailsafeLeader
	}
	ctx, cancel := context.WithTimeout(ctx, failsafeLSN)
	defer cancel()
	var at postgres.LSN
	if s := b.Refresh(ctx, time.Second); s.Server != nil {
		at = max(s.Server.Received, s.Server.Replayed)
	}
	return rest.FailsafeAccepted(at)
}

// failsafeLSN bounds what the position costs that an agreement is answered with.
const failsafeLSN = 500 * time.Millisecond

// submit gives a request to the loop and waits for its answer.
func (b *backend) submit(ctx context.Context, r ha.Request) rest.Result {
	select {
	case a := <-b.loop.Submit(r):
		return rest.Result{Code: a.Code, Text: a.Text}
	case <-ctx.Done():
		return rest.Result{Code: http.StatusServiceUnavailable, Text: "the request was given up: " + ctx.Err().Error()}
	}
}

func (b *backend) restart(ctx context.Context, r rest.RestartRequest) rest.Result {
	if r.Schedule.IsZero() {
		return b.submit(ctx, b.restartRequest(r.Role, r.PostgresVersion, r.Timeout, r.RestartPending))
	}
	if b.scheduledRestart() != nil {
		return rest.AlreadyScheduled
	}
	s := b.Refresh(ctx, time.Second)
	if s.Server == nil {
		return rest.Result{Code: http.StatusServiceUnavailable, Text: "PostgreSQL cannot be asked for its start time now"}
	}
	b.schedule(&dcs.ScheduledRestart{Schedule: r.Schedule, Role: r.Role, PostgresVersion: r.PostgresVersion, Timeout: r.Timeout,
		RestartPending: r.RestartPending, PostmasterStartTime: postmasterStart(s)})
	b.publishSoon(ctx)
	return rest.RestartScheduled
}

// publishSoon runs a cycle and waits for it, a second at most: the member key
// says what the answer says.
func (b *backend) publishSoon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	changed := b.Changed()
	b.loop.Sleeper.Wake()
	select {
	case <-changed:
	case <-ctx.Done():
	}
}

func postmasterStart(s *rest.Status) string {
	if s.Server == nil {
		return ""
	}
	return api.FormatTime(s.Server.PostmasterStart, ' ')
}

// restartRequest fills in the facts that the decision compares with.
func (b *backend) restartRequest(role, version string, timeout time.Duration, pendingOnly bool) ha.Request {
	s := b.Snapshot()
	r := ha.Request{Kind: ha.RequestRestart, Role: postgres.Role(role), Timeout: timeout, PendingOnly: pendingOnly,
		PendingRestart: s.PendingRestart, BelowVersion: versionNumber(version)}
	if s.Server != nil {
		r.ServerVersion = s.Server.Version
	}
	return r
}

// versionNumber reads X.Y (10 and later) as server_version_num; 0: not given.
func versionNumber(text string) int {
	major, minor, _ := strings.Cut(text, ".")
	a, err := strconv.Atoi(major)
	if err != nil {
		return 0
	}
	b, _ := strconv.Atoi(minor)
	return a*10000 + b
}

// runSchedule starts the scheduled restart when its time has come. Called
// after every cycle; it wakes the loop in time for the next.
func (b *backend) runSchedule(v View) {
	r := b.scheduledRestart()
	if r == nil || v.Settings.Pause || v.Cluster == nil || v.Cluster.Leader == nil || v.Job != nil {
		return
	}
	log := b.loop.Log
	due := time.Until(r.Schedule)
	s := b.Snapshot()
	switch {
	case s.Server != nil && postmasterStart(s) != r.PostmasterStartTime:
		log.Info("the scheduled restart is dropped: PostgreSQL was restarted meanwhile")
		b.schedule(nil)
	case due < -v.Settings.LoopWait*3/2:
		log.Warn("Found a stale restart value, cleaning up: " + r.Schedule.Format(time.RFC3339))
		b.schedule(nil)
	case due <= 0:
		log.Info("Manual scheduled restart at " + r.Schedule.Format(time.RFC3339))
		b.schedule(nil)
		b.loop.Submit(b.restartRequest(r.Role, r.PostgresVersion, r.Timeout, r.RestartPending))
	case due <= v.Settings.LoopWait:
		time.AfterFunc(due, b.loop.Sleeper.Wake)
	default:
		log.Debug(fmt.Sprintf("Awaiting restart at %s (in %d seconds)", r.Schedule.Format(time.RFC3339), int(due.Seconds())))
	}
}
