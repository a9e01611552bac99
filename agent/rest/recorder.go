package rest

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Recorder counts what happens in an agent: the series of pgha's own that are
// not read off a Status. The agent calls it from any goroutine; no call
// blocks. docs/metrics.md is the table of all series.
type Recorder struct {
	loop        prometheus.Histogram
	overruns    prometheus.Counter
	decisions   *prometheus.CounterVec
	renewal     prometheus.Histogram
	dcs         *prometheus.HistogramVec
	dcsErrors   *prometheus.CounterVec
	promotions  *prometheus.CounterVec
	promFailed  prometheus.Counter
	demotions   *prometheus.CounterVec
	failovers   *prometheus.CounterVec
	switchovers *prometheus.CounterVec
	phases      *prometheus.HistogramVec
	lastPhase   *prometheus.GaugeVec
	roleChanged prometheus.Gauge
	// failsafe mode, as the primary
	failsafeEntries, failsafeSeconds prometheus.Counter
	requests                         *prometheus.CounterVec
	answers                          *prometheus.HistogramVec
}

// Buckets in seconds. A renewal is well below 100 ms where all is well; what
// it may take at most is counted in seconds (ttl). Phases end within minutes.
var (
	fastBuckets  = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	loopBuckets  = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 30}
	phaseBuckets = []float64{.01, .05, .1, .25, .5, 1, 2, 5, 10, 20, 30, 60, 120, 300}
)

// NewRecorder returns a recorder that has counted nothing yet.
func NewRecorder() *Recorder {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	}
	return &Recorder{
		loop: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "pgha_loop_duration_seconds",
			Help: "Duration of one pass of the HA loop, without its rest.", Buckets: loopBuckets}),
		overruns: prometheus.NewCounter(prometheus.CounterOpts{Name: "pgha_loop_overruns_total",
			Help: "Passes of the HA loop that took longer than loop_wait."}),
		decisions: counter("pgha_decisions_total", "Passes of the HA loop by the reason of their result.", "reason"),
		renewal: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "pgha_lease_renewal_duration_seconds",
			Help: "From the request that renews the leader key until the guard holds the new deadline.", Buckets: fastBuckets}),
		dcs:         histogram("pgha_dcs_request_duration_seconds", "Duration of requests to the DCS by operation, failed ones included.", fastBuckets, "op"),
		dcsErrors:   counter("pgha_dcs_errors_total", "Requests to the DCS that got no answer or an unknown outcome, by operation.", "op"),
		promotions:  counter("pgha_promotions_total", "Promotions of PostgreSQL on this member that ended well, by reason.", "reason"),
		promFailed:  prometheus.NewCounter(prometheus.CounterOpts{Name: "pgha_promotion_failures_total", Help: "Promotions of PostgreSQL on this member that failed."}),
		demotions:   counter("pgha_demotions_total", "Step-downs of this member begun, by reason.", "reason"),
		failovers:   counter("pgha_failovers_total", "Promotions of this member that nobody had planned as a switchover, by reason.", "reason"),
		switchovers: counter("pgha_switchovers_total", "Requested changes of leader that this member began as the leader, by result.", "result"),
		phases:      histogram("pgha_phase_duration_seconds", "Duration of the phases of leader changes that this member took part in.", phaseBuckets, "operation", "phase"),
		lastPhase: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "pgha_last_phase_duration_seconds",
			Help: "Duration of the phases of the last leader change that this member took part in."}, []string{"operation", "phase"}),
		roleChanged: prometheus.NewGauge(prometheus.GaugeOpts{Name: "pgha_last_role_change_timestamp_seconds",
			Help: "When PostgreSQL here was last seen to become a primary or to stop being one; 0: not since the agent's start."}),
		failsafeEntries: prometheus.NewCounter(prometheus.CounterOpts{Name: "pgha_failsafe_entries_total", Help: "Times that this primary entered failsafe mode."}),
		failsafeSeconds: prometheus.NewCounter(prometheus.CounterOpts{Name: "pgha_failsafe_seconds_total", Help: "Time for which this primary was in failsafe mode."}),
		requests:        counter("pgha_rest_requests_total", "Requests to the REST API by class of path and status code.", "path", "code"),
		answers:         histogram("pgha_rest_request_duration_seconds", "Duration of requests to the REST API, health checks apart from the rest.", fastBuckets, "kind"),
	}
}

