package etcd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"pgha/internal/config"
	"pgha/internal/dcs"
)

// auth holds the token of a login by user and password. Tokens are known to
// all etcd members. Renewal concerns the next request only: a watch that is
// open stays open (contract: dcs-layout.md section 5).
type auth struct {
	username string
	password config.Secret
	file     string

	mu    sync.Mutex
	ready bool   // logged in, or known that no login is needed
	token string // empty: no login is needed
	last  string // password that worked last
}

// used names the token a request was made with.
type used struct{ token string }

// context returns ctx with what every request carries: the token, after
// logging in if there is none yet, and the wish to fail at once on a member
// that has no etcd leader.
func (a *auth) context(ctx context.Context, e *endpoint) (context.Context, used, error) {
	token, err := a.login(ctx, e)
	if err != nil {
		return nil, used{}, err
	}
	md := metadata.Pairs(rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
	if token != "" {
		md.Set(rpctypes.TokenFieldNameGRPC, token)
	}
	return metadata.NewOutgoingContext(ctx, md), used{token}, nil
}

// drop forgets the token that was used, unless a newer one is there already.
func (a *auth) drop(u used) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token == u.token {
		a.ready, a.token = false, ""
	}
}

// renewable says whether logging in again may cure the error. Without a user
// only the race with a change of etcd's users passes by itself.
func (a *auth) renewable(err error) bool {
	return a.username != "" || strings.Contains(err.Error(), "revision of auth store is old")
}

// denied is the end of trying.
func (a *auth) denied(err error) error {
	text := status.Convert(err).Message()
	if a.username == "" && strings.Contains(text, "user name is empty") {
		return fmt.Errorf("%w: etcd demands a login and no user name is configured (%s)", dcs.ErrDenied, text)
	}
	return fmt.Errorf("%w: user %q: %s", dcs.ErrDenied, a.username, text)
}

// login returns the token, getting one if need be. It holds no lock while it
// asks: a frozen etcd member must not keep others from being asked.
func (a *auth) login(ctx context.Context, e *endpoint) (string, error) {
	if a.username == "" {
		return "", nil
	}
	a.mu.Lock()
	ready, token, last := a.ready, a.token, a.last
	a.mu.Unlock()
	if ready {
		return token, nil
	}
	passwords, err := a.passwords(last)
	if err != nil {
		return "", err
	}
	var refusal error
	for _, p := range passwords {
		token, err := authenticateWith(ctx, e, a.username, p)
		switch {
		case err == nil:
			a.mu.Lock()
			a.ready, a.token, a.last = true, token, p
			a.mu.Unlock()
			return token, nil
		case !wrongPassword(err):
			return "", err
		}
		refusal = err
	}
	return "", fmt.Errorf("%w: log in as %q: %s", dcs.ErrDenied, a.username, status.Convert(refusal).Message())
}

// authenticateWith logs in. The token is empty when etcd needs no login.
func authenticateWith(ctx context.Context, e *endpoint, user, password string) (string, error) {
	resp, err := e.auth().Authenticate(ctx, &pb.AuthenticateRequest{Name: user, Password: password})
	if err != nil {
		if strings.Contains(status.Convert(err).Message(), "authentication is not enabled") {
			return "", nil
		}
		return "", err
	}
	return resp.Token, nil
}

func wrongPassword(err error) bool {
	text := status.Convert(err).Message()
	return strings.Contains(text, "authentication failed") || strings.Contains(text, "user name not found") ||
		strings.Contains(text, "invalid user ID or password")
}

// passwords lists what to try, the one that worked last first.
func (a *auth) passwords(last string) ([]string, error) {
	var list []string
	add := func(p string) {
		if p == "" {
			return
		}
		for _, have := range list {
			if have == p {
				return
			}
		}
		list = append(list, p)
	}
	var lines []string
	var broken error
	if a.file != "" {
		raw, err := os.ReadFile(a.file)
		if err != nil {
			broken = fmt.Errorf("read etcd password file: %w", err)
		}
		lines = strings.Split(strings.ReplaceAll(string(raw), "\r\n", "\n"), "\n")
	}
	for _, l := range lines {
		if l == last {
			add(l) // still valid: the file has it
		}
	}
	for _, l := range lines {
		add(l)
	}
	add(a.password.Reveal())
	if len(list) > 0 {
		return list, nil
	}
	if broken == nil {
		broken = errors.New("no password configured")
	}
	return nil, fmt.Errorf("%w: user %q: %w", dcs.ErrDenied, a.username, broken)
}
