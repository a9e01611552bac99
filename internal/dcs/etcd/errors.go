package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pgha/internal/dcs"
)

// verdict is what an error of one attempt means for the next one
// (contract: dcs-layout.md section 5).
type verdict int

const (
	// elsewhere: this endpoint cannot answer now; another may.
	elsewhere verdict = iota
	// authenticate: the token is missing, expired or lacks a permission.
	authenticate
	// refused: etcd's answer, the same everywhere.
	refused
)

// Texts that etcd's auth errors contain. The code alone is not enough: some
// of these come as InvalidArgument, and a watch gives nothing but a text.
var authTexts = []string{
	"user name is empty", "permission denied", "invalid auth token", "revision of auth store is old",
}

// needsAuth says whether the text is one that a fresh token may cure.
func needsAuth(text string) bool {
	for _, t := range authTexts {
		if strings.Contains(text, t) {
			return true
		}
	}
	return false
}

// judge classifies the error of one attempt.
func judge(err error) verdict {
	if errors.Is(err, dcs.ErrDenied) || errors.Is(err, errLeaseGone) || errors.Is(err, errClosed) {
		return refused
	}
	st, ok := status.FromError(err)
	if !ok {
		return elsewhere
	}
	if needsAuth(st.Message()) {
		return authenticate
	}
	switch st.Code() {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied,
		codes.OutOfRange, codes.Unimplemented:
		return refused
	case codes.ResourceExhausted:
		if noSpace(err) {
			return refused
		}
	}
	// Unavailable, Unknown with "not a primary lessor", DeadlineExceeded,
	// FailedPrecondition, and whatever a proxy invents.
	return elsewhere
}

// notDone says whether a write that failed with err surely did not happen.
// sent is whether the request reached a connection.
func notDone(err error, sent bool) bool {
	if !sent || judge(err) != elsewhere {
		return true // etcd checks permissions, leases and quota before it writes
	}
	text := status.Convert(err).Message()
	for _, t := range []error{rpctypes.ErrGRPCNoLeader, rpctypes.ErrGRPCNotLeader, rpctypes.ErrGRPCRequestTooManyRequests} {
		if strings.Contains(text, rpctypes.ErrorDesc(t)) {
			return true
		}
	}
	return false
}

// noSpace: etcd's quota is used up. It still renews leases.
func noSpace(err error) bool {
	return strings.Contains(status.Convert(err).Message(), "database space exceeded")
}

// errLeaseGone: the lease named in a request does not exist (any more).
var errLeaseGone = errors.New("requested lease not found")

// leaseGone recognises it in an etcd error.
func leaseGone(err error) bool {
	return errors.Is(err, errLeaseGone) || strings.Contains(status.Convert(err).Message(), "requested lease not found")
}

// unavailable wraps the cause of a request that was given up.
func unavailable(cause error) error {
	switch {
	case cause == nil:
		return dcs.ErrUnavailable
	case errors.Is(cause, dcs.ErrDenied), errors.Is(cause, dcs.ErrUnavailable):
		return cause
	}
	return fmt.Errorf("%w: %w", dcs.ErrUnavailable, plain(cause))
}

// plain drops gRPC's wrapping from what a person reads.
func plain(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("connection closed without an answer")
	}
	if st, ok := status.FromError(err); ok {
		switch st.Code() {
		case codes.DeadlineExceeded:
			return fmt.Errorf("%s: %w", st.Message(), context.DeadlineExceeded)
		case codes.Canceled:
			return fmt.Errorf("%s: %w", st.Message(), context.Canceled)
		}
		return errors.New(st.Message())
	}
	return err
}

// unknown wraps the cause of a write that may have happened.
func unknown(cause error) error { return fmt.Errorf("%w: %w", dcs.ErrUnknownOutcome, plain(cause)) }
