package postgres

import (
	"strconv"
	"strings"
)

// HistoryEntry is one line of a timeline history file: Timeline was left at
// Switch for the next entry's timeline, or for the file's own after the last.
type HistoryEntry struct {
	Timeline Timeline
	Switch   LSN
	Reason   string
}

// ParseHistory reads a timeline history file, as in pg_wal or as answered to
// TIMELINE_HISTORY. Comments, empty lines and lines without a timeline and a
// position are skipped. The order of the file is kept: oldest first.
func ParseHistory(content string) []HistoryEntry {
	var entries []HistoryEntry
	for line := range strings.Lines(content) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		tl, err := strconv.ParseUint(fields[0], 10, 32)
		if err != nil || tl == 0 {
			continue
		}
		lsn, err := ParseLSN(fields[1])
		if err != nil {
			continue
		}
		reason := strings.Join(fields[2:], " ")
		entries = append(entries, HistoryEntry{Timeline: Timeline(tl), Switch: lsn, Reason: reason})
	}
	return entries
}

// SwitchPoint is where the history left timeline tl. False when the timeline
// is no ancestor, or when a larger one comes before it in the file.
func SwitchPoint(history []HistoryEntry, tl Timeline) (LSN, bool) {
	for _, e := range history {
		if e.Timeline == tl {
			return e.Switch, true
		}
		if e.Timeline > tl {
			return 0, false
		}
	}
	return 0, false
}
