package rest

import (
	"math"
	"time"

	"pgha/internal/api"
)

// ProbeState is how a health probe stands, as shown.
type ProbeState string

const (
	// ProbeOK: the last attempt worked.
	ProbeOK ProbeState = "ok"
	// ProbeFailing: it did not, or has not come back.
	ProbeFailing ProbeState = "failing"
	// ProbeUnknown: nothing was learnt yet, or there is nothing to probe.
	ProbeUnknown ProbeState = "unknown"
	// ProbeOff: switched off in pgha.health.
	ProbeOff ProbeState = "off"
)

// Probe is one of the health probes: connect, data_write, wal_write.
type Probe struct {
	Name  string
	State ProbeState
	// Why explains a state other than a plain ok; may be empty.
	Why string
	// Failures in a row, and since when; 0 and zero when not failing.
	Failures int
	Since    time.Time
	// Took is how long the last attempt took, or one that hangs has taken.
	Took time.Duration
	// Free is what can still be written to the file system, in bytes; 0: none
	// or unknown.
	Free uint64
	// Full: ordinary clients find no free connection.
	Full bool
}

// healthObject is pgha.health in the status document.
func healthObject(probes []Probe) *api.Object {
	all := newObject()
	for _, p := range probes {
		o := newObject("state", string(p.State))
		if p.Why != "" {
			o.Set("reason", p.Why)
		}
		if p.Failures > 0 {
			o.Set("failures", p.Failures)
			o.Set("since", p.Since.Format(time.RFC3339))
		}
		if p.State == ProbeOK || p.State == ProbeFailing {
			o.Set("seconds", math.Round(p.Took.Seconds()*1000)/1000)
		}
		if p.Free > 0 {
			o.Set("free_bytes", int64(min(p.Free, math.MaxInt64)))
		}
		all.Set(p.Name, o)
	}
	return all
}

// probes are the series of the health probes. A probe that is off, or knows
// nothing, has none: an alert on absence would be one on the configuration.
func probes(k sink, all []Probe) {
	for _, p := range all {
		if p.State != ProbeOK && p.State != ProbeFailing {
			continue
		}
		k.gauge("pgha_health_probe_up", "Value is 1 if the last attempt of the health probe worked, 0 otherwise.", number(p.State == ProbeOK), "probe", p.Name)
		k.gauge("pgha_health_probe_failures", "Failures of the health probe in a row.", float64(p.Failures), "probe", p.Name)
		k.gauge("pgha_health_probe_duration_seconds", "How long the last attempt of the health probe took, or one that hangs has taken.", p.Took.Seconds(), "probe", p.Name)
		if p.Free > 0 {
			k.gauge("pgha_health_free_bytes", "What can still be written to the file system that the health probe writes to.", float64(p.Free), "probe", p.Name)
		}
		if p.Name == "connect" {
			k.gauge("pgha_health_connections_full", "Value is 1 if ordinary clients find no free connection, 0 otherwise.", number(p.Full))
		}
	}
}
