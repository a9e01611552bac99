package main

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// fill completes the table with the majors between those that were asked. A
// parameter of both neighbours is there with the wider of their rules. One
// that only a neighbour has is there when came or went says so: the major in
// which a parameter appeared, or the last that had it (PostgreSQL's release
// notes, appendix E of the manual). Otherwise it gets no rule: the installed
// binary decides then.
func fill(asked table) table {
	all := maps.Clone(asked)
	majors := slices.Sorted(maps.Keys(asked))
	for i := 1; i < len(majors); i++ {
		below, above := asked[majors[i-1]], asked[majors[i]]
		for major := majors[i-1] + 1; major < majors[i]; major++ {
			rules := map[string]rule{}
			for name, r := range below {
				if next, both := above[name]; both {
					rules[name] = wider(r, next)
				} else if went[name] >= major {
					rules[name] = r
				}
			}
			for name, r := range above {
				if _, both := below[name]; !both && came[name] != 0 && came[name] <= major {
					rules[name] = r
				}
			}
			all[major] = rules
		}
	}
	return all
}

// wider lets through what either rule does.
func wider(a, b rule) rule {
	if a == b || a.vartype != b.vartype || a.unit != b.unit {
		return b
	}
	w := b
	if less(a.low, b.low) {
		w.low = a.low
	}
	if less(b.high, a.high) {
		w.high = a.high
	}
	values := strings.Split(b.values, ",")
	for _, v := range strings.Split(a.values, ",") {
		if !slices.Contains(values, v) {
			values = append(values, v)
		}
	}
	w.values = strings.Join(values, ",")
	return w
}

func less(a, b string) bool {
	x, err1 := strconv.ParseFloat(a, 64)
	y, err2 := strconv.ParseFloat(b, 64)
	return err1 == nil && err2 == nil && x < y
}

// came is the major in which a parameter appeared, for those that appeared in
// a major that could not be asked (14, 16).
var came = map[string]int{
	"client_connection_check_interval": 14, "compute_query_id": 14, "debug_discard_caches": 14,
	"default_toast_compression": 14, "enable_async_append": 14, "enable_memoize": 14, "huge_page_size": 14,
	"idle_session_timeout": 14, "log_recovery_conflict_waits": 14, "min_dynamic_shared_memory": 14,
	"recovery_init_sync_method": 14, "remove_temp_files_after_crash": 14, "ssl_crl_dir": 14,
	"track_wal_io_timing": 14, "vacuum_failsafe_age": 14, "vacuum_multixact_failsafe_age": 14,
	"createrole_self_grant": 16, "debug_io_direct": 16, "debug_logical_replication_streaming": 16,
	"debug_parallel_query": 16, "enable_presorted_aggregate": 16, "gss_accept_delegation": 16,
	"icu_validation_level": 16, "max_parallel_apply_workers_per_subscription": 16,
	"reserved_connections": 16, "scram_iterations": 16, "send_abort_for_crash": 16,
	"send_abort_for_kill": 16, "vacuum_buffer_usage_limit": 16,
}

// went is the last major that had a parameter, for those that were gone by the
// next that could be asked.
var went = map[string]int{
	"stats_temp_directory": 14, "old_snapshot_threshold": 16, "db_user_namespace": 16,
	"trace_recovery_messages": 16,
}
