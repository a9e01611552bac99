package config

import (
	"os"
	"strings"
	"testing"
)

const validLocal = `scope: demo
name: a
restapi: {listen: 'a:8008', connect_address: 'a:8008'}
etcd3: {hosts: 'e:2379'}
postgresql:
  listen: 'a:5432'
  connect_address: 'a:5432'
  data_dir: /d
  authentication: {superuser: {username: u}, replication: {username: r}}
`

// Each row of contract config.md 7 that needs no machine. A line of yaml
// replaces the top-level key of that name.
func TestValidate(t *testing.T) {
	const pg = "postgresql: {listen: 'a:5432', connect_address: 'a:5432', data_dir: /d, authentication: {superuser: {username: u}, replication: {username: r}}"
	cases := []struct{ section, yaml, want string }{
		{"all", "", ""},
		{"name, scope", "name: 5", "name 5 is not a string"},
		{"name, scope", "scope: ~", "scope is not defined."},
		{"name, scope", "name: " + reservedName, "name " + reservedName + " this name is reserved"},
		{"thread_pool_size", "thread_pool_size: 4", "thread_pool_size 4 is below the minimum, 5"},
		{"thread_pool_size", "thread_pool_size: '5'", "thread_pool_size 5 is not an integer"},
		{"thread_stack_size", "thread_stack_size: 524288", ""},
		{"thread_stack_size", "thread_stack_size: 65535", "thread_stack_size 65535 is below the minimum, 65536B"},
		{"restapi", "restapi: {listen: 'a:8008'}", "restapi.connect_address is not defined."},
		{"restapi", "restapi: {listen: a, connect_address: 'a:1'}", "restapi.listen a is not <host>:<port>"},
		{"restapi", "restapi: {listen: 'a:1', connect_address: 'localhost:1'}", "restapi.connect_address localhost:1 must not be"},
		{"restapi", "restapi: {listen: 'a:1', connect_address: '*:1'}", "restapi.connect_address *:1 must not be"},
		{"restapi", "restapi: {listen: 'a:1', connect_address: '[::1]:1'}", "must not be"},
		{"restapi", "restapi: [a]", `restapi ["a"] is not a dictionary`},
		{"restapi", "restapi: {listen: 'a:1', connect_address: 'a:1', verify_client: maybe}", "restapi.verify_client maybe is none of none, optional, required"},
		{"restapi", "restapi: {listen: 'a:1', connect_address: 'a:1', request_queue_size: 5000}", "restapi.request_queue_size 5000 is above the maximum, 4096"},
		{"restapi", "restapi: {listen: 'a:1', connect_address: 'a:1', allowlist: []}", "restapi.allowlist [] is an empty list"},
		{"restapi", "restapi: {listen: 'a:1', connect_address: 'a:1', authentication: {username: u}}", "restapi.authentication.password is not defined."},
		{"postgresql", pg + ", proxy_address: '127.0.0.1:1'}", "postgresql.proxy_address 127.0.0.1:1 must not be"},
		{"postgresql", "postgresql: {listen: '*,a:1', connect_address: 'a:1', data_dir: /d, authentication: {superuser: {username: u}, replication: {username: r}}}", `"*" may only stand alone`},
		{"postgresql", "postgresql: {connect_address: 'a:1', data_dir: /d, authentication: {superuser: {username: u}, replication: {username: r}}}", "postgresql.listen is not defined."},
		{"postgresql", "postgresql: {listen: 'a:1', connect_address: 'a:1', data_dir: '', authentication: {superuser: {username: u}, replication: {username: r}}}", "postgresql.data_dir is an empty string"},
		{"postgresql", "postgresql: {listen: 'a:1', connect_address: 'a:1', data_dir: /d, authentication: {superuser: {username: u}}}", "postgresql.authentication.replication is not defined."},
		{"postgresql", "postgresql: {listen: 'a:1', connect_address: 'a:1', data_dir: /d, authentication: {superuser: {username: u}, replication: {password: hush}}}", "postgresql.authentication.replication.username is not defined."},
		{"postgresql", pg + ", pg_hba: []}", "postgresql.pg_hba [] is an empty list"},
		{"postgresql", pg + ", pg_ident: x}", "postgresql.pg_ident x is not a list"},
		{"postgresql", pg + ", use_pg_rewind: 'on'}", "postgresql.use_pg_rewind on is not a boolean"},
		{"postgresql", pg + ", pg_ctl_timeout: -1}", "postgresql.pg_ctl_timeout -1 is below the minimum, 0"},
		{"postgresql", pg + ", parameters: {unix_socket_directories: 5}}", "postgresql.parameters.unix_socket_directories 5 is not a string"},
		{"postgresql", pg + ", rewind: [5]}", "postgresql.rewind [5] entry 1 is neither a string nor a dictionary"},
		{"DCS", "etcd3: {protocol: http}", "etcd3 one of host, hosts, srv, url, proxy is needed"},
		{"DCS", "etcd3: {host: e, hosts: []}", "etcd3.hosts [] is an empty list"},
		{"DCS", "etcd3: {hosts: [a, 5]}", `etcd3.hosts ["a", 5] entry 2 is not a string`},
		{"DCS", "etcd3: {host: e, username: 5}", "etcd3.username 5 is not a string"},
		{"DCS", "etcd3: {host: e, password: 5}", "etcd3.password *** is not a string"},
		{"DCS", "etcd3: ~", "one of host, hosts, srv"},
		{"bootstrap", "bootstrap: {method: initdb}", "bootstrap.dcs is not defined."},
		{"bootstrap", "bootstrap: {dcs: {}, initdb: {encoding: UTF8}}", "is not a list"},
		{"bootstrap", "bootstrap: {dcs: {}, initdb: [pwfile: /x]}", "bootstrap.initdb option pwfile"},
		{"bootstrap.dcs", "bootstrap: {dcs: {ttl: 4}}", "bootstrap.dcs.ttl 4 is below the minimum, 5"},
		{"bootstrap.dcs", "bootstrap: {dcs: {ttl: 5, loop_wait: 1, retry_timeout: 2}}", ""},
		{"bootstrap.dcs", "bootstrap: {dcs: {ttl: '30'}}", ""},
		{"bootstrap.dcs", "bootstrap: {dcs: {loop_wait: 0}}", "bootstrap.dcs.loop_wait 0 is below the minimum, 1"},
		{"bootstrap.dcs", "bootstrap: {dcs: {retry_timeout: 1}}", "bootstrap.dcs.retry_timeout 1 is below the minimum, 2"},
		{"bootstrap.dcs", "bootstrap: {dcs: {maximum_lag_on_failover: -1}}", "bootstrap.dcs.maximum_lag_on_failover -1 is below"},
		{"bootstrap.dcs", "bootstrap: {dcs: {maximum_lag_on_syncnode: -2}}", "bootstrap.dcs.maximum_lag_on_syncnode -2 is below"},
		{"bootstrap.dcs", "bootstrap: {dcs: {member_slots_ttl: 1h}}", ""},
		{"bootstrap.dcs", "bootstrap: {dcs: {member_slots_ttl: 5GB}}", "bootstrap.dcs.member_slots_ttl 5GB is not an integer"},
		{"bootstrap.dcs", "bootstrap: {dcs: {primary_start_timeout: -1}}", "bootstrap.dcs.primary_start_timeout -1 is below"},
		{"bootstrap.dcs", "bootstrap: {dcs: {primary_stop_timeout: -1}}", "bootstrap.dcs.primary_stop_timeout -1 is below"},
		{"bootstrap.dcs", "bootstrap: {dcs: {synchronous_node_count: 0}}", "bootstrap.dcs.synchronous_node_count 0 is below"},
		{"bootstrap.dcs", "bootstrap: {dcs: {synchronous_mode: sometimes}}", "bootstrap.dcs.synchronous_mode sometimes is neither"},
		{"bootstrap.dcs", "bootstrap: {dcs: {synchronous_mode: false}}", ""},
		{"bootstrap.dcs", "bootstrap: {dcs: {synchronous_mode: true}}", "bootstrap.dcs.synchronous_mode synchronous_mode: on is not supported yet"},
		{"bootstrap.dcs", "bootstrap: {dcs: {synchronous_mode_strict: 'on'}}", "bootstrap.dcs.synchronous_mode_strict on is not a boolean"},
		{"bootstrap.dcs", "bootstrap: {dcs: {standby_cluster: {primary_slot_name: x}}}", "bootstrap.dcs.standby_cluster one of host, port, restore_command is needed"},
		{"bootstrap.dcs", "bootstrap: {dcs: {postgresql: {use_slots: 'yes'}}}", "bootstrap.dcs.postgresql.use_slots yes is not a boolean"},
		{"bootstrap.dcs", "bootstrap: {dcs: {postgresql: {pg_hba: []}}}", "bootstrap.dcs.postgresql.pg_hba [] is an empty list"},
		{"parameters", "bootstrap: {dcs: {postgresql: {parameters: {max_connections: 0}}}}", "bootstrap.dcs.postgresql.parameters.max_connections 0 is below the minimum, 1"},
		{"parameters", "bootstrap: {dcs: {postgresql: {parameters: {max_locks_per_transaction: 9}}}}", "max_locks_per_transaction 9 is below the minimum, 10"},
		{"parameters", "bootstrap: {dcs: {postgresql: {parameters: {max_wal_senders: 262144}}}}", "max_wal_senders 262144 is above the maximum, 262143"},
		{"parameters", "bootstrap: {dcs: {postgresql: {parameters: {max_worker_processes: x}}}}", "max_worker_processes x is not an integer"},
		{"log", "log: {level: info}", "log.level info is none of DEBUG"},
		{"log", "log: {traceback_level: debug}", ""},
		{"log", "log: {mode: 01000}", "log.mode 512 is above the maximum, 511"},
		{"log", "log: {format: []}", "log.format [] is an empty list"},
		{"log", "log: {type: json, format: [asctime, message]}", ""},
		{"log", "log: {file_num: '3'}", "log.file_num 3 is not an integer"},
		{"log", "log: {deduplicate_heartbeat_logs: 1}", "log.deduplicate_heartbeat_logs 1 is not a boolean"},
		{"tags", "tags: {nofailover: true, failover_priority: 1}", "tags at most one of nofailover and failover_priority is allowed"},
		{"tags", "tags: {nosync: false, sync_priority: 1}", "tags at most one of nosync and sync_priority is allowed"},
		{"tags", "tags: {failover_priority: -1}", "tags.failover_priority -1 is below the minimum, 0"},
		{"tags", "tags: {clonefrom: 'true'}", "tags.clonefrom true is not a boolean"},
		{"tags", "tags: {replicatefrom: 5}", "tags.replicatefrom 5 is not a string"},
		{"tags", "tags: {own: [1], rack: b4}", ""},
		{"watchdog", "watchdog: {mode: off}", ""},
		{"watchdog", "watchdog: {mode: auto}", "watchdog.mode auto is none of off, automatic, required"},
		{"watchdog", "watchdog: {safety_margin: -2}", "watchdog.safety_margin -2 is below the minimum, -1"},
		{"watchdog", "watchdog: {mode: required}", ""},
		{"ctl", "ctl: {insecure: 'yes'}", "ctl.insecure yes is not a boolean"},
		{"ctl", "ctl: {authentication: {password: hush}}", "ctl.authentication.username is not defined."},
		{"others", "anything: 1", ""},
	}
	for _, c := range cases {
		text := validLocal
		if c.yaml != "" {
			root, err := DecodeYAML([]byte(validLocal), "")
			if err != nil {
				t.Fatal(err)
			}
			more, err := DecodeYAML([]byte(c.yaml), "")
			if err != nil {
				t.Fatalf("%s: %v", c.yaml, err)
			}
			root.setField(more.Fields[0])
			var b strings.Builder
			writeForTest(&b, root)
			text = b.String()
		}
		file := t.TempDir() + "/patroni.yml"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, problems, err := Validate(file, nil)
		if err != nil {
			t.Errorf("%s: %v", c.yaml, err)
			continue
		}
		got := make([]string, len(problems))
		for i, p := range problems {
			got[i] = p.String()
		}
		if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)) {
			t.Errorf("%s: %q\n got %q\nwant %q", c.section, c.yaml, got, c.want)
		}
	}
}

