package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"pgha/internal/dcs"
	"pgha/internal/postgres"
)

// Peer asks one member for its status (GET of its api_url, no retry). It
// never fails: what went wrong is in Err.
func (c *Client) Peer(ctx context.Context, member dcs.Member) PeerStatus {
	p := PeerStatus{Name: member.Name, APIURL: member.APIURL}
	answer, err := c.Do(ctx, http.MethodGet, member.APIURL, "", nil)
	if err != nil {
		p.Err = err
		return p
	}
	status, err := ParsePeer(answer.Body)
	status.Name, status.APIURL = member.Name, member.APIURL
	status.Code, status.Body = answer.Code, answer.Text()
	if err != nil {
		status.Err = fmt.Errorf("member %q: %w", member.Name, err)
	}
	return status
}

// Ask says how long to wait for several members.
type Ask struct {
	// PerPeer is the most one member may take. Zero: 2 s.
	PerPeer time.Duration
	// Dead names a member that probably does not answer (the former leader);
	// empty: none.
	Dead string
	// Grace is how long Dead is waited for once all others have answered or
	// failed. Zero: 300 ms (rulings 17).
	Grace time.Duration
}

// AskAll asks all members at the same time and returns their answers in the
// order given, as soon as the last has answered or failed; for Dead see Ask.
// A member that was not waited for has an Err. No request outlives the call.
func (c *Client) AskAll(ctx context.Context, members []dcs.Member, ask Ask) []PeerStatus {
	if ask.PerPeer == 0 {
		ask.PerPeer = 2 * time.Second
	}
	if ask.Grace == 0 {
		ask.Grace = 300 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(ctx, ask.PerPeer)
	defer cancel()
	deadCtx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)

	answers := make([]PeerStatus, len(members))
	var all, others sync.WaitGroup
	for i, m := range members {
		if m.Name == ask.Dead {
			all.Go(func() { answers[i] = c.Peer(deadCtx, m) })
			continue
		}
		others.Add(1)
		all.Go(func() { defer others.Done(); answers[i] = c.Peer(ctx, m) })
	}
	others.Wait()
	patience := time.AfterFunc(ask.Grace, func() {
		giveUp(fmt.Errorf("no answer %v after all others", ask.Grace))
	})
	defer patience.Stop()
	all.Wait()
	return answers
}

// FailsafeAnswer is what a member said to POST /failsafe.
type FailsafeAnswer struct {
	Name string
	// Accepted: status 200 and the body says so. Only that counts as consent.
	Accepted bool
	// Refused: the member answered something else. Not accepted and not
	// refused means that it was not reached, see Err.
	Refused bool
	// LSN is the member's last position; 0 when it did not say.
	LSN  postgres.LSN
	Code int
	Body string
	Err  error
}

// PostFailsafe tells a member that this primary goes on without the DCS. ctx
// must have an end. Without an answer the request is repeated once at once:
// hearing it twice does no harm.
func (c *Client) PostFailsafe(ctx context.Context, name, apiURL string, body Failsafe) FailsafeAnswer {
	if body.Slots == nil {
		body.Slots = map[string]uint64{}
	}
	out := FailsafeAnswer{Name: name}
	payload, err := json.Marshal(body)
	if err != nil {
		out.Err = err
		return out
	}
	answer, err := c.Do(ctx, http.MethodPost, apiURL, "failsafe", payload)
	if err != nil && ctx.Err() == nil {
		answer, err = c.Do(ctx, http.MethodPost, apiURL, "failsafe", payload)
	}
	if err != nil {
		out.Err = err
		return out
	}
	out.Code, out.Body = answer.Code, answer.Text()
	out.Accepted = out.Code == http.StatusOK && out.Body == "Accepted"
	out.Refused = !out.Accepted
	if n, err := strconv.ParseUint(answer.Header.Get("lsn"), 10, 64); err == nil {
		out.LSN = postgres.LSN(n)
	}
	return out
}
