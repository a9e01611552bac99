package rest

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"pgha/internal/api"
	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// Backend is the agent as the server sees it. All methods are called from
// many goroutines, and return when ctx ends at the latest.
type Backend interface {
	// Snapshot returns the latest published status, never nil. It never blocks.
	Snapshot() *Status
	// Refresh returns a status whose At is at most maxAge old, asking
	// PostgreSQL if need be. When that fails or ctx ends, it returns the latest
	// with Server nil and State postgres.StateUnknown if it was running.
	Refresh(ctx context.Context, maxAge time.Duration) *Status
	// Changed returns a channel that is closed when a new status is published
	// or the DCS reports a change. Ask for a new one after each.
	Changed() <-chan struct{}
	// Cluster reads the DCS now. Errors: those of dcs.Store.Load.
	Cluster(ctx context.Context) (*dcs.Cluster, error)
	// AskPeers asks members for their status (GET api_url, 2 s), this member
	// included if listed. One answer a member, in the order given.
	AskPeers(ctx context.Context, members []dcs.Member) []api.PeerStatus
	// Do carries a request out, and for those that say so waits until it is
	// done. When ctx ends (the client left, the server stops) Do returns; what
	// was begun goes on.
	Do(ctx context.Context, r Request) Result
}

// Request is a closed set: what the server asks the agent to do.
type Request interface{ request() }

// Result is the agent's answer to a request.
type Result struct {
	// Code and Text are what the client gets. The server's own constants and
	// functions below hold the texts that clients know.
	Code int
	Text string
	// Header is added to the answer; may be nil.
	Header http.Header
	// Err says why a write to the DCS was not done (see the requests); Code
	// and Text are not looked at then.
	Err error
}

// RestartRequest restarts PostgreSQL. At once: the agent checks Unmet in its
// own turn, waits for the end and answers RestartDone, ConditionsUnmet,
// StillStarting, RestartFailed or InProgress. With Schedule: it keeps the
// request and answers RestartScheduled or AlreadyScheduled.
type RestartRequest struct {
	Schedule        time.Time     // zero: now
	Role            string        // primary, standby_leader, replica; empty: any
	PostgresVersion string        // only if the server is older than this; empty: any
	Timeout         time.Duration // 0: primary_start_timeout
	RestartPending  bool          // only if a restart is pending
}

// CancelRestartRequest forgets a scheduled restart: RestartDeleted or
// NoRestartScheduled.
type CancelRestartRequest struct{}

// ReinitRequest copies the data directory anew. The agent answers as soon as
// the job has begun: ReinitStarted, NoLeader, IsLeader or InProgress.
type ReinitRequest struct {
	Force      bool // cancel a running job first
	FromLeader bool // not from a member tagged clonefrom
}

// ReloadRequest reads the local configuration again with the next cycle. The
// result is not looked at.
type ReloadRequest struct{}

// WakeRequest runs a cycle now. The result is not looked at.
type WakeRequest struct{}

// FailsafeRequest is a primary without DCS telling that it goes on. The agent
// answers FailsafeAccepted, or FailsafeLeader if it runs as primary itself.
type FailsafeRequest struct {
	Name, ConnURL, APIURL string
	Slots                 map[string]postgres.LSN
	// TTL is for how long the sender counts on the agreement; 0: it did not say.
	TTL time.Duration
}

// FailoverRequest writes the failover key, whatever it holds, and runs a
// cycle. Result.Err nil: written.
type FailoverRequest struct{ Failover dcs.Failover }

// ClearFailoverRequest writes {} to the failover key if its last change is
// still Revision. Result.Err: dcs.ErrConflict when it is not; other errors of
// dcs.Store.Apply.
type ClearFailoverRequest struct{ Revision dcs.Revision }

// ConfigRequest writes the dynamic configuration. Result.Err:
// dcs.ErrConflict when a guarded key changed; other errors of dcs.Store.Apply.
type ConfigRequest struct {
	// Document is the JSON object to store.
	Document []byte
	// Guard is the condition; its zero value writes unconditionally.
	Guard dcs.Guard
}

func (RestartRequest) request()       {}
func (CancelRestartRequest) request() {}
func (ReinitRequest) request()        {}
func (ReloadRequest) request()        {}
func (WakeRequest) request()          {}
func (FailsafeRequest) request()      {}
func (FailoverRequest) request()      {}
func (ClearFailoverRequest) request() {}
func (ConfigRequest) request()        {}

// Results whose texts clients match (contract: rest-api.md 9, 11, 12).
var (
	RestartDone        = Result{Code: http.StatusOK, Text: "restarted successfully"}
	RestartFailed      = Result{Code: http.StatusServiceUnavailable, Text: "restart failed"}
	StillStarting      = Result{Code: http.StatusServiceUnavailable, Text: "postgres is still starting"}
	ConditionsUnmet    = Result{Code: http.StatusServiceUnavailable, Text: "restart conditions are not satisfied"}
	RestartScheduled   = Result{Code: http.StatusAccepted, Text: "Restart scheduled"}
	AlreadyScheduled   = Result{Code: http.StatusConflict, Text: "Another restart is already scheduled"}
	RestartDeleted     = Result{Code: http.StatusOK, Text: "scheduled restart deleted"}
	NoRestartScheduled = Result{Code: http.StatusNotFound, Text: "no restarts are scheduled"}
	ReinitStarted      = Result{Code: http.StatusOK, Text: "reinitialize started"}
	NoLeader           = Result{Code: http.StatusServiceUnavailable, Text: "Cluster has no leader, can not reinitialize"}
	IsLeader           = Result{Code: http.StatusServiceUnavailable, Text: "I am the leader, can not reinitialize"}
	FailsafeLeader     = Result{Code: http.StatusInternalServerError, Text: "Running as a leader"}
)

// InProgress refuses because a long action runs; patronictl looks for the
// end of the text.
func InProgress(action string) Result {
	return Result{Code: http.StatusServiceUnavailable, Text: action + " already in progress"}
}

// FailsafeAccepted consents; lsn is this member's last known position, 0
// when unknown.
func FailsafeAccepted(lsn postgres.LSN) Result {
	r := Result{Code: http.StatusOK, Text: "Accepted"}
	if lsn > 0 {
		r.Header = http.Header{"Lsn": {strconv.FormatUint(uint64(lsn), 10)}}
	}
	return r
}

// Unmet says why the request's filters do not fit this server, or "". role is
// the shown one, serverVersion the running server's (0: unknown, fits).
func (r RestartRequest) Unmet(role postgres.Role, serverVersion int, pendingRestart bool) string {
	if r.Role != "" && string(role) != r.Role {
		return "the role is " + string(role)
	}
	if r.PostgresVersion != "" && serverVersion > 0 {
		if want, err := versionNumber(r.PostgresVersion); err == nil && serverVersion >= want {
			return "the server's version is not lower than " + r.PostgresVersion
		}
	}
	if r.RestartPending && !pendingRestart {
		return "no restart is pending"
	}
	return ""
}