// writeForTest writes a tree as it was, passwords included.
func writeForTest(b *strings.Builder, root *Node) {
	b.Write(EncodeYAML(root.Value()))
}

// Other kinds of DCS are named; unreadable files are errors of their own.
func TestValidateOther(t *testing.T) {
	file := t.TempDir() + "/patroni.yml"
	if err := os.WriteFile(file, []byte(strings.Replace(validLocal, "etcd3:", "consul:", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, problems, err := Validate(file, nil)
	if err != nil || len(problems) != 1 || problems[0].String() != "consul is not supported: use etcd3" {
		t.Errorf("%v %v", problems, err)
	}
	if _, problems, err = Validate(file, []string{"PATRONI_ETCD3_HOST=e", "PATRONI_THREAD_POOL_SIZE=9"}); err != nil || len(problems) > 0 {
		t.Errorf("with the environment on top: %v %v", problems, err)
	}
	if _, _, err := Validate("/nowhere.yml", nil); err == nil {
		t.Error("a file that is not there")
	}
	if _, _, err := Validate(talk+"pg-fixed.bad.yml", nil); err == nil {
		t.Error("a file that is no YAML")
	}
	for _, name := range []string{"pg-basic.yml", "pg-basic.repaired.yml"} {
		if _, problems, err := Validate(talk+name, nil); err != nil || len(problems) > 0 {
			t.Errorf("%s: %v %v", name, problems, err)
		}
	}
}
