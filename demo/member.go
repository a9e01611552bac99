package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"
)

// member is one pgha agent with its PostgreSQL.
type member struct {
	*stage
	name       string
	port, rest int
	password   string
	agent      *process
}

func (m *member) dir() string     { return filepath.Join(m.stage.dir, m.name) }
func (m *member) dataDir() string { return filepath.Join(m.dir(), "data") }
func (m *member) config() string  { return filepath.Join(m.dir(), "patroni.yml") }

// patroniYML is a small file of the kind everybody writes. The memory settings
// keep three servers small; shared memory is kept in files so that a killed
// server leaves none behind.
var patroniYML = template.Must(template.New("").Parse(`scope: demo
name: {{.Name}}
restapi:
  listen: 127.0.0.1:{{.REST}}
  connect_address: 127.0.0.1:{{.REST}}
etcd3:
  hosts: {{.Etcd}}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 5
    retry_timeout: 5
    maximum_lag_on_failover: 1048576
    postgresql:
      use_pg_rewind: true
      use_slots: true
      parameters:
        max_connections: 50
        shared_buffers: 16MB
        dynamic_shared_memory_type: mmap
  initdb:
    - encoding: UTF8
    - data-checksums
postgresql:
  listen: 127.0.0.1:{{.Port}}
  connect_address: 127.0.0.1:{{.Port}}
  data_dir: {{.Dir}}/data
  bin_dir: {{.BinDir}}
  pgpass: {{.Dir}}/pgpass
  use_unix_socket: true
  parameters:
    unix_socket_directories: {{.Dir}}
  pg_hba:
    - local all all trust
    - host replication replicator 127.0.0.1/32 scram-sha-256
    - host all all 127.0.0.1/32 scram-sha-256
  authentication:
    superuser: {username: postgres, password: {{.Password}}}
    replication: {username: replicator, password: {{.Password}}}
`))

// configure writes the member's directory and file.
func (m *member) configure(etcdPorts []int) error {
	if err := os.Mkdir(m.dir(), 0o700); err != nil {
		return err
	}
	var hosts []string
	for _, p := range etcdPorts {
		hosts = append(hosts, fmt.Sprintf("127.0.0.1:%d", p))
	}
	var text strings.Builder
	err := patroniYML.Execute(&text, map[string]any{"Name": m.name, "REST": m.rest, "Etcd": strings.Join(hosts, ","),
		"Port": m.port, "Dir": m.dir(), "BinDir": m.BinDir, "Password": m.password})
	if err != nil {
		return err
	}
	return os.WriteFile(m.config(), []byte(text.String()), 0o600)
}

// startAgent starts `pgha agent -c patroni.yml`.
func (m *member) startAgent() error {
	cmd := exec.Command(m.exe, "agent", "-c", m.config())
	cmd.Dir = m.dir()
	cmd.Env = append(os.Environ(), "HOME="+m.dir())
	var err error
	if m.agent, err = startProcess(cmd, m.logPath()); err != nil {
		return fmt.Errorf("start the agent of %s: %w", m.name, err)
	}
	return nil
}

// terminate asks the agent to stop PostgreSQL and end; it does not wait.
func (m *member) terminate() {
	if m.agent != nil {
		m.agent.cmd.Process.Signal(syscall.SIGTERM)
	}
}

// end waits for the agent until the deadline, then kills what is left.
func (m *member) end(deadline time.Time) error {
	if m.agent == nil {
		return nil
	}
	select {
	case <-m.agent.done:
	case <-time.After(time.Until(deadline)):
	}
	err := m.killTree()
	m.removeSharedMemory()
	return err
}

// killTree ends agent, guard and every process of the member's PostgreSQL
// with SIGKILL, as the loss of the machine would, and waits until all are gone.
func (m *member) killTree() error {
	t := m.processes()
	for range 100 {
		for _, pid := range t.all() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		if m.agent != nil {
			<-m.agent.done
		}
		// A backend that was being forked meanwhile shows up now.
		if t = m.processes(); len(t.all()) == 0 {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("processes of %s are still there after 2 s: %v", m.name, t.all())
}

// row is one member in `pgha ctl list -f json`.
type row struct {
	Member, Role, State string
	TL                  int
}

// rows runs `pgha ctl list -f json`.
func (d *stage) rows(ctx context.Context) ([]row, error) {
	out, err := d.ctl(ctx, "list", "-f", "json")
	if err != nil {
		return nil, err
	}
	var rows []row
	if err := json.Unmarshal([]byte(out), &rows); err != nil {
		return nil, fmt.Errorf("read the output of pgha ctl list: %w", err)
	}
	return rows, nil
}

// ctl runs `pgha ctl -c FILE ...` with the first member's file.
func (d *stage) ctl(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.exe, append([]string{"ctl", "-c", d.members[0].config()}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("pgha ctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// printTable shows `pgha ctl list` as it is.
func (d *stage) printTable(ctx context.Context) {
	out, err := d.ctl(ctx, "list")
	if err != nil {
		out = err.Error()
	}
	d.say("\n$ pgha ctl -c %s list\n%s", d.members[0].config(), out)
}

// waitStreaming waits for one running leader and two streaming replicas on
// its timeline.
func (d *stage) waitStreaming(ctx context.Context, limit time.Duration) error {
	return until(ctx, limit, "one leader, two replicas streaming", func() error {
		for _, m := range d.members {
			select {
			case <-m.agent.done:
				return fmt.Errorf("the agent of %s has ended: %v", m.name, m.agent.cmd.ProcessState)
			default:
			}
		}
		rows, err := d.rows(ctx)
		if err != nil {
			return errWaiting(err.Error())
		}
		if !healthy(rows) {
			return errWaiting(fmt.Sprintf("%+v", rows))
		}
		return nil
	})
}

func healthy(rows []row) bool {
	leaders, replicas, timeline := 0, 0, 0
	for _, r := range rows {
		if r.Role == "Leader" && r.State == "running" {
			leaders, timeline = leaders+1, r.TL
		}
	}
	for _, r := range rows {
		if r.Role != "Leader" && r.State == "streaming" && r.TL == timeline {
			replicas++
		}
	}
	return leaders == 1 && replicas == 2
}

// leader is the member that list shows as the leader.
func (d *stage) leader(ctx context.Context) (*member, error) {
	rows, err := d.rows(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		if r.Role == "Leader" {
			return d.member(r.Member), nil
		}
	}
	return nil, fmt.Errorf("there is no leader: %+v", rows)
}

func (d *stage) member(name string) *member {
	for _, m := range d.members {
		if m.name == name {
			return m
		}
	}
	return nil
}

// dsn is the client's string: all members, whichever accepts writes.
func (d *stage) dsn() string {
	var hosts []string
	for _, m := range d.members {
		hosts = append(hosts, fmt.Sprintf("127.0.0.1:%d", m.port))
	}
	return "postgres://postgres:" + d.members[0].password + "@" + strings.Join(hosts, ",") +
		"/postgres?target_session_attrs=read-write&sslmode=disable"
}
