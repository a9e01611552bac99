package lab

import (
	_ "embed"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"golang.org/x/sys/unix"

	"pgha/internal/tlsconf/tlstest"
)

// pgBasic is the talk's first patroni.yml as it stands, but for names,
// addresses, paths and what Options change.
//
//go:embed testdata/pg-basic.yml
var pgBasic string

var pgBasicTemplate = template.Must(template.New("pg-basic.yml").Parse(pgBasic))

// SuperuserPassword is postgres's in the talk's file.
const SuperuserPassword = "putagoodpasswordhere"

// Options are what a story changes in the talk's file. The zero value gives
// ttl 10, loop_wait 2, retry_timeout 3, scope pg-basic, members pg01 to pg03.
type Options struct {
	Scope                       string
	TTL, LoopWait, RetryTimeout int // seconds
	// DCS are further lines of bootstrap.dcs ("failsafe_mode: true").
	DCS []string
	// Parameters are further lines of bootstrap.postgresql.parameters.
	Parameters []string
	// Members are the names; three when nil.
	Members []string
	// Patroni names members that run the real Patroni at first. With any, the
	// file is one that Patroni understands as well: what the talk's file has
	// below bootstrap.postgresql is below bootstrap.dcs.postgresql, and the
	// times are Patroni's floors (rulings 22) unless given.
	Patroni []string
	// Mixed asks for such a file without a Patroni member at first.
	Mixed bool
	// Secure gives the REST API TLS with certificates on both sides and a
	// password, and every tool what it needs for them.
	Secure bool
	// NoFailover names members with that tag.
	NoFailover []string
	// PostgreSQL and Bootstrap return further lines of a member's own sections
	// postgresql and bootstrap; nil for none.
	PostgreSQL, Bootstrap func(*Member) []string
	// Gate gives the agents CAP_NET_ADMIN on their hosts, so that they keep a
	// gate before PostgreSQL's port.
	Gate bool
	// DataOn returns the directory that holds a member's data directory (a
	// Disk); nil or "" for the host's own.
	DataOn func(*Host) string
}

// Cluster is the members with their configuration, and the etcd they use.
type Cluster struct {
	Options
	Etcd    *Etcd
	Members []*Member

	lab       *Lab
	authority *tlstest.Authority // of a Secure cluster
	state     string
	stateAt   time.Time
}

// NewCluster adds a host with a patroni.yml for each member. Nothing is started.
func (l *Lab) NewCluster(e *Etcd, o Options) *Cluster {
	l.t.Helper()
	if o.Scope == "" {
		o.Scope = "pg-basic"
	}
	o.Mixed = o.Mixed || len(o.Patroni) > 0
	if o.Mixed {
		_, version := PatroniPeer(l.t)
		l.t.Logf("compared with Patroni %s; pgha speaks for %s", version, PatroniVersion)
	}
	if o.TTL == 0 && o.Mixed {
		o.TTL, o.LoopWait, o.RetryTimeout = 20, 2, 3
	}
	if o.TTL == 0 {
		o.TTL, o.LoopWait, o.RetryTimeout = 10, 2, 3
	}
	if o.Members == nil {
		o.Members = []string{"pg01", "pg02", "pg03"}
	}
	c := &Cluster{Options: o, Etcd: e, lab: l}
	bin := filepath.Join(l.Dir, "pgha")
	if _, err := os.Stat(bin); err != nil {
		l.must(copyFile(Binary(l.t), bin))
	}
	for _, name := range o.Members {
		m := &Member{Host: l.Host(name), cluster: c, bin: bin, NoFailover: slices.Contains(o.NoFailover, name)}
		if slices.Contains(o.Patroni, name) {
			m.kind = Patroni
		}
		if o.Gate {
			l.NeedNetwork()
			m.caps = []uintptr{unix.CAP_NET_ADMIN}
		}
		m.dataRoot = m.Dir
		if o.DataOn != nil {
			if dir := o.DataOn(m.Host); dir != "" {
				m.dataRoot = dir
			}
		}
		c.Members = append(c.Members, m)
		m.Configure()
	}
	return c
}

