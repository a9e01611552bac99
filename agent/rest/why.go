package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"pgha/internal/clock"
	"pgha/internal/journal"
)

// WhyOptions are what GET /pgha/v1/why needs to know.
type WhyOptions struct {
	Member, Scope string
	// Dir is the journal's directory; empty: the journal is switched off.
	Dir string
	// Lost is how many records could not be written.
	Lost  func() int
	Clock clock.Clock
}

// WhyRoute answers for the decision journal, from its file (rulings 45). Who
// may change state may read it: it tells what operators did. One file is read
// at a time: a disk that hangs costs one goroutine, and the others are told.
func WhyRoute(o WhyOptions) Route {
	var reading sync.Mutex
	return Route{Method: http.MethodGet, Path: journal.Path, Protected: true, Handle: func(w http.ResponseWriter, r *http.Request) {
		q, err := whyQuery(r)
		if err != nil {
			plain(w, http.StatusBadRequest, err.Error())
			return
		}
		if !reading.TryLock() {
			plain(w, http.StatusServiceUnavailable, "the decision journal is being read for another request; ask again")
			return
		}
		defer reading.Unlock()
		a := journal.Answer{Member: o.Member, Scope: o.Scope, Now: o.Clock.Wall(), Lost: o.Lost()}
		found := journal.Found{}
		switch {
		case o.Dir == "":
			a.Note = "the decision journal is switched off (pgha.journal.enabled)"
		default:
			found, err = journal.Read(o.Dir, q)
		}
		switch {
		case errors.Is(err, journal.ErrNone):
			a.Note = "there is no decision journal yet in " + o.Dir
		case err != nil:
			plain(w, http.StatusInternalServerError, fmt.Sprintf("the decision journal cannot be read: %v", err))
			return
		}
		a.Fill(found)
		body, err := json.Marshal(a)
		if err != nil {
			plain(w, http.StatusInternalServerError, fmt.Sprintf("the decision journal cannot be shown: %v", err))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body) // a client that went away
	}}
}

func whyQuery(r *http.Request) (q journal.Query, err error) {
	values := r.URL.Query()
	for _, bound := range []struct {
		name string
		to   *time.Time
	}{{"since", &q.Since}, {"until", &q.Until}} {
		text := values.Get(bound.name)
		if text == "" {
			continue
		}
		if *bound.to, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return q, fmt.Errorf("%s: %q is no time: RFC 3339 is expected, for example 2026-11-23T03:12:41+01:00", bound.name, text)
		}
	}
	if text := values.Get("limit"); text != "" {
		q.Limit, err = strconv.Atoi(text)
		if err != nil || q.Limit < 1 || q.Limit > journal.MaxLimit {
			return q, fmt.Errorf("limit: %q is no number from 1 to %d", text, journal.MaxLimit)
		}
	}
	return q, nil
}

func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text))
}
