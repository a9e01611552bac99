package config

import (
	"fmt"
	"os/user"
	"path/filepath"
	"strings"
	"time"
)

const defaultPostgreSQLPort = 5432

// buildPostgreSQL fills what never comes from the DCS.
func (l *Local) buildPostgreSQL(n *Node) {
	p := &l.PostgreSQL
	*p = PostgreSQL{
		ConnectAddress: n.text("connect_address"),
		ProxyAddress:   n.text("proxy_address"),
		DataDir:        n.text("data_dir"),
		ConfigDir:      n.firstText("config_dir", "data_dir"),
		PgPass:         n.text("pgpass"),
	}
	setDefault(&p.PgPass, filepath.Join(l.home(), "pgpass"))
	l.credentials(n)
	listen := n.text("listen")
	if listen == "" {
		return
	}
	var err error
	if p.Listen, p.Port, err = splitListen(listen, defaultPostgreSQLPort); err != nil {
		l.agentErrors = append(l.agentErrors, l.problem("postgresql.listen", "expected address[,address...][:port], got "+err.Error(), ""))
		return
	}
	l.connectAddress()
}

// connectAddress completes host:port: by default where the agent itself
// connects.
func (l *Local) connectAddress() {
	p := &l.PostgreSQL
	if p.ConnectAddress == "" {
		p.ConnectHost, p.ConnectPort = p.LocalHost(), p.Port
		p.ConnectAddress = joinHostPort(p.ConnectHost, p.ConnectPort)
		return
	}
	host, port, err := splitHostPort(p.ConnectAddress)
	if err != nil || host == "" {
		l.agentErrors = append(l.agentErrors, l.problem("postgresql.connect_address", fmt.Sprintf("expected host:port, got %q", p.ConnectAddress), ""))
		return
	}
	if port == 0 {
		port = defaultPostgreSQLPort
		if p.Port != port {
			l.warn("postgresql.connect_address", fmt.Sprintf("has no port: others will use %d, but PostgreSQL listens on %d", port, p.Port),
				fmt.Sprintf("write %s", joinHostPort(host, p.Port)))
		}
	}
	p.ConnectHost, p.ConnectPort = host, port
	p.ConnectAddress = joinHostPort(host, port)
}

func (l *Local) home() string {
	if home := l.environ["HOME"]; home != "" {
		return home
	}
	if u, err := user.Current(); err == nil && u.HomeDir != "" {
		return u.HomeDir
	}
	return "/"
}

// credentials reads authentication, or the old places (contract: config.md 4.2).
func (l *Local) credentials(n *Node) {
	auth := n.Lookup("authentication")
	places := [3]*Node{auth.Lookup("superuser"), auth.Lookup("replication"), auth.Lookup("rewind")}
	if auth.IsNull() {
		places = [3]*Node{n.Lookup("superuser"), n.Lookup("replication"), nil}
	}
	if places[0].IsNull() {
		places[0] = n.Lookup("pg_rewind")
	}
	p := &l.PostgreSQL
	p.Superuser = credentialsOf(places[0])
	p.Replication = credentialsOf(places[1])
	p.Rewind = p.Superuser
	if !places[2].IsNull() {
		p.Rewind = credentialsOf(places[2])
	}
}

func credentialsOf(n *Node) Credentials {
	c := Credentials{Username: n.text("username"), Password: Secret(n.text("password"))}
	for _, key := range credentialKeys {
		if key.Name == "username" || key.Name == "password" {
			continue
		}
		if value := n.text(key.Name); value != "" {
			if c.SSL == nil {
				c.SSL = map[string]string{}
			}
			c.SSL[key.Name] = value
		}
	}
	return c
}

// healthOf reads pgha.health. An interval below a second is one second.
func healthOf(n *Node) Health {
	h := Health{Connect: n.boolean("connect", true), DataWrite: n.boolean("data_write", true),
		WALWrite: n.boolean("wal_write", true), Failover: n.boolean("failover", true)}
	if v := n.Lookup("interval"); !v.IsNull() {
		h.Interval = time.Duration(max(1, n.integer("interval", 0))) * time.Second
	}
	return h
}

// defaultJournalSize is that of the decision journal's ring (rulings 44).
const defaultJournalSize = 8 << 20

// buildPgha fills pgha's own section.
func (l *Local) buildPgha(n *Node) {
	l.Pgha = Pgha{
		StateDir:       n.text("state_dir"),
		Guard:          n.boolean("guard", true),
		Gate:           strings.ToLower(n.text("gate")),
		Journal:        n.Lookup("journal").boolean("enabled", true),
		JournalSize:    n.Lookup("journal").bytes("size", defaultJournalSize),
		Health:         healthOf(n.Lookup("health")),
		Handover:       n.mapOf("handover"),
		UpgradeCommand: n.Lookup("upgrade").text("command"),
		MasterAlias:    n.Lookup("metrics").boolean("master_alias", false),
	}
	if b, isBool := n.Lookup("gate").Value().(bool); isBool {
		l.Pgha.Gate, _ = gucText(b)
	}
	setDefault(&l.Pgha.Gate, "auto")
	if g := l.Pgha.Gate; g != "auto" && g != "on" && g != "off" {
		l.agentErrors = append(l.agentErrors, l.problem("pgha.gate",
			fmt.Sprintf("%q is neither auto, on nor off", g), "write `gate: auto`, or remove it"))
	}
	dataDir := strings.TrimRight(l.PostgreSQL.DataDir, "/")
	// The one that survives a reboot first: the note of a bootstrap that was
	// cut short is there, and without it half a cluster would be taken for one.
	for _, candidate := range []string{l.environ["STATE_DIRECTORY"], l.environ["RUNTIME_DIRECTORY"]} {
		first, _, _ := strings.Cut(candidate, ":") // systemd joins several with colons
		setDefault(&l.Pgha.StateDir, first)
	}
	if dataDir == "" {
		return
	}
	if dir := l.Pgha.StateDir; dir != "" && !filepath.IsAbs(dir) {
		l.agentErrors = append(l.agentErrors, l.problem("pgha.state_dir",
			"is relative: an agent started elsewhere would find neither this one's lock nor its guard", "write it from / on"))
	}
	setDefault(&l.Pgha.StateDir, dataDir+".pgha")
	if inside, err := filepath.Rel(dataDir, l.Pgha.StateDir); err == nil && inside != ".." && !strings.HasPrefix(inside, "../") {
		l.agentErrors = append(l.agentErrors, l.problem("pgha.state_dir",
			"lies inside postgresql.data_dir, which a re-clone empties", "choose a directory outside of it"))
	}
}
