package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"pgha/agent/ha"
	"pgha/internal/config"
	"pgha/internal/dcs"
)

// shape is what kind of cluster, and what kind of weather, a seed gets.
type shape struct {
	members            int
	failsafe           bool // failsafe_mode
	ttl, loop, retry   time.Duration
	synchronous        bool // the user's own synchronous_standby_names: ANY 1 (*)
	syncKey            bool // somebody, Patroni perhaps, left a /sync key: two members have everything
	rewind             bool // pg_rewind is usable
	removeOnDiverged   bool
	removeOnFailure    bool
	followNeedsRestart bool
	cascade            bool    // every member names another one in replicatefrom, some in a circle
	priorities         bool    // of failover, different ones
	drift              float64 // clocks go wrong by up to this
	loss, slow         float64 // of messages
	slowest            time.Duration
	stray              float64 // of messages come after everybody has given them up
	slowServer         float64 // of starts, stops, promotions
	strike             float64 // of steps that matter are hit by a fault
	pressure           time.Duration
	trouble            time.Duration // how long faults go on
	prePromote         time.Duration // pre_promote takes up to this, and fails at times; 0: none
}

func (h shape) String() string {
	return fmt.Sprintf("%d members, failsafe %t, ttl %v loop_wait %v retry_timeout %v, synchronous %t, /sync %t, rewind %t, remove on diverged %t, cascade %t, priorities %t, drift %.3f, loss %.3f, slow %.3f up to %v, stray %.3f, pre_promote up to %v",
		h.members, h.failsafe, h.ttl, h.loop, h.retry, h.synchronous, h.syncKey, h.rewind, h.removeOnDiverged, h.cascade, h.priorities, h.drift, h.loss, h.slow, h.slowest, h.stray, h.prePromote)
}

func drawShape(r *rand.Rand, o Options) shape {
	times := [][3]time.Duration{{5, 1, 2}, {10, 2, 4}, {20, 5, 7}, {30, 10, 10}}[r.IntN(4)]
	h := shape{
		members: 3, ttl: times[0] * time.Second, loop: times[1] * time.Second, retry: times[2] * time.Second,
		synchronous: r.IntN(3) == 0, rewind: r.IntN(4) != 0, removeOnDiverged: r.IntN(2) == 0, removeOnFailure: r.IntN(2) == 0,
		followNeedsRestart: r.IntN(5) == 0,
	}
	if r.IntN(4) == 0 {
		h.members = 2 + r.IntN(4)
	}
	h.syncKey = h.members > 2 && r.IntN(4) == 0
	h.failsafe = failsafeSeed(o)
	h.cascade, h.priorities = r.IntN(4) == 0, r.IntN(3) == 0
	if o.Calm {
		h.trouble = 60*time.Second + 4*h.ttl
		return h
	}
	h.drift = []float64{0, 0.0002, 0.005, 0.01}[r.IntN(4)]
	h.loss = []float64{0, 0.001, 0.02}[r.IntN(3)]
	h.slow = []float64{0, 0.02, 0.2}[r.IntN(3)]
	h.slowest = h.ttl / 2
	h.stray = []float64{0, 0, 0.001, 0.01}[r.IntN(4)]
	h.slowServer = []float64{0, 0.1, 0.3}[r.IntN(3)]
	h.strike = []float64{0, 0.05, 0.3}[r.IntN(3)]
	h.pressure = h.ttl * time.Duration(1+r.IntN(4)) / 2
	h.trouble = 40*time.Second + 6*h.ttl
	h.prePromote = []time.Duration{0, 0, 0, 3 * time.Second}[r.IntN(4)]
	return h
}

// settings is one agent's view of the dynamic configuration. It implements
// agent.SettingsSource.
type settings struct {
	h       shape
	current ha.Settings
	seen    dcs.Revision
	paused  bool // this incarnation has read of the present pause
}

func newSettings(h shape) *settings {
	return &settings{h: h, current: ha.Settings{
		Dynamic: config.Dynamic{
			TTL: h.ttl, LoopWait: h.loop, RetryTimeout: h.retry, MaximumLagOnFailover: 1 << 20,
			PrimaryStartTimeout: 300 * time.Second, MemberSlotsTTL: 30 * time.Minute, UseSlots: true, FailsafeMode: h.failsafe,
		},
		RemoveOnDiverged: h.removeOnDiverged, RemoveOnRewindFailure: h.removeOnFailure,
	}}
}

// Current implements agent.SettingsSource.
func (c *settings) Current() ha.Settings { return c.current }

// Learn implements agent.SettingsSource.
func (c *settings) Learn(raw *dcs.Config) ha.Settings {
	if raw == nil || !raw.Valid || raw.Revision == c.seen {
		return c.current
	}
	c.seen = raw.Revision
	var doc struct {
		Pause bool `json:"pause"`
	}
	if json.Unmarshal(raw.Raw, &doc) == nil {
		c.current.Pause, c.paused = doc.Pause, doc.Pause
	}
	return c.current
}

// Document implements agent.SettingsSource.
func (c *settings) Document() []byte { return configDocument(c.h, false) }

// configDocument is the config key's value.
func configDocument(h shape, pause bool) []byte {
	doc := fmt.Sprintf(`{"ttl":%d,"loop_wait":%d,"retry_timeout":%d`, h.ttl/time.Second, h.loop/time.Second, h.retry/time.Second)
	if pause {
		doc += `,"pause":true`
	}
	return []byte(doc + "}")
}

// Changed implements agent.SettingsSource.
func (c *settings) Changed() bool { return false }

// Apply implements agent.SettingsSource.
func (c *settings) Apply(context.Context) {}
