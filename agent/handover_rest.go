package agent

import (
	"encoding/json"
	"net/http"
	"os"
	"time"

	"pgha/agent/rest"
)

// handoverPath is rulings 45: POST asks for a hand-over, as SIGUSR2 does; GET
// tells what became of the last one.
const handoverPath = "/pgha/v1/handover"

// handoverDocument is the body of every answer of handoverPath. POST answers
// 202 when the program on disk takes over now, 409 when it does not and this
// one goes on; the body of the request is ignored.
type handoverDocument struct {
	// State is "accepted", "refused" (POST), or "running" (GET).
	State string `json:"state"`
	// Reason of a refusal, in GET of the last one; empty: none.
	Reason    string     `json:"reason,omitempty"`
	RefusedAt *time.Time `json:"refused_at,omitempty"`
	// PID stays the same in a hand-over.
	PID int `json:"pid"`
	// Version that runs, and Next that takes over.
	Version string `json:"version"`
	Next    string `json:"next,omitempty"`
	// Handovers that this process has seen, and From whom the last one was.
	Handovers int    `json:"handovers"`
	From      string `json:"from,omitempty"`
	// Program is the file that a hand-over executes.
	Program string `json:"program"`
}

// routes are the paths of the hand-over.
func (h *handover) routes() []rest.Route {
	return []rest.Route{
		{Method: http.MethodGet, Path: handoverPath, Handle: h.show},
		{Method: http.MethodPost, Path: handoverPath, Protected: true, Handle: h.ask},
	}
}

func (h *handover) document(state string) handoverDocument {
	d := handoverDocument{State: state, PID: os.Getpid(), Version: h.agent.options.Version, Handovers: h.agent.inherited.count(), Program: h.program}
	if h.agent.inherited != nil {
		d.From = h.agent.inherited.From
	}
	return d
}

func (h *handover) show(w http.ResponseWriter, _ *http.Request) {
	d := h.document("running")
	h.mu.Lock()
	if d.Reason = h.refused; d.Reason != "" {
		at := h.at
		d.RefusedAt = &at
	}
	h.mu.Unlock()
	writeDocument(w, http.StatusOK, d)
}

func (h *handover) ask(w http.ResponseWriter, r *http.Request) {
	// Longer than the server gives a request for being read.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(checkPatience + handoverPatience + time.Minute))
	select {
	case a := <-h.request():
		if a.Refused != "" {
			d := h.document("refused")
			d.Reason = a.Refused
			writeDocument(w, http.StatusConflict, d)
			return
		}
		d := h.document("accepted")
		d.Next = a.Version
		writeDocument(w, http.StatusAccepted, d)
	case <-r.Context().Done(): // the asker has left; the hand-over goes on
	}
}

func writeDocument(w http.ResponseWriter, code int, d handoverDocument) {
	body, err := json.Marshal(d)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(body) // whoever has left does not read it
}
