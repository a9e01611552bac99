package journal

import (
	"encoding/json"
	"time"
)

// Path is where a member's agent answers for its journal over REST. The query
// takes since and until (RFC 3339) and limit (a number of records).
const Path = "/pgha/v1/why"

// Answer is what it answers, as JSON.
type Answer struct {
	Member string `json:"member"`
	Scope  string `json:"scope"`
	// Now is the member's civil time when it answered: how far its clock is off.
	Now time.Time `json:"now"`
	// Oldest is the time of the oldest record kept; nil: none.
	Oldest  *time.Time `json:"oldest,omitempty"`
	Records []Record   `json:"records"`
	// Cut: the oldest of the records asked for were left out.
	Cut bool `json:"cut,omitempty"`
	// Unreadable lines were skipped, Newer ones have a later format, Lost
	// records could not be written since the agent's start.
	Unreadable int `json:"unreadable,omitempty"`
	Newer      int `json:"newer,omitempty"`
	Lost       int `json:"lost,omitempty"`
	// Note says why there are no records; empty: it is as it should be.
	Note string `json:"note,omitempty"`
}

// maxAnswer bounds the records of an answer, bytes.
const maxAnswer = 4 << 20

// Fill puts what was found into the answer; records beyond its bound are left
// out, the oldest first.
func (a *Answer) Fill(f Found) {
	a.Records, a.Cut, a.Unreadable, a.Newer = f.Records, f.Cut, f.Unreadable, f.Newer
	if !f.Oldest.IsZero() {
		a.Oldest = &f.Oldest
	}
	total := 0
	for i := len(a.Records) - 1; i >= 0; i-- {
		line, err := json.Marshal(a.Records[i])
		if total += len(line); err != nil || total > maxAnswer {
			a.Records, a.Cut = a.Records[i+1:], true
			break
		}
	}
	if a.Records == nil {
		a.Records = []Record{}
	}
}
