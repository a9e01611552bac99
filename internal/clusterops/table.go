package clusterops

import (
	"fmt"
	"io"
	"strings"

	"pgha/internal/dcs"
	"pgha/internal/render"
)

// List says how a cluster is listed.
type List struct {
	Scope  string
	Format render.Format
	// Extended shows the last four columns even when nothing is in them.
	Extended bool
}

// optional are the last four columns: shown when a member with a known host
// has something to say there (contract: ctl.md 4.2).
var optional = []struct {
	title string
	cell  func(r Row, format render.Format) any
}{
	{"Pending restart", func(r Row, _ render.Format) any {
		if r.PendingRestart {
			return "*"
		}
		return ""
	}},
	{"Pending restart reason", func(r Row, f render.Format) any {
		return r.pendingReason(f == render.Pretty || f == render.Topology)
	}},
	{"Scheduled restart", func(r Row, _ render.Format) any { return r.scheduledRestart() }},
	{"Tags", func(r Row, _ render.Format) any {
		if len(r.Tags) == 0 {
			return ""
		}
		return r.Tags
	}},
}

// Table is the cluster's members as a table. Pure.
func Table(c *dcs.Cluster, l List) render.Table {
	rows := Rows(c)
	ports := showPorts(rows)
	if l.Format == render.Topology {
		rows = Tree(rows)
	}
	t := render.Table{
		Title:     fmt.Sprintf("Cluster: %s (%s)", l.Scope, identity(c)),
		OmitEmpty: true,
		Columns: []render.Column{
			{Title: "Cluster", MachineOnly: true}, {Title: "Member"}, {Title: "Host"}, {Title: "Role"},
			{Title: "State"}, {Title: "TL", Right: true},
			{Title: "Receive LSN", Right: true}, {Title: "Lag", Key: "Receive Lag", Right: true},
			{Title: "Replay LSN", Right: true}, {Title: "Lag", Key: "Replay Lag", Right: true},
		},
	}
	for _, r := range rows {
		t.Rows = append(t.Rows, cells(r, l, ports))
	}
	for _, o := range optional {
		shown := l.Extended
		for _, r := range rows {
			shown = shown || r.HostKnown && o.cell(r, l.Format) != any("")
		}
		if !shown {
			continue
		}
		t.Columns = append(t.Columns, render.Column{Title: o.title})
		for i, r := range rows {
			t.Rows[i] = append(t.Rows[i], o.cell(r, l.Format))
		}
	}
	return t
}

func cells(r Row, l List, ports bool) []any {
	name := r.Name
	if l.Format == render.Topology && r.Depth > 0 {
		name = strings.Repeat("  ", r.Depth-1) + "+ " + name
	}
	var timeline any
	if r.Timeline != 0 {
		timeline = uint64(r.Timeline)
	}
	row := []any{l.Scope, name, r.host(ports), r.Role, r.State, timeline}
	if r.Leader {
		return append(row, nil, nil, nil, nil)
	}
	return append(row, r.Receive.Text(), r.Receive.LagMiB(), r.Replay.Text(), r.Replay.LagMiB())
}

func identity(c *dcs.Cluster) string {
	switch {
	case c.Initialize == nil:
		return "uninitialized"
	case c.Initialize.SystemID == "":
		return "initializing"
	}
	return string(c.Initialize.SystemID)
}

// Print writes the table and, for people, the lines under it: maintenance
// mode, a scheduled switchover (contract: ctl.md 4.4) and what pgha members
// say of themselves. Errors are those of w.
func Print(w io.Writer, c *dcs.Cluster, l List) error {
	if err := render.Write(w, l.Format, Table(c, l)); err != nil {
		return err
	}
	if l.Format != render.Pretty && l.Format != render.Topology {
		return nil
	}
	var b strings.Builder
	if Paused(c) {
		b.WriteString(" Maintenance mode: on\n")
	}
	if at := switchoverAt(c); !at.IsZero() {
		fmt.Fprintf(&b, " Switchover scheduled at: %s\n", iso(at))
		if c.Failover.Leader != "" {
			fmt.Fprintf(&b, "%24s: %s\n", "from", c.Failover.Leader)
		}
		if c.Failover.Candidate != "" {
			fmt.Fprintf(&b, "%24s: %s\n", "to", c.Failover.Candidate)
		}
	}
	for _, r := range Rows(c) {
		if r.Note != "" {
			fmt.Fprintf(&b, " %s: %s\n", r.Name, strings.Join(strings.Fields(r.Note), " "))
		}
	}
	_, err := io.WriteString(w, render.Printable(b.String()))
	return err
}