// Configure writes the member's patroni.yml; called again after a change of
// its fields.
func (m *Member) Configure() {
	m.lab.t.Helper()
	c := m.cluster
	listen, localAuth := m.Addr, "trust"
	if m.lab.Isolated() {
		listen += ",127.0.0.1"
	}
	if m.lab.user.Username == "postgres" {
		localAuth = "peer"
	}
	indent := ""
	if c.Mixed {
		indent = "  "
	}
	var postgresql, bootstrap []string
	if c.PostgreSQL != nil {
		postgresql = c.PostgreSQL(m)
	}
	if c.Bootstrap != nil {
		bootstrap = c.Bootstrap(m)
	}
	restapi, ctl := m.secure()
	var text strings.Builder
	err := pgBasicTemplate.Execute(&text, map[string]any{
		"Scope": c.Scope, "Name": m.Name, "Addr": m.Addr, "EtcdHosts": strings.Join(c.Etcd.Endpoints(), ","),
		"TTL": c.TTL, "LoopWait": c.LoopWait, "RetryTimeout": c.RetryTimeout, "DCS": c.DCS, "Parameters": c.Parameters,
		"Listen": listen + ":5432", "LocalAuth": localAuth, "DataDir": m.DataDir(), "BinDir": PGBin(m.lab.t, PGVersion(m.lab.t)),
		"In": indent, "SocketDir": m.Dir, "Tags": m.tagLines(),
		"PostgreSQL": postgresql, "Bootstrap": bootstrap, "RestAPI": restapi, "Ctl": ctl,
	})
	m.lab.must(err)
	m.lab.must(os.WriteFile(m.Config(), []byte(text.String()), 0o644))
}

// tagLines are the talk's four tags, and what the story adds or replaces.
func (m *Member) tagLines() []string {
	tags := map[string]string{"nofailover": fmt.Sprint(m.NoFailover), "noloadbalance": "false", "clonefrom": "false", "nosync": "false"}
	maps.Copy(tags, m.Tags)
	var lines []string
	for _, name := range sortedKeys(tags) {
		lines = append(lines, name+": "+tags[name])
	}
	return lines
}

// Retag gives the running member other tags: a new file, then reload. A tag
// stays until it is set to "" (the talk's four: to their own value).
func (m *Member) Retag(tags map[string]string) {
	m.lab.t.Helper()
	if m.Tags == nil {
		m.Tags = map[string]string{}
	}
	for name, value := range tags {
		m.Tags[name] = value
		if value == "" {
			delete(m.Tags, name)
		}
	}
	m.Configure()
	if out, code := m.Ctl("reload", m.cluster.Scope, m.Name, "--force"); code != 0 {
		m.lab.t.Fatalf("reload of %s: exit %d\n%s", m.Name, code, out)
	}
}

// Start starts the agents, the first one first, and waits until the cluster
// is healthy. How long that takes is not the point: initdb and a copy on a
// machine with much other work took more than a minute.
func (c *Cluster) Start() {
	c.lab.t.Helper()
	for _, m := range c.Members {
		m.Start()
	}
	c.WaitHealthy(2 * time.Minute)
}

// Member returns the member of that name.
func (c *Cluster) Member(name string) *Member {
	for _, m := range c.Members {
		if m.Name == name {
			return m
		}
	}
	c.lab.t.Fatalf("lab: no member %q", name)
	return nil
}

// Others are all members but those.
func (c *Cluster) Others(not ...*Member) []*Member {
	var rest []*Member
	for _, m := range c.Members {
		if !slices.Contains(not, m) {
			rest = append(rest, m)
		}
	}
	return rest
}

// Key is the full etcd key of one below the scope ("leader").
func (c *Cluster) Key(name string) string { return "/service/" + c.Scope + "/" + name }

