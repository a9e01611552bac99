package postgres

import "strings"

// The tables here hold what `postgres --describe-config` does not tell. They
// come from pg_settings of PostgreSQL 15, with the additions of 16 to 18.

// parameterUnits is the base unit of numbers by lower-case parameter name.
var parameterUnits = unitTable(map[string]string{
	"B": "log_parameter_max_length log_parameter_max_length_on_error track_activity_query_size " +
		"wal_decode_buffer_size",
	"kB": "autovacuum_work_mem gin_pending_list_limit huge_page_size log_rotation_size log_temp_files " +
		"logical_decoding_work_mem maintenance_work_mem max_stack_depth temp_file_limit " +
		"vacuum_buffer_usage_limit wal_skip_threshold work_mem",
	"8kB": "backend_flush_after bgwriter_flush_after checkpoint_flush_after commit_timestamp_buffers " +
		"effective_cache_size io_combine_limit io_max_combine_limit min_parallel_index_scan_size " +
		"min_parallel_table_scan_size multixact_member_buffers multixact_offset_buffers notify_buffers " +
		"serializable_buffers shared_buffers subtransaction_buffers temp_buffers transaction_buffers " +
		"wal_buffers wal_writer_flush_after",
	"MB": "max_slot_wal_keep_size max_wal_size min_dynamic_shared_memory min_wal_size wal_keep_size",
	"ms": "autovacuum_vacuum_cost_delay bgwriter_delay client_connection_check_interval deadlock_timeout " +
		"idle_in_transaction_session_timeout idle_session_timeout lock_timeout " +
		"log_autovacuum_min_duration log_min_duration_sample log_min_duration_statement " +
		"log_startup_progress_interval max_standby_archive_delay max_standby_streaming_delay " +
		"recovery_min_apply_delay statement_timeout tcp_user_timeout transaction_timeout " +
		"vacuum_cost_delay wal_receiver_timeout wal_retrieve_retry_interval wal_sender_timeout " +
		"wal_writer_delay",
	"s": "archive_timeout authentication_timeout autovacuum_naptime checkpoint_timeout checkpoint_warning " +
		"post_auth_delay pre_auth_delay tcp_keepalives_idle tcp_keepalives_interval " +
		"wal_receiver_status_interval",
	"min": "log_rotation_age old_snapshot_threshold wal_summary_keep_time",
})

func unitTable(byUnit map[string]string) map[string]string {
	table := map[string]string{}
	for unit, names := range byUnit {
		for _, name := range strings.Fields(names) {
			table[name] = unit
		}
	}
	return table
}

// enumValues is what enums accept, without synonyms (enumAccepts). An enum that
// is not here is not checked.
var enumValues = map[string][]string{
	"archive_mode":                  {"always", "on", "off"},
	"backslash_quote":               {"safe_encoding", "on", "off"},
	"bytea_output":                  {"escape", "hex"},
	"client_min_messages":           {"debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error"},
	"compute_query_id":              {"auto", "regress", "on", "off"},
	"constraint_exclusion":          {"partition", "on", "off"},
	"debug_parallel_query":          {"off", "on", "regress"},
	"default_toast_compression":     {"pglz", "lz4"},
	"default_transaction_isolation": {"serializable", "repeatable read", "read committed", "read uncommitted"},
	"dynamic_shared_memory_type":    {"posix", "sysv", "mmap"},
	"force_parallel_mode":           {"off", "on", "regress"},
	"huge_pages":                    {"off", "on", "try"},
	"intervalstyle":                 {"postgres", "postgres_verbose", "sql_standard", "iso_8601"},
	"log_error_verbosity":           {"terse", "default", "verbose"},
	"log_min_error_statement":       {"debug5", "debug4", "debug3", "debug2", "debug1", "info", "notice", "warning", "error", "log", "fatal", "panic"},
	"log_min_messages":              {"debug5", "debug4", "debug3", "debug2", "debug1", "info", "notice", "warning", "error", "log", "fatal", "panic"},
	"log_statement":                 {"none", "ddl", "mod", "all"},
	"password_encryption":           {"md5", "scram-sha-256"},
	"plan_cache_mode":               {"auto", "force_generic_plan", "force_custom_plan"},
	"recovery_init_sync_method":     {"fsync", "syncfs"},
	"recovery_prefetch":             {"off", "on", "try"},
	"recovery_target_action":        {"pause", "promote", "shutdown"},
	"session_replication_role":      {"origin", "replica", "local"},
	"shared_memory_type":            {"sysv", "mmap"},
	"ssl_max_protocol_version":      {"", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"},
	"ssl_min_protocol_version":      {"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"},
	"stats_fetch_consistency":       {"none", "cache", "snapshot"},
	"synchronous_commit":            {"local", "remote_write", "remote_apply", "on", "off"},
	"syslog_facility":               {"local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"},
	"trace_recovery_messages":       {"debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error"},
	"track_functions":               {"none", "pl", "all"},
	"wal_compression":               {"pglz", "lz4", "zstd", "on", "off"},
	"wal_level":                     {"minimal", "replica", "logical"},
	"wal_sync_method":               {"fsync", "fdatasync", "open_sync", "open_datasync"},
	"xmlbinary":                     {"base64", "hex"},
	"xmloption":                     {"content", "document"},
}

// developerOption finds a parameter that a configuration file may set though
// --describe-config hides it.
func developerOption(name string, v Version) (SettingInfo, bool) {
	name = strings.ToLower(name)
	for _, o := range developerOptions {
		if o.name == name && v.Major() >= o.from && (o.until == 0 || v.Major() <= o.until) {
			return SettingInfo{Name: name, Type: o.vartype}, true
		}
	}
	return SettingInfo{}, false
}

// developerOptions with their first and last major version; zero: no limit
// among the supported ones.
var developerOptions = []struct {
	name, vartype string
	from, until   int
}{
	{"allow_in_place_tablespaces", "bool", 15, 0},
	{"allow_system_table_mods", "bool", 0, 0},
	{"application_name", "string", 0, 0},
	{"backtrace_functions", "string", 0, 0},
	{"debug_discard_caches", "integer", 14, 0},
	{"debug_logical_replication_streaming", "enum", 16, 0},
	{"debug_parallel_query", "enum", 16, 0},
	{"force_parallel_mode", "enum", 0, 15},
	{"ignore_checksum_failure", "bool", 0, 0},
	{"ignore_invalid_pages", "bool", 0, 0},
	{"ignore_system_indexes", "bool", 0, 0},
	{"jit_debugging_support", "bool", 0, 0},
	{"jit_dump_bitcode", "bool", 0, 0},
	{"jit_expressions", "bool", 0, 0},
	{"jit_profiling_support", "bool", 0, 0},
	{"jit_tuple_deforming", "bool", 0, 0},
	{"post_auth_delay", "integer", 0, 0},
	{"pre_auth_delay", "integer", 0, 0},
	{"remove_temp_files_after_crash", "bool", 14, 0},
	{"restrict_nonsystem_relation_kind", "string", 17, 0},
	{"send_abort_for_crash", "bool", 16, 0},
	{"send_abort_for_kill", "bool", 16, 0},
	{"trace_connection_negotiation", "bool", 17, 0},
	{"trace_notify", "bool", 0, 0},
	{"trace_recovery_messages", "enum", 0, 16},
	{"trace_sort", "bool", 0, 0},
	{"wal_consistency_checking", "string", 0, 0},
	{"zero_damaged_pages", "bool", 0, 0},
}
