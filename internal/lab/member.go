package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"pgha/internal/tlsconf"
)

// Member is one member: an agent (pgha's, or the real Patroni) on its host, its
// PostgreSQL, its file.
type Member struct {
	*Host
	NoFailover bool
	Tags       map[string]string // further tags of patroni.yml, or other values; see Retag

	cluster  *Cluster
	kind     Kind
	tls      tlsconf.Files // of a Secure cluster
	bin      string
	dataRoot string
	agent    *Proc
}

// DataDir is PostgreSQL's data directory.
func (m *Member) DataDir() string { return filepath.Join(m.dataRoot, "data") }

// Config is the member's patroni.yml.
func (m *Member) Config() string { return filepath.Join(m.Dir, "patroni.yml") }

// Program is the pgha that the member runs.
func (m *Member) Program() string { return m.bin }

// Start starts the agent: `pgha agent -c patroni.yml`, or `patroni
// patroni.yml` when the member is of that kind.
func (m *Member) Start() {
	m.lab.t.Helper()
	if m.kind == Patroni {
		m.mustBeDown()
		m.agent = m.Host.Start("patroni", peerCommand(m.lab.t, "patroni", m.Config())...)
		return
	}
	m.StartWith("agent", "-c", m.Config())
}

// StartWith starts the agent by another command line of pgha.
func (m *Member) StartWith(args ...string) {
	m.lab.t.Helper()
	m.StartEnv(nil, args...)
}

// StartEnv is StartWith with further variables in the environment.
func (m *Member) StartEnv(env []string, args ...string) {
	m.lab.t.Helper()
	m.mustBeDown()
	argv := []string{m.bin}
	if len(env) > 0 {
		argv = append(append([]string{"/usr/bin/env"}, env...), m.bin)
	}
	m.agent = m.Host.Start("agent", append(argv, args...)...)
}

func (m *Member) mustBeDown() {
	m.lab.t.Helper()
	if m.agent != nil && m.agent.Alive() {
		m.lab.t.Fatalf("lab: the agent of %s is running", m.Name)
	}
}

// Agent is the agent's process; nil before the first Start.
func (m *Member) Agent() *Proc { return m.agent }

// KillAgent is kill -9 of the agent alone.
func (m *Member) KillAgent() { m.agent.Kill() }

// Shutdown sends SIGTERM and waits for the agent's clean end.
func (m *Member) Shutdown(timeout time.Duration) {
	m.lab.t.Helper()
	m.lab.must(m.agent.Signal(syscall.SIGTERM))
	code, err := m.agent.Wait(timeout)
	m.lab.must(err)
	if code != 0 {
		m.lab.t.Errorf("agent of %s: exit code %d after SIGTERM", m.Name, code)
	}
}

// FreezeAgent is kill -STOP of the agent alone, ThawAgent its end.
func (m *Member) FreezeAgent() { m.lab.must(m.agent.Signal(syscall.SIGSTOP)) }

// ThawAgent undoes FreezeAgent.
func (m *Member) ThawAgent() { m.lab.must(m.agent.Signal(syscall.SIGCONT)) }

// Lose is the loss of the machine: off the network, every process gone.
func (m *Member) Lose() {
	m.lab.t.Helper()
	m.PowerOff()
	<-m.agent.Done()
}

// Return boots a lost machine: back on the network, agent started.
func (m *Member) Return() {
	m.lab.t.Helper()
	if m.lab.Isolated() {
		m.Plug()
	}
	m.Start()
}

// Postmaster is the postmaster's pid by postmaster.pid; 0 when there is none
// or it is not running.
func (m *Member) Postmaster() int {
	text, err := os.ReadFile(filepath.Join(m.DataDir(), "postmaster.pid"))
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil || !Running(pid) {
		return 0
	}
	return pid
}

// AwaitPostmaster waits until another postmaster than the one given runs.
func (m *Member) AwaitPostmaster(timeout time.Duration, not int) {
	m.lab.t.Helper()
	m.lab.Until(timeout, "a new postmaster on "+m.Name, func() string {
		if pid := m.Postmaster(); pid == 0 || pid == not {
			return "postmaster " + strconv.Itoa(pid)
		}
		return ""
	})
}

// KillPostgres is kill -9 of the postmaster alone.
func (m *Member) KillPostgres() {
	m.lab.t.Helper()
	pid := m.Postmaster()
	if pid == 0 {
		m.lab.t.Fatalf("lab: PostgreSQL of %s is not running", m.Name)
	}
	m.lab.must(syscall.Kill(pid, syscall.SIGKILL))
}

// StopPostgres is an operator's `pg_ctl stop -m fast` behind the agent's back.
func (m *Member) StopPostgres() {
	m.lab.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	out, code, err := m.Run(ctx, filepath.Join(PGBin(m.lab.t, PGVersion(m.lab.t)), "pg_ctl"), "stop", "-D", m.DataDir(), "-m", "fast", "-w")
	if err != nil || code != 0 {
		m.lab.t.Fatalf("lab: stop PostgreSQL of %s: %d %v\n%s", m.Name, code, err, out)
	}
}

