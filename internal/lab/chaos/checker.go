package chaos

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"pgha/internal/lab"
)

// lateAck is how long after another member's first acknowledgement a local
// client may still read one of the old primary's: what its own process, on a
// busy machine, may take to look.
const lateAck = 500 * time.Millisecond

// clientKinds are all to whom each row is acknowledged by itself.
var clientKinds = []Kind{TCP, New, Remote, Socket, Probe, Pipelined}

// term is what one member acknowledged as a primary on one timeline.
type term struct {
	server   string
	timeline uint32
	// first is the earliest acknowledgement: from then on it certainly
	// accepted writes. last is the latest row's clock before its commit: then
	// it certainly still did. seen is the latest acknowledgement.
	first, last, seen time.Time
	lastBy            Kind
	rows              int
}

// terms are all terms in the logs of those kinds, in the order of their starts.
func terms(logs []*Log, kinds ...Kind) []*term {
	type key struct {
		server   string
		timeline uint32
	}
	all := map[key]*term{}
	for _, l := range logs {
		if !slices.Contains(kinds, l.Kind) {
			continue
		}
		for _, a := range l.Acks() {
			k := key{a.Server, a.Timeline}
			t := all[k]
			if t == nil {
				t = &term{server: a.Server, timeline: a.Timeline, first: a.Acked}
				all[k] = t
			}
			t.rows++
			if a.Acked.Before(t.first) {
				t.first = a.Acked
			}
			if a.At.After(t.last) {
				t.last, t.lastBy = a.At, l.Kind
			}
			// A cut network may deliver what was answered long before.
			if l.Kind != TCP && l.Kind != New && l.Kind != Remote && a.Acked.After(t.seen) {
				t.seen = a.Acked
			}
		}
	}
	var list []*term
	for _, t := range all {
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b *term) int { return a.first.Compare(b.first) })
	return list
}

// overlap is how long two members certainly accepted writes at the same time,
// and the evidence. An old primary's acknowledgement that is read by a local
// client much later than the new one's first counts as well.
func overlap(old, all []*term) (time.Duration, []string) {
	var total time.Duration
	var evidence []string
	for _, a := range old {
		for _, b := range all {
			if a.server == b.server || b.first.Before(a.first) {
				continue
			}
			if d := a.last.Sub(b.first); d >= 0 {
				total += max(d, time.Millisecond)
				evidence = append(evidence, fmt.Sprintf("%s (timeline %d) went on committing (%s) for %v after %s (timeline %d) had acknowledged a row at %s",
					a.server, a.timeline, a.lastBy, d, b.server, b.timeline, clock(b.first)))
			} else if d := a.seen.Sub(b.first); d > lateAck {
				total += d
				evidence = append(evidence, fmt.Sprintf("%s (timeline %d) acknowledged a row %v after %s (timeline %d) had acknowledged one at %s",
					a.server, a.timeline, d, b.server, b.timeline, clock(b.first)))
			}
		}
	}
	return total, evidence
}

func clock(t time.Time) string { return t.Format("15:04:05.000") }

// present reads which rows of the clients a server has.
func present(m *lab.Member, logs []*Log) (map[int]map[int64]bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	conn, err := m.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	there := map[int]map[int64]bool{}
	var numbers []int32
	for _, l := range logs {
		there[l.Client] = map[int64]bool{}
		numbers = append(numbers, int32(l.Client))
	}
	rows, err := conn.Query(ctx, "select client, id from chaos_rows where client = any($1)", numbers)
	if err != nil {
		return nil, err
	}
	var client int
	var id int64
	_, err = pgx.ForEachRow(rows, []any{&client, &id}, func() error {
		there[client][id] = true
		return nil
	})
	return there, err
}

// loss is what is missing of what was acknowledged.
type loss struct {
	Acked int `json:"acked"`
	// Lost are missing rows; Inside those of statements within the server.
	Lost   int `json:"lost"`
	Inside int `json:"lost_inside"`
	// Bound is how many rows of deposed primaries no survivor was seen to have
	// received (asked five times a second): so many could be lost.
	Bound int `json:"bound"`
	// Beyond are lost rows that a survivor had received.
	Beyond   int      `json:"beyond_bound"`
	Examples []string `json:"examples,omitempty"`
	// Before is the longest time between the acknowledgement of a lost row and
	// the last acknowledgement of its server.
	Before time.Duration `json:"before"`
}

// compare finds the missing rows. survivors are the members that no fault hit.
func compare(logs []*Log, there map[int]map[int64]bool, far *received, survivors []string) loss {
	var l loss
	all := terms(logs, clientKinds...)
	for _, log := range logs {
		acks := log.Acks()
		if log.Kind == Inside {
			l.Acked += int(log.last())
			for id := int64(1); id <= log.last(); id++ {
				if !there[log.Client][id] {
					l.Inside++
				}
			}
			continue
		}
		l.Acked += len(acks)
		for i, a := range acks {
			// The commit record ends before where the same server stood when
			// this client came next.
			var by uint64
			if i+1 < len(acks) && acks[i+1].Server == a.Server && acks[i+1].Timeline == a.Timeline {
				by = acks[i+1].LSN
			}
			kept := by != 0 && by <= far.best(a.Timeline, survivors)
			if !kept && deposed(all, a) {
				l.Bound++
			}
			if there[log.Client][a.ID] {
				continue
			}
			l.Lost++
			if kept {
				l.Beyond++
			}
			if t := find(all, a); t != nil {
				l.Before = max(l.Before, t.seen.Sub(a.Acked), t.last.Sub(a.Acked))
			}
			if len(l.Examples) < 20 {
				l.Examples = append(l.Examples, fmt.Sprintf("client %d (%s on %s) row %d: acknowledged by %s at %s, timeline %d, position %X; received by a survivor: %v",
					log.Client, log.Kind, log.Host, a.ID, a.Server, clock(a.Acked), a.Timeline, a.LSN, kept))
			}
		}
	}
	return l
}

// last is the highest number acknowledged.
func (l *Log) last() int64 {
	var last int64
	for _, a := range l.Acks() {
		last = max(last, a.ID)
	}
	return last
}

func find(all []*term, a Ack) *term {
	for _, t := range all {
		if t.server == a.Server && t.timeline == a.Timeline {
			return t
		}
	}
	return nil
}

// deposed says whether another member acknowledged rows after a's server began.
func deposed(all []*term, a Ack) bool {
	mine := find(all, a)
	for _, t := range all {
		if mine != nil && t.server != a.Server && t.first.After(mine.first) {
			return true
		}
	}
	return false
}

// gap is the longest time without an acknowledgement between from and to: for
// each client alone, or for all of them together.
func gap(logs []*Log, from, to time.Time, together bool, kinds ...Kind) time.Duration {
	var sets [][]time.Time
	for _, l := range logs {
		if !slices.Contains(kinds, l.Kind) {
			continue
		}
		var times []time.Time
		for _, a := range l.Acks() {
			times = append(times, a.Acked)
		}
		if together && len(sets) > 0 {
			sets[0] = append(sets[0], times...)
		} else {
			sets = append(sets, times)
		}
	}
	var longest time.Duration
	for _, times := range sets {
		slices.SortFunc(times, time.Time.Compare)
		// The last acknowledgement before the fault starts the first gap.
		last := from
		for _, t := range times {
			if t.After(to) {
				break
			}
			if t.After(from) {
				longest = max(longest, t.Sub(last))
				last = t
			}
		}
		longest = max(longest, to.Sub(last))
	}
	return longest
}