// register puts the recorder's series into a registry. Called once.
func (r *Recorder) register(to prometheus.Registerer) {
	to.MustRegister(r.loop, r.overruns, r.decisions, r.renewal, r.dcs, r.dcsErrors, r.promotions, r.promFailed, r.demotions,
		r.failovers, r.switchovers, r.phases, r.lastPhase, r.roleChanged, r.requests, r.answers,
		r.failsafeEntries, r.failsafeSeconds)
}

// Known are label values that can occur. Their series exist from the start,
// with zero: a counter that appears with its first event hides it from rate().
type Known struct {
	Ops, Promotions, Demotions, Failovers, Switchovers []string
}

// Expect makes the series of the label values.
func (r *Recorder) Expect(k Known) {
	for _, op := range k.Ops {
		r.dcs.WithLabelValues(op)
	}
	for vec, values := range map[*prometheus.CounterVec][]string{
		r.dcsErrors: k.Ops, r.promotions: k.Promotions, r.demotions: k.Demotions, r.failovers: k.Failovers, r.switchovers: k.Switchovers} {
		for _, v := range values {
			vec.WithLabelValues(v)
		}
	}
}

// Cycle counts one pass of the loop, by the code of its result.
func (r *Recorder) Cycle(took time.Duration, overrun bool, reason string) {
	r.loop.Observe(took.Seconds())
	r.decisions.WithLabelValues(reason).Inc()
	if overrun {
		r.overruns.Inc()
	}
}

// Renewed counts one confirmed renewal of the leader key.
func (r *Recorder) Renewed(took time.Duration) { r.renewal.Observe(took.Seconds()) }

// DCSRequest counts one request to the DCS. failed: no answer, or an unknown
// outcome; a refusal is an answer.
func (r *Recorder) DCSRequest(op string, took time.Duration, failed bool) {
	r.dcs.WithLabelValues(op).Observe(took.Seconds())
	if failed {
		r.dcsErrors.WithLabelValues(op).Inc()
	}
}

// Promoted counts a promotion that ended well.
func (r *Recorder) Promoted(reason string) { r.promotions.WithLabelValues(reason).Inc() }

// PromotionFailed counts one that did not.
func (r *Recorder) PromotionFailed() { r.promFailed.Inc() }

// Demoting counts a step-down that begins.
func (r *Recorder) Demoting(reason string) { r.demotions.WithLabelValues(reason).Inc() }

// FailedOver counts a takeover that was no switchover.
func (r *Recorder) FailedOver(reason string) { r.failovers.WithLabelValues(reason).Inc() }

// SwitchedOver counts a requested change of leader by its result.
func (r *Recorder) SwitchedOver(result string) { r.switchovers.WithLabelValues(result).Inc() }

// Phase records how long a phase of a leader change took.
func (r *Recorder) Phase(operation, phase string, took time.Duration) {
	r.phases.WithLabelValues(operation, phase).Observe(took.Seconds())
	r.lastPhase.WithLabelValues(operation, phase).Set(took.Seconds())
}

// Failsafe counts time in failsafe mode, and that it was entered.
func (r *Recorder) Failsafe(entered bool, d time.Duration) {
	if entered {
		r.failsafeEntries.Inc()
	}
	r.failsafeSeconds.Add(max(0, d.Seconds()))
}

// RoleChanged records when PostgreSQL became a primary, or stopped being one.
func (r *Recorder) RoleChanged(at time.Time) { r.roleChanged.Set(epoch(at)) }

// request counts one answered request; class is one of a fixed set.
func (r *Recorder) request(class string, check bool, code int, took time.Duration) {
	kind := "other"
	if check {
		kind = "check"
	}
	r.requests.WithLabelValues(class, strconv.Itoa(code)).Inc()
	r.answers.WithLabelValues(kind).Observe(took.Seconds())
}
