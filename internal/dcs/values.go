package dcs

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"pgha/internal/config"
	"pgha/internal/postgres"
)

// EncodeStatus writes the status key. Slots and retained names are left out
// when empty. Revision and Raw are not written.
func EncodeStatus(s Status) []byte {
	retain := slices.Clone(s.RetainSlots)
	slices.Sort(retain)
	return encode(struct {
		Optime LSN            `json:"optime"`
		Slots  map[string]LSN `json:"slots,omitempty"`
		Retain []string       `json:"retain_slots,omitempty"`
	}{s.Optime, s.Slots, retain})
}

// DecodeStatus reads the status key, or a bare number (the oldest form, and
// that of optime/leader). What is not understood is zero; the error says what
// that was.
func DecodeStatus(raw []byte) (Status, error) {
	s := Status{Raw: string(raw)}
	v, err := decode(raw)
	if err != nil {
		return s, fmt.Errorf("read as no position, no slots: %w", err)
	}
	m, ok := v.(map[string]any)
	if !ok {
		if s.Optime, ok = position(v); !ok {
			return s, errors.New("read as no position, no slots: neither a JSON object nor a number")
		}
		return s, nil
	}
	s.Optime, _ = position(m["optime"])
	if slots, ok := unquoted(m["slots"]).(map[string]any); ok && len(slots) > 0 {
		s.Slots = make(map[string]LSN, len(slots))
		for name, at := range slots {
			s.Slots[name], _ = position(at)
		}
	}
	if names, ok := unquoted(m["retain_slots"]).([]any); ok {
		s.RetainSlots, err = slotNames(names)
	}
	return s, err
}

// slotNames returns the names that PostgreSQL accepts; nil when there are
// none. Slots are made of them: each other one would be refused again and
// again on every member.
func slotNames(values []any) (names []string, damage error) {
	for _, v := range values {
		if name := text(v); postgres.ValidSlotName(name) {
			names = append(names, name)
		} else {
			damage = fmt.Errorf("retain_slots: %s left out: it is no slot's name", shown(scalar(v)))
		}
	}
	return names, damage
}

// EncodeFailover writes a failover request; nil, and a request that names
// nobody, is `{}`: the key is cleared that way, never deleted.
func EncodeFailover(f *Failover) []byte {
	if f == nil || f.Leader == "" && f.Candidate == "" {
		return []byte("{}")
	}
	var at string
	if !f.ScheduledAt.IsZero() {
		at = FormatTime(f.ScheduledAt)
	}
	return encode(struct {
		Leader      string `json:"leader,omitempty"`
		Candidate   string `json:"member,omitempty"`
		ScheduledAt string `json:"scheduled_at,omitempty"`
	}{f.Leader, f.Candidate, at})
}

// DecodeFailover reads a failover request: JSON, or the old text
// `leader:candidate`. nil is "no request". The error says what was damaged;
// a request whose time cannot be read is no request (the reference would fail
// the whole read of the cluster).
func DecodeFailover(raw []byte) (*Failover, error) {
	trimmed := strings.TrimSpace(strings.ToValidUTF8(string(raw), "\ufffd"))
	if trimmed == "" {
		return nil, nil
	}
	v, err := decode(raw)
	if err != nil {
		return legacyFailover(trimmed, err)
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("read as no request: not a JSON object")
	}
	f := &Failover{Leader: text(m["leader"]), Candidate: text(m["member"])}
	if at := m["scheduled_at"]; config.Truthy(at) {
		var zoned bool
		if f.ScheduledAt, zoned, ok = ParseTime(text(at)); !ok {
			return nil, fmt.Errorf("read as no request: scheduled_at %s is no time", shown(scalar(at)))
		}
		f.NoZone = !zoned
	}
	if f.Leader == "" && f.Candidate == "" {
		return nil, nil
	}
	return f, nil
}

// legacyFailover reads `leader:candidate`, either of which may be empty.
// Broken JSON is not mistaken for it.
func legacyFailover(s string, cause error) (*Failover, error) {
	leader, candidate, ok := strings.Cut(s, ":")
	if !ok || strings.ContainsAny(s, "{}[]\"") {
		return nil, fmt.Errorf("read as no request: %w", cause)
	}
	candidate, _, _ = strings.Cut(candidate, ":")
	f := &Failover{Leader: strings.TrimSpace(leader), Candidate: strings.TrimSpace(candidate)}
	if f.Leader == "" && f.Candidate == "" {
		return nil, nil
	}
	return f, nil
}

