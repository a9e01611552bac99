package dcs

import (
	"context"
	"errors"
	"time"

	"pgha/internal/clock"
)

// Errors of a Store. Each wraps the store's own text.
var (
	// ErrConflict: the guard of a write did not hold; nothing was written.
	// What was read before is stale.
	ErrConflict = errors.New("the key changed meanwhile")
	// ErrLeaderLost: the leader key is proven to be somebody else's. Only proof
	// counts (contract: pitfalls.md 19).
	ErrLeaderLost = errors.New("leader key lost")
	// ErrUnavailable: the store could not be reached, or did not answer in
	// time. Nothing was written (a write that may have happened is
	// ErrUnknownOutcome).
	ErrUnavailable = errors.New("DCS unavailable")
	// ErrUnknownOutcome: a write was sent and no answer came: it may have
	// happened, or may happen yet. Read before acting.
	ErrUnknownOutcome = errors.New("outcome of the write unknown")
	// ErrDenied: user, password, certificate or role do not permit this.
	ErrDenied = errors.New("not permitted by the DCS")
)

// Failed says whether err means that the store could not be asked or could
// not answer, as against a definite refusal (ErrConflict, ErrLeaderLost).
func Failed(err error) bool {
	return err != nil && !errors.Is(err, ErrConflict) && !errors.Is(err, ErrLeaderLost)
}

// Lease is what is known of this member's lease after a confirmed request.
type Lease struct {
	ID LeaseID
	// TTL as granted by the store, which may be longer than asked for.
	TTL time.Duration
	// SentAt is when the request was *sent* whose answer confirmed the lease.
	// The store cannot have started the TTL earlier (style.md section 3).
	SentAt clock.Instant
}

// Deadline is the instant until which the lease is certain.
func (l Lease) Deadline() clock.Instant {
	if l.ID == 0 {
		return 0
	}
	return l.SentAt.Add(l.TTL)
}

// Key is a key below the scope, without the base.
type Key string

const (
	KeyInitialize Key = "initialize"
	KeyConfig     Key = "config"
	KeyLeader     Key = "leader"
	KeyStatus     Key = "status"
	KeyFailover   Key = "failover"
	KeySync       Key = "sync"
	KeyHistory    Key = "history"
	KeyFailsafe   Key = "failsafe"
)

// Write is one change of one key.
type Write struct {
	Key Key
	// Value to put; nil deletes the key.
	Value []byte
	// Leased attaches the key to this member's lease as last granted, so that
	// it vanishes with the member: call KeepAlive before. Without a lease the
	// write is refused (ErrConflict). A later put without Leased detaches the key.
	Leased bool
	// Guard must hold or nothing of the whole Apply is done.
	Guard Guard
}

// Guard is a condition on a write. The zero value is "none".
type Guard struct {
	// Absent: the key must not exist.
	Absent bool
	// Revision: the key's last change must be this one. Zero: not asked.
	Revision Revision
	// Leader: this member must hold the leader key.
	Leader bool
}

// Store is one scope in the DCS, as one member (or an operator's tool, which
// has no name and no lease) sees and changes it. It speaks HA, not key-value.
// All methods are safe for concurrent use, and bounded by ctx: a ctx without
// a deadline is a bug of the caller. Errors are those of this file; a method
// that only reads never returns ErrUnknownOutcome.
type Store interface {
	// Load reads the whole scope in one linearizable request. Errors:
	// ErrUnavailable, ErrDenied.
	Load(ctx context.Context) (*Cluster, error)

	// Wakes delivers a value after leader, config, failover, sync or
	// initialize changed, or when changes may have been missed. It carries no
	// data (rulings 27). Values are merged, never queued.
	Wakes() <-chan struct{}

	// SetTTL changes the TTL asked for from the next KeepAlive on: a new
	// lease is granted then and the old one runs out by itself.
	SetTTL(ttl time.Duration)

	// KeepAlive renews this member's lease, or grants one when there is none
	// (first call, expired, TTL changed). The leader and member keys follow
	// with the next RenewLeader and PutMember. Errors: ErrUnavailable, ErrDenied.
	KeepAlive(ctx context.Context) (Lease, error)

	// PutMember writes this member's key under its lease; a lease that is
	// gone is granted anew first. Errors: ErrUnavailable,
	// ErrUnknownOutcome, ErrDenied.
	PutMember(ctx context.Context, data MemberData) error

	// AcquireLeader renews the lease and creates the leader key with it.
	// Errors: ErrConflict when the key exists, whoever owns it (an empty key
	// is nobody's, and taken); ErrUnavailable,
	// ErrUnknownOutcome (it may be ours), ErrDenied.
	AcquireLeader(ctx context.Context) (Lease, error)

	// RenewLeader renews the lease. When seen (the leader key of the last Load)
	// carries another lease than ours, it re-attaches the key if its value is
	// still our name. A zero seen.Lease therefore has the key written anew
	// whatever lease it carries: a release or hand-over still on its way
	// (ErrUnknownOutcome) then finds another revision and does nothing. Errors:
	// ErrConflict when the key is gone: others may have led since the Load, so
	// it is not re-created but taken by the rules of the race; ErrLeaderLost
	// when another holds it, on proof only; ErrUnavailable, ErrUnknownOutcome,
	// ErrDenied otherwise.
	RenewLeader(ctx context.Context, seen Leader) (Lease, error)

	// TakeLeader puts the leader key whatever it holds: once, at the end of a
	// bootstrap, when no other member can have the data.
	TakeLeader(ctx context.Context) (Lease, error)

	// ReleaseLeader deletes the leader key if it holds our name, together
	// with the writes given (the final status). Errors: ErrConflict when the
	// key is not ours (the writes are not done then), ErrUnavailable,
	// ErrUnknownOutcome, ErrDenied.
	ReleaseLeader(ctx context.Context, with ...Write) error

	// HandOver gives the leader key to another member in one transaction:
	// if the key holds our name and the candidate's member key still carries
	// candidate.Lease, the key gets the candidate's name and lease, and the
	// failover key becomes `{}` (rulings 18). Errors as ReleaseLeader.
	HandOver(ctx context.Context, candidate Member, with ...Write) error

	// Apply does all writes in one transaction, or none. Errors: ErrConflict
	// when a guard failed, ErrUnavailable, ErrUnknownOutcome, ErrDenied.
	Apply(ctx context.Context, writes ...Write) error

	// Remove deletes everything below the scope (ctl remove).
	Remove(ctx context.Context) error

	// Close ends watches and connections. The lease is not revoked
	// (contract: dcs-layout.md section 3).
	Close() error
}
