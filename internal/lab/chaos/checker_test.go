package chaos

import (
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// ms is an instant that many milliseconds after noon.
func ms(n int) time.Time { return noon.Add(time.Duration(n) * time.Millisecond) }

// rows makes a log: pg01 writes on timeline 1 and pg02 on timeline 2, one row
// every ten milliseconds, each acknowledged 2 ms after its clock was read.
func rows(client int, kind Kind, server string, timeline uint32, from, to int) *Log {
	l := &Log{Client: client, Kind: kind, Host: server}
	for i := from; i < to; i += 10 {
		l.add(Ack{ID: l.next(), At: ms(i), Acked: ms(i + 2), Server: server, Timeline: timeline, LSN: uint64(1000 + i)})
	}
	return l
}

// The checker must see what it is there for, and nothing else.
func TestOverlap(t *testing.T) {
	cases := []struct {
		name string
		logs []*Log
		want time.Duration
		says string
	}{
		{"one after the other", []*Log{rows(1, TCP, "pg01", 1, 0, 1000), rows(2, TCP, "pg02", 2, 1000, 2000)}, 0, ""},
		{"the same member on two timelines", []*Log{rows(1, TCP, "pg01", 1, 0, 1000), rows(2, TCP, "pg01", 3, 900, 2000)}, 0, ""},
		{"there and back", []*Log{rows(1, TCP, "pg01", 1, 0, 1000), rows(2, TCP, "pg02", 2, 1000, 2000), rows(3, TCP, "pg01", 3, 2000, 3000)}, 0, ""},
		{"both for 300 ms", []*Log{rows(1, Socket, "pg01", 1, 0, 1302), rows(2, TCP, "pg02", 2, 998, 2000)}, 300 * time.Millisecond, "(socket) for 300ms"},
		{"both on one timeline", []*Log{rows(1, Socket, "pg01", 1, 0, 1302), rows(2, TCP, "pg02", 1, 998, 2000)}, 300 * time.Millisecond, "timeline 1"},
		{"one row in the other's time", []*Log{rows(1, TCP, "pg01", 1, 0, 1000), rows(3, Pipelined, "pg01", 1, 1500, 1501), rows(2, TCP, "pg02", 2, 998, 2000)},
			500 * time.Millisecond, "(pipeline)"},
		{"an answer read much later", []*Log{late(rows(1, Socket, "pg01", 1, 0, 1000), 3*time.Second), rows(2, TCP, "pg02", 2, 998, 2000)},
			2992 * time.Millisecond, "acknowledged a row"},
		{"an answer delivered when the cable is back", []*Log{late(rows(1, TCP, "pg01", 1, 0, 1000), 3*time.Second), rows(2, TCP, "pg02", 2, 998, 2000)}, 0, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			all := terms(c.logs, clientKinds...)
			got, evidence := overlap(all, all)
			if got != c.want || !strings.Contains(strings.Join(evidence, "\n"), c.says) {
				t.Errorf("%v, want %v with %q\n%v", got, c.want, c.says, evidence)
			}
		})
	}
}

// late has the last row's answer read that much later.
func late(l *Log, by time.Duration) *Log {
	last := &l.acks[len(l.acks)-1]
	last.Acked = last.Acked.Add(by)
	return l
}

// A statement inside a server is compared with the clients of the next one.
func TestOverlapInside(t *testing.T) {
	logs := []*Log{rows(1, TCP, "pg01", 1, 0, 1000), rows(3, Inside, "pg01", 1, 0, 1498), rows(2, TCP, "pg02", 2, 998, 2000)}
	got, _ := overlap(terms(logs, Inside), terms(logs, TCP))
	if want := 490 * time.Millisecond; got != want {
		t.Errorf("%v, want %v", got, want)
	}
}

// Of a hundred rows of a deposed primary the last twenty are missing; a
// survivor had received all but the last ten.
func TestCompare(t *testing.T) {
	old, next := rows(1, TCP, "pg01", 1, 0, 1000), rows(2, TCP, "pg02", 2, 2000, 2100)
	inside := rows(3, Inside, "pg01", 1, 0, 50)
	there := map[int]map[int64]bool{1: {}, 2: {}, 3: {1: true, 2: true, 3: true}}
	for id := int64(1); id <= 80; id++ {
		there[1][id] = true
	}
	for id := int64(1); id <= 10; id++ {
		there[2][id] = true
	}
	far := newReceived()
	far.saw("pg03", 1, 1000+900)
	far.saw("pg02", 1, 1000+990) // struck: what it had does not count
	far.saw("pg03", 2, 5000)
	got := compare([]*Log{old, next, inside}, there, far, []string{"pg03"})
	if got.Acked != 115 || got.Lost != 20 || got.Beyond != 10 || got.Bound != 10 || got.Inside != 2 || got.Before != 188*time.Millisecond {
		t.Errorf("%+v", got)
	}
	if len(got.Examples) != 20 || !strings.Contains(got.Examples[0], "row 81") || !strings.Contains(got.Examples[0], "received by a survivor: true") {
		t.Errorf("examples: %v", got.Examples)
	}
}

func TestGap(t *testing.T) {
	logs := []*Log{rows(1, TCP, "pg01", 1, 0, 1000), rows(2, TCP, "pg01", 1, 500, 2000), rows(3, Socket, "pg01", 1, 0, 1000), rows(4, Socket, "pg02", 2, 1200, 2000)}
	if got, want := gap(logs, ms(100), ms(2000), false, TCP), 1008*time.Millisecond; got != want {
		t.Errorf("each TCP client alone: %v, want %v", got, want)
	}
	if got, want := gap(logs, ms(100), ms(2000), true, Socket), 210*time.Millisecond; got != want {
		t.Errorf("local clients together: %v, want %v", got, want)
	}
}