// EncodeSync writes the sync key: names sorted, comma-joined; null when there are none.
func EncodeSync(s Sync) []byte {
	names := slices.Clone(s.Standbys)
	slices.Sort(names)
	return encode(struct {
		Leader   any `json:"leader"`
		Quorum   int `json:"quorum"`
		Standbys any `json:"sync_standby"`
	}{nullable(s.Leader), s.Quorum, nullable(strings.Join(names, ","))})
}

// nullable is null for the empty string.
func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// DecodeSync reads the sync key. What is no object, has no leader or a quorum
// that is no number is the empty state; the error says so.
func DecodeSync(raw []byte) (Sync, error) {
	m, err := object(raw)
	if err != nil {
		return Sync{}, fmt.Errorf("read as empty: %w", err)
	}
	s := Sync{Leader: text(m["leader"])}
	if s.Leader == "" {
		return Sync{}, nil
	}
	if q := m["quorum"]; q != nil {
		n, ok := integer(q)
		if !ok || n < 0 || n > math.MaxInt32 {
			return Sync{}, fmt.Errorf("read as empty: quorum %s is no number", shown(scalar(q)))
		}
		s.Quorum = int(n)
	}
	for _, name := range strings.Split(text(m["sync_standby"]), ",") {
		if name = strings.TrimSpace(name); name != "" {
			s.Standbys = append(s.Standbys, name)
		}
	}
	slices.Sort(s.Standbys)
	return s, nil
}

// EncodeHistory writes the timeline history; no rows give `[]`.
func EncodeHistory(rows []HistoryRow) []byte {
	if len(rows) == 0 {
		return []byte("[]")
	}
	return encode(rows)
}

// MarshalJSON writes the wire form, an array of five. An old row that lacks
// its last elements is written without them: copied rows stay as they were.
func (r HistoryRow) MarshalJSON() ([]byte, error) {
	row := []any{r.Timeline, uint64(r.Switch), r.Reason, r.Timestamp, r.NewLeader}
	switch {
	case r.NewLeader == "" && r.Timestamp == "":
		row = row[:3]
	case r.NewLeader == "":
		row = row[:4]
	}
	return encode(row), nil
}

// DecodeHistory reads the timeline history. Elements a row lacks are zero;
// rows that name no timeline are left out. If the last row is such a one the
// cluster's timeline is unknown and no rows are returned. The error says
// what was damaged.
func DecodeHistory(raw []byte) ([]HistoryRow, error) {
	v, err := decode(raw)
	if err != nil {
		return nil, fmt.Errorf("read as unknown: %w", err)
	}
	list, ok := v.([]any)
	if !ok {
		return nil, errors.New("read as unknown: not a JSON array")
	}
	var rows []HistoryRow
	var damage error
	for i, e := range list {
		row, ok := historyRow(e)
		switch {
		case ok:
			rows = append(rows, row)
		case i == len(list)-1:
			return nil, errors.New("read as unknown: the last row names no timeline")
		default:
			damage = fmt.Errorf("row %d left out: it names no timeline", i+1)
		}
	}
	return rows, damage
}

// historyRow reads one row; its timeline must leave room for the next one.
func historyRow(v any) (HistoryRow, bool) {
	e, _ := v.([]any)
	if len(e) == 0 {
		return HistoryRow{}, false
	}
	e = append(e, nil, nil, nil, nil)
	tl := timeline(e[0])
	at, _ := position(e[1])
	row := HistoryRow{Timeline: tl, Switch: at, Reason: text(e[2]), Timestamp: text(e[3]), NewLeader: text(e[4])}
	return row, tl > 0 && tl < postgres.Timeline(math.MaxUint32)
}

// EncodeFailsafe writes the failsafe key: member name to api_url.
func EncodeFailsafe(members map[string]string) []byte {
	if members == nil {
		members = map[string]string{}
	}
	return encode(members)
}

// DecodeFailsafe reads the failsafe key; nil means the feature is inactive. A
// member whose URL is no text is kept with an empty one: it cannot agree, and
// leaving it out would let failsafe mode pass without it.
func DecodeFailsafe(raw []byte) (map[string]string, error) {
	m, err := object(raw)
	if err != nil {
		return nil, fmt.Errorf("read as inactive: %w", err)
	}
	out := make(map[string]string, len(m))
	var damage error
	for name, u := range m {
		if _, ok := u.(string); !ok {
			damage = errors.New("a member's URL is no text")
		}
		out[name] = text(u)
	}
	return out, damage
}
