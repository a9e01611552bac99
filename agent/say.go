package agent

import (
	"context"
	"slices"

	"pgha/agent/ha"
	"pgha/internal/logging"
)

// say logs a decision's lines, each once in a cycle: an arm that is asked
// again after an action says the same again.
func (l *Loop) say(said map[string]bool, d ha.Decision) {
	for _, line := range d.Says {
		if said[line.Text] {
			continue
		}
		said[line.Text] = true
		switch line.Level {
		case ha.Info:
			l.Log.Info(line.Text)
		case ha.Warning:
			l.Log.Warn(line.Text)
		case ha.Critical:
			l.Log.Log(context.Background(), logging.LevelCritical, line.Text)
		default:
			l.Log.Error(line.Text)
		}
	}
}

// result logs the one line that ends a cycle, with Patroni's lock owner line
// in front of it unless it is the ordinary heartbeat (config.md 3.3).
func (l *Loop) result(in ha.Input, d ha.Decision) {
	text := d.Reason.String()
	if l.settings.Pause {
		text = "PAUSE: " + text
	}
	heartbeat := d.Reason.Code == ha.Leading || d.Reason.Code == ha.Following || d.Reason.Code == ha.PausedIdle
	if !heartbeat && text == l.lastResult && d.Reason.Code != ha.RidingThrough {
		return // a quick retry says nothing new
	}
	if !heartbeat && in.Cluster != nil {
		owner := "None"
		if in.Cluster.Leader != nil {
			owner = in.Cluster.Leader.Name
		}
		l.Log.Info("Lock owner: " + owner + "; I am " + l.Self)
	}
	l.lastResult = text
	l.Log.Info(text, "reason", d.Reason)
}

// sayDamaged warns of each damaged value once, and again when it comes back
// after it was mended.
func (l *Loop) sayDamaged(lines []string) {
	for _, line := range lines {
		if !slices.Contains(l.damaged, line) {
			l.Log.Warn("damaged value in the DCS: " + line)
		}
	}
	l.damaged = lines
}
