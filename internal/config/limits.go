package config

import (
	"fmt"
	"math"
)

// limit is the range of a number. The sheet's validator and lint use the same
// table (contract: config.md 7, rest-api.md 15).
type limit struct {
	path     string
	min, max int64
	unit     string // base unit for text with a unit; empty: none allowed
}

const noMaximum = math.MaxInt64

// localLimits are ranges of the local configuration.
var localLimits = []limit{
	{"thread_pool_size", 5, noMaximum, ""},
	{"thread_stack_size", 65536, noMaximum, "B"},
	{"restapi.request_queue_size", 0, 4096, ""},
	{"restapi.thread_pool_size", 5, noMaximum, ""},
	{"etcd3.port", 1, 65535, ""},
	{"log.mode", 0, 0o777, ""},
	{"log.max_queue_size", 1, noMaximum, ""},
	{"log.file_num", 0, noMaximum, ""},
	{"log.file_size", 1, noMaximum, ""},
	{"watchdog.safety_margin", -1, noMaximum, ""},
	{"tags.failover_priority", 0, noMaximum, ""},
	{"tags.sync_priority", 0, noMaximum, ""},
	{"postgresql.pg_ctl_timeout", 0, noMaximum, ""},
	{"pgha.journal.size", 256 << 10, 1 << 30, "B"},
}

// dynamicLimits are ranges of the dynamic configuration. The floors of the
// timing are pgha's (rulings 22).
var dynamicLimits = []limit{
	{"ttl", PghaFloors.TTL, noMaximum, ""},
	{"loop_wait", PghaFloors.LoopWait, noMaximum, ""},
	{"retry_timeout", PghaFloors.RetryTimeout, noMaximum, ""},
	{"maximum_lag_on_failover", 0, noMaximum, ""},
	{"maximum_lag_on_syncnode", -1, noMaximum, ""},
	{"max_timelines_history", 0, noMaximum, ""},
	{"member_slots_ttl", 0, noMaximum, "s"},
	{"primary_start_timeout", 0, noMaximum, ""},
	{"primary_stop_timeout", 0, noMaximum, ""},
	{"master_start_timeout", 0, noMaximum, ""},
	{"master_stop_timeout", 0, noMaximum, ""},
	{"primary_race_backoff", 0, noMaximum, ""},
	{"synchronous_node_count", 1, noMaximum, ""},
	{"standby_cluster.port", 1, 65535, ""},
	{"postgresql.pg_ctl_timeout", 0, noMaximum, ""},
}

// parameterLimits are PostgreSQL's own ranges, as the sheet's validator has
// them for bootstrap.dcs.postgresql.parameters. The agent's minima
// (controlledGUCs) are higher in places.
var parameterLimits = []limit{
	{"max_connections", 1, maxBackends, ""},
	{"max_locks_per_transaction", 10, math.MaxInt32, ""},
	{"max_prepared_transactions", 0, maxBackends, ""},
	{"max_replication_slots", 0, maxBackends, ""},
	{"max_wal_senders", 0, maxBackends, ""},
	{"max_worker_processes", 0, maxBackends, ""},
}

// breach says how a value leaves the range; empty when it does not, or is no
// number at all (which the check of types reports).
func (l limit) breach(v any) string {
	i, ok := integer(v, l.unit)
	switch {
	case !ok:
	case i < l.min:
		return fmt.Sprintf("%d is below the minimum, %d%s", i, l.min, l.unit)
	case i > l.max:
		return fmt.Sprintf("%d is above the maximum, %d%s", i, l.max, l.unit)
	}
	return ""
}

// nearestTo is the bound that was left.
func (l limit) nearestTo(v any) int64 {
	i, _ := integer(v, l.unit)
	return min(max(i, l.min), l.max)
}
