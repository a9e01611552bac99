package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"
)

// ErrRejected is wrapped by ParseDynamic's error: the document's timing and
// postgresql section are not used, those of the previous one stay.
var ErrRejected = errors.New("dynamic configuration rejected")

// DefaultDynamic is the dynamic configuration of an empty document.
func DefaultDynamic() Dynamic {
	d, _ := ParseDynamic(map[string]any{}, nil) // an empty document is never rejected
	return d
}

// ParseDynamic reads a dynamic document (Document.Map; contract: config.md
// 1.4 and 2). Values that cannot be used give their default and a finding.
//
// An error (ErrRejected) means that timing and postgresql section are those of
// previous (defaults when nil), while the keys read straight from the document
// hold all the same: all members must agree on them. The Dynamic is complete
// in either case.
func ParseDynamic(doc map[string]any, previous *Dynamic) (Dynamic, error) {
	if doc == nil {
		doc = map[string]any{}
	}
	root := nodeOf(doc)
	r := &dynamicReader{root: root, findings: checkDynamic(root)}
	d := Dynamic{
		MaximumLagOnFailover:  r.integer("maximum_lag_on_failover", 1<<20, ""),
		CheckTimeline:         r.boolean("check_timeline"),
		MaxTimelinesHistory:   int(r.integer("max_timelines_history", 0, "")),
		PrimaryStartTimeout:   r.seconds("primary_start_timeout", "master_start_timeout", 300),
		PrimaryStopTimeout:    r.seconds("primary_stop_timeout", "master_stop_timeout", 0),
		PrimaryRaceBackoff:    r.seconds("primary_race_backoff", "", 0),
		SynchronousModeStrict: r.boolean("synchronous_mode_strict"),
		SynchronousNodeCount:  int(r.integer("synchronous_node_count", 1, "")),
		MaximumLagOnSyncnode:  r.integer("maximum_lag_on_syncnode", -1, ""),
		FailsafeMode:          r.boolean("failsafe_mode"),
		Pause:                 r.boolean("pause"),
		MemberSlotsTTL:        r.seconds("member_slots_ttl", "", 1800),
		StandbyCluster:        r.standbyCluster(),
		Slots:                 r.slots(),
		IgnoreSlots:           r.ignoreSlots(),
		UseSlots:              true,
		Document:              doc,
	}
	if value := root.Lookup("postgresql", "use_slots"); !value.IsNull() {
		d.UseSlots, _ = boolean(value.Value())
	}
	if d.SynchronousModeStrict {
		d.SynchronousNodeCount = max(d.SynchronousNodeCount, 1)
	}
	if d.PrimaryRaceBackoff > 0 {
		r.find("primary_race_backoff", "not supported yet, without effect: nobody waits with the race", "")
	}
	d.SynchronousMode = SyncOff
	if d.StandbyCluster == nil {
		d.SynchronousMode = r.syncMode()
	}
	err := r.accept(&d, previous)
	d.Findings = r.findings
	d.Unsupported = unsupported(d)
	return d, err
}

// dynamicReader reads a document and collects what it could not use.
type dynamicReader struct {
	root     *Node
	findings []Finding
}

func (r *dynamicReader) find(path, message, remedy string) {
	r.findings = append(r.findings, Finding{Path: path, Message: message, Remedy: remedy})
}

// integer falls back to the default; checkDynamic has said why.
func (r *dynamicReader) integer(key string, def int64, unit string) int64 {
	n := r.root.Lookup(key)
	if n.IsNull() {
		return def
	}
	i, ok := integer(n.Value(), unit)
	if !ok || (i != int64(int32(i)) && key != "maximum_lag_on_failover" && key != "maximum_lag_on_syncnode") {
		return def
	}
	return i
}

// seconds reads a duration; the alias counts only when the name is absent.
func (r *dynamicReader) seconds(key, alias string, def int64) time.Duration {
	unit := ""
	if key == "member_slots_ttl" {
		unit = "s"
	}
	if alias != "" && r.root.Lookup(key) == nil {
		key = alias
	}
	return time.Duration(r.integer(key, def, unit)) * time.Second
}

// boolean takes anything that is no spelling of a boolean as false.
func (r *dynamicReader) boolean(key string) bool {
	b, _ := boolean(r.root.Lookup(key).Value())
	return b
}