// AgentLog is what the agent has written so far.
func (m *Member) AgentLog() string {
	if m.agent == nil {
		return ""
	}
	text, _ := os.ReadFile(m.agent.Log)
	return string(text)
}

// Status is the part of the member's own document (GET /patroni) that tests read.
type Status struct {
	State            string
	Role             string
	Timeline         int
	ReplicationState string `json:"replication_state"`
	Pause            bool
	ClusterUnlocked  bool   `json:"cluster_unlocked"`
	SystemID         string `json:"database_system_identifier"`
	Xlog             struct {
		Location         int64
		ReceivedLocation int64 `json:"received_location"`
		ReplayedLocation int64 `json:"replayed_location"`
	}
}

// Status asks the member's REST API.
func (m *Member) Status() (Status, error) {
	var s Status
	code, body, err := m.REST("GET", "/patroni", "")
	if err != nil {
		return s, err
	}
	if code != 200 {
		return s, fmt.Errorf("GET /patroni of %s: %d", m.Name, code)
	}
	return s, json.Unmarshal([]byte(body), &s)
}

// REST sends one request to the member's API, from the member itself: state
// changes are taken from the cluster's own machines only (rulings 29), and a
// member that is cut off still answers itself.
func (m *Member) REST(method, path, body string) (int, string, error) {
	timeout := 2 * time.Second
	if method != "GET" {
		timeout = 60 * time.Second
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: m.Dial}
	client := http.Client{Timeout: timeout, Transport: transport}
	req, err := http.NewRequest(method, m.scheme()+"://"+m.Addr+":8008"+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	m.identify(transport, req)
	r, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	return r.StatusCode, string(text), err
}

// Ctl runs `pgha ctl -c patroni.yml ...` on the member and returns what it
// printed and its exit code.
func (m *Member) Ctl(args ...string) (string, int) {
	m.lab.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	out, code, err := m.Run(ctx, append([]string{m.bin, "ctl", "-c", m.Config()}, args...)...)
	if err != nil {
		m.lab.t.Fatalf("pgha ctl %s on %s: %v\n%s", strings.Join(args, " "), m.Name, err, out)
	}
	return out, code
}

// Connect opens a superuser's connection to the member's own PostgreSQL, from
// the member itself.
func (m *Member) Connect(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig("postgres://postgres:" + SuperuserPassword + "@" + m.Addr + ":5432/postgres?sslmode=disable")
	if err != nil {
		return nil, err
	}
	cfg.ConnectTimeout = time.Second
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) { return m.Dial(ctx, network, addr) }
	return pgx.ConnectConfig(ctx, cfg)
}

// Query runs one statement on the member's own PostgreSQL and returns the
// first column of the first row as text.
func (m *Member) Query(sql string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := m.Connect(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil || len(results) == 0 || len(results[0].Rows) == 0 {
		return "", err
	}
	return string(results[0].Rows[0][0]), nil
}

// MustQuery is Query that fails the test.
func (m *Member) MustQuery(sql string) string {
	m.lab.t.Helper()
	v, err := m.Query(sql)
	if err != nil {
		m.lab.t.Fatalf("%s: %s: %v", m.Name, sql, err)
	}
	return v
}

// View is the part of GET /cluster that tests read.
type View struct {
	Members             []ViewMember
	Pause               bool
	ScheduledSwitchover *struct{ At, From, To string } `json:"scheduled_switchover"`
}

// ViewMember is one member of a View.
type ViewMember struct {
	Name, Role, State string
	Timeline          int
	Lag               any
}

// Member returns the member of that name, or nil.
func (v View) Member(name string) *ViewMember {
	for i := range v.Members {
		if v.Members[i].Name == name {
			return &v.Members[i]
		}
	}
	return nil
}

// View asks one member after the other for GET /cluster until one answers.
func (c *Cluster) View() (View, error) {
	var view View
	err := fmt.Errorf("no members")
	for _, m := range c.Members {
		if m.agent == nil || !m.agent.Alive() {
			continue
		}
		var body string
		var code int
		if code, body, err = m.REST("GET", "/cluster", ""); err != nil {
			continue
		}
		if code != 200 {
			err = fmt.Errorf("GET /cluster of %s: %d", m.Name, code)
			continue
		}
		return view, json.Unmarshal([]byte(body), &view)
	}
	return view, err
}

// Guard is the guard's pid, the postmaster's parent; 0 when PostgreSQL does
// not run or runs without one.
func (m *Member) Guard() int {
	pid := m.Postmaster()
	if pid == 0 {
		return 0
	}
	s, err := readStat(pid)
	if err != nil || s.parent == 1 || s.parent == os.Getpid() {
		return 0
	}
	return s.parent
}