// Leader is the member whose name is in the leader key, or nil.
func (c *Cluster) Leader() *Member {
	name, _, err := c.Etcd.Get(c.Key("leader"))
	if err != nil || name == "" {
		return nil
	}
	for _, m := range c.Members {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// WaitLeader waits until a member holds the leader key and its REST says that
// it is the primary; not members do not count.
func (c *Cluster) WaitLeader(timeout time.Duration, not ...*Member) *Member {
	c.lab.t.Helper()
	var leader *Member
	c.until(timeout, "a primary with the leader key", func() string {
		l := c.Leader()
		if l == nil {
			return "nobody holds the leader key"
		}
		if slices.Contains(not, l) {
			return l.Name + " holds the leader key"
		}
		s, err := l.Status()
		if err != nil {
			return err.Error()
		}
		if s.Role != "primary" || s.State != "running" {
			return fmt.Sprintf("%s holds the key, role %s, state %s", l.Name, s.Role, s.State)
		}
		leader = l
		return ""
	})
	return leader
}

// WaitHealthy waits until one member leads and all others stream from it, on
// one timeline; absent members (lost machines) are left out. It returns the leader.
func (c *Cluster) WaitHealthy(timeout time.Duration, absent ...*Member) *Member {
	c.lab.t.Helper()
	c.until(timeout, "one leader, all others streaming", func() string { return c.Unhealthy(absent...) })
	return c.Leader()
}

// Unhealthy says what WaitHealthy still waits for, or "".
func (c *Cluster) Unhealthy(absent ...*Member) string {
	view, err := c.View()
	if err != nil {
		return err.Error()
	}
	leaders, timeline := 0, 0
	for _, v := range view.Members {
		if v.Role == "leader" {
			leaders++
			timeline = v.Timeline
		}
	}
	if leaders != 1 {
		return fmt.Sprintf("%d leaders", leaders)
	}
	for _, m := range c.Others(absent...) {
		v := view.Member(m.Name)
		switch {
		case v == nil:
			return m.Name + " has no member key"
		case v.Role == "leader" && v.State != "running", v.Role != "leader" && v.State != "streaming":
			return fmt.Sprintf("%s is %s, %s", m.Name, v.Role, v.State)
		case v.Timeline != timeline:
			return fmt.Sprintf("%s is on timeline %d, the leader on %d", m.Name, v.Timeline, timeline)
		}
	}
	return ""
}

// until is Lab.Until with the cluster's state in the failure message.
func (c *Cluster) until(timeout time.Duration, what string, probe func() string) {
	c.lab.t.Helper()
	c.lab.Until(timeout, what, func() string {
		last := probe()
		if last == "" {
			return ""
		}
		return last + "\n" + c.lazyState()
	})
}

// lazyState is the cluster's state as text, at most once a second: it costs
// requests to every member.
func (c *Cluster) lazyState() string {
	if time.Since(c.stateAt) > time.Second {
		c.stateAt, c.state = time.Now(), c.State()
	}
	return c.state
}

// State is what every member and etcd say, for failure messages.
func (c *Cluster) State() string {
	var b strings.Builder
	for _, m := range c.Members {
		agent := "agent not started"
		if m.agent != nil {
			agent = m.agent.String()
		}
		s, err := m.Status()
		if err != nil {
			fmt.Fprintf(&b, "  %s: %s; %v\n", m.Name, agent, err)
			continue
		}
		fmt.Fprintf(&b, "  %s: %s; %s, %s %s, timeline %d\n", m.Name, agent, s.Role, s.State, s.ReplicationState, s.Timeline)
	}
	b.WriteString(c.Etcd.Dump())
	return b.String()
}

// DSN is a client's multi-host string by the members' addresses, to the primary.
func (c *Cluster) DSN() string {
	var hosts []string
	for _, m := range c.Members {
		hosts = append(hosts, m.Addr+":5432")
	}
	return "postgres://postgres:" + SuperuserPassword + "@" + strings.Join(hosts, ",") + "/postgres?target_session_attrs=read-write&sslmode=disable"
}