func (r *dynamicReader) syncMode() SyncMode {
	value := r.root.Lookup("synchronous_mode").Value()
	if s, _ := value.(string); strings.EqualFold(s, "quorum") {
		return SyncQuorum
	}
	on, ok := boolean(value)
	if value != nil && !ok {
		r.find("synchronous_mode", fmt.Sprintf("%v is none of off, on, quorum: off", value), "")
	}
	if on {
		return SyncOn
	}
	return SyncOff
}

// standbyCluster is nil unless the section says where to follow.
func (r *dynamicReader) standbyCluster() *StandbyCluster {
	n := r.root.Lookup("standby_cluster")
	if n.IsNull() || n.Kind != MapNode {
		return nil
	}
	s := &StandbyCluster{
		Host:                 n.text("host"),
		Port:                 n.integer("port", 0),
		PrimarySlotName:      n.text("primary_slot_name"),
		CreateReplicaMethods: n.texts("create_replica_methods"),
		RestoreCommand:       n.text("restore_command"),
		ArchiveCleanup:       n.text("archive_cleanup_command"),
		RecoveryMinDelay:     n.text("recovery_min_apply_delay"),
	}
	if s.Host == "" && s.Port == 0 && s.RestoreCommand == "" {
		return nil
	}
	return s
}

// accept settles what a rejected document must not change.
func (r *dynamicReader) accept(d *Dynamic, previous *Dynamic) error {
	timing, err := r.timing()
	if err == nil {
		err = r.sections()
	}
	if err != nil {
		timing = Timing{TTL: 30, LoopWait: 10, RetryTimeout: 10}
		d.Accepted = map[string]any{}
		if previous != nil {
			timing = previous.timing()
			d.Accepted = previous.accepted()
		}
		d.setTiming(timing)
		return fmt.Errorf("%w: %w", ErrRejected, err)
	}
	adjusted, findings := timing.Adjust(PghaFloors)
	r.findings = append(r.findings, findings...)
	d.setTiming(adjusted)
	d.Accepted = withTiming(d.Document, timing, adjusted)
	return nil
}

// accepted is the document in force; a Dynamic made by hand may hold only the raw one.
func (d Dynamic) accepted() map[string]any {
	if d.Accepted == nil {
		return d.Document
	}
	return d.Accepted
}

// sections refuses maps that are none.
func (r *dynamicReader) sections() error {
	for _, key := range []string{"postgresql", "standby_cluster"} {
		if n := r.root.Lookup(key); n != nil && n.Kind != MapNode && truthy(n.Value()) {
			return fmt.Errorf("%s: expected keys with values, got %s", key, n.describe())
		}
	}
	if n := r.root.Lookup("postgresql", "parameters"); !n.IsNull() && n.Kind != MapNode {
		return fmt.Errorf("postgresql.parameters: expected keys with values, got %s", n.describe())
	}
	return nil
}

// Timing is the three numbers that must fit together, in seconds.
type Timing struct{ TTL, LoopWait, RetryTimeout int64 }

// Floors of the timing: pgha's own (rulings 22), and those that hold while a
// Patroni member is in the scope.
var (
	PghaFloors    = Timing{TTL: 5, LoopWait: 1, RetryTimeout: 2}
	PatroniFloors = Timing{TTL: 20, LoopWait: 1, RetryTimeout: 3}
)

// timing reads the three numbers; one that is no integer rejects the document.
func (r *dynamicReader) timing() (Timing, error) {
	t := Timing{TTL: 30, LoopWait: 10, RetryTimeout: 10}
	for _, part := range []struct {
		key  string
		into *int64
	}{{"ttl", &t.TTL}, {"loop_wait", &t.LoopWait}, {"retry_timeout", &t.RetryTimeout}} {
		n := r.root.Lookup(part.key)
		if n == nil {
			continue
		}
		seconds, ok := wholeSeconds(n.Value())
		if !ok {
			return t, fmt.Errorf("%s: expected a whole number of seconds, got %s", part.key, n.describe())
		}
		*part.into = seconds
	}
	return t, nil
}

