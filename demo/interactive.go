package demo

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// interactive says what to try and shows the table until ctx ends (ctrl-C).
func (d *stage) interactive(ctx context.Context) error {
	leader, err := d.leader(ctx)
	if err != nil {
		return err
	}
	config := d.members[0].config()
	d.say("Try, in another terminal:")
	d.say("  %s ctl -c %s list", d.exe, config)
	d.say("  %s ctl -c %s switchover --force", d.exe, config)
	d.say("  kill -9 %d                # PostgreSQL of the primary %s: restarted in place", leader.postmaster(), leader.name)
	d.say("  psql '%s'", d.dsn())
	d.say("Ctrl-C ends the demo and removes everything.\n")
	var shown string
	lines := 0
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		table, err := d.ctl(ctx, "list")
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			table = err.Error() + "\n"
		}
		switch {
		case d.Live:
			lines = d.redraw(table+d.writing(), lines)
		case states(table) != shown:
			// Not a terminal: only what is new, as plain lines.
			d.note("%s\n%s", d.writing(), table)
			shown = states(table)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// writing is one line about the client.
func (d *stage) writing() string {
	_, acked := d.writer.Count()
	last, err := d.writer.Last()
	line := fmt.Sprintf("client: %d rows acknowledged, longest gap %.1f s", acked, d.writer.Gap(d.start).Seconds())
	switch m := d.byAddress(last.Server); {
	case err != nil:
		line += fmt.Sprintf("; no writes for %.1f s: %s", time.Since(last.Acked).Seconds(), firstLine(err))
	case m != nil:
		line += ", now by " + m.name
	}
	return line
}

// redraw replaces the last drawing, of that many lines, and returns the new
// number of lines.
func (d *stage) redraw(text string, lines int) int {
	if lines > 0 {
		fmt.Fprintf(d.Out, "\x1b[%dA\x1b[J", lines)
	}
	// Without wrapping: a narrow terminal must not make more lines of it.
	d.say("\x1b[?7l%s\x1b[?7h", text)
	return strings.Count(text, "\n") + 1
}

// states is a table without what changes all the time (positions and lags).
func states(table string) string {
	var b strings.Builder
	for _, line := range strings.Split(table, "\n") {
		cells := strings.Split(line, "|")
		for _, c := range cells[:min(6, len(cells))] {
			b.WriteString(strings.TrimSpace(c) + "|")
		}
	}
	return b.String()
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	if len(line) > 60 {
		line = line[:60] + "..."
	}
	return line
}