// wholeSeconds truncates numbers, and takes text only if it is an integer.
func wholeSeconds(v any) (int64, bool) {
	switch n := v.(type) {
	case json.Number:
		f, err := n.Float64()
		return int64(f), err == nil && math.Abs(f) <= math.MaxInt32
	case float64:
		return int64(n), math.Abs(n) <= math.MaxInt32
	case int64, int, string:
		i, err := strconv.ParseInt(strings.TrimSpace(pyText(n)), 10, 32)
		return i, err == nil
	}
	return 0, false
}

// Adjust raises the numbers to the floors and makes loop_wait +
// 2*retry_timeout <= ttl, shrinking loop_wait first.
func (t Timing) Adjust(floors Timing) (Timing, []Finding) {
	var findings []Finding
	raise := func(key string, value *int64, floor int64) {
		if *value < floor {
			findings = append(findings, Finding{Path: key, Message: fmt.Sprintf("%d is below the minimum, %d is used", *value, floor)})
			*value = floor
		}
	}
	raise("ttl", &t.TTL, floors.TTL)
	raise("loop_wait", &t.LoopWait, floors.LoopWait)
	raise("retry_timeout", &t.RetryTimeout, floors.RetryTimeout)
	if t.LoopWait+2*t.RetryTimeout <= t.TTL {
		return t, findings
	}
	before := t
	if wait := t.TTL - 2*t.RetryTimeout; wait >= 1 {
		t.LoopWait = wait
	} else {
		t.LoopWait, t.RetryTimeout = 1, (t.TTL-1)/2
	}
	return t, append(findings, Finding{
		Path: "loop_wait",
		Message: fmt.Sprintf("loop_wait (%d) + 2*retry_timeout (%d) is more than ttl (%d): loop_wait %d and retry_timeout %d are used",
			before.LoopWait, before.RetryTimeout, before.TTL, t.LoopWait, t.RetryTimeout),
		Remedy: "raise ttl, or lower the others",
	})
}

// WithFloors raises the timing to other floors: PatroniFloors while a Patroni
// member is in the scope (rulings 22). Findings say what changed.
func (d Dynamic) WithFloors(floors Timing) (Dynamic, []Finding) {
	t, findings := d.timing().Adjust(floors)
	d.setTiming(t)
	return d, findings
}

func (d Dynamic) timing() Timing {
	return Timing{int64(d.TTL / time.Second), int64(d.LoopWait / time.Second), int64(d.RetryTimeout / time.Second)}
}

func (d *Dynamic) setTiming(t Timing) {
	d.TTL = time.Duration(t.TTL) * time.Second
	d.LoopWait = time.Duration(t.LoopWait) * time.Second
	d.RetryTimeout = time.Duration(t.RetryTimeout) * time.Second
}

// withTiming copies a document's top level with adjusted numbers: what the
// cache file and a /config written from it hold (contract: config.md 1.4).
func withTiming(doc map[string]any, before, after Timing) map[string]any {
	out := maps.Clone(doc)
	set := func(key string, before, after int64) {
		if before != after {
			out[key] = after
		}
	}
	set("ttl", before.TTL, after.TTL)
	set("loop_wait", before.LoopWait, after.LoopWait)
	set("retry_timeout", before.RetryTimeout, after.RetryTimeout)
	return out
}

// unsupported lists what pgha cannot do yet (rulings 26).
func unsupported(d Dynamic) []Finding {
	var out []Finding
	if d.SynchronousMode != SyncOff {
		out = append(out, Finding{
			Path:    "synchronous_mode",
			Message: fmt.Sprintf("synchronous_mode: %s is not supported yet", d.SynchronousMode),
			Remedy:  "for synchronous commits set synchronous_standby_names: 'ANY 1 (*)' in postgresql.parameters",
		})
	}
	if d.StandbyCluster != nil {
		out = append(out, Finding{Path: "standby_cluster", Message: "standby clusters are not supported yet"})
	}
	var logical []string
	for _, name := range sortedKeys(d.Slots) {
		if d.Slots[name].Type == "logical" {
			logical = append(logical, name)
		}
	}
	if len(logical) > 0 {
		out = append(out, Finding{
			Path:    "slots",
			Message: "logical failover slots are not supported yet: " + strings.Join(logical, ", "),
			Remedy:  "remove them from the dynamic configuration",
		})
	}
	return out
}
