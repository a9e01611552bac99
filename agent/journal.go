package agent

import (
	"context"
	"fmt"
	"os"
	"time"

	"pgha/agent/rest"
	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/journal"
)

// openJournal begins to keep the decision journal, unless it is switched off.
// What goes wrong with it never stops an agent.
func (a *agent) openJournal(local *config.Local) {
	if !local.Pgha.Journal {
		return
	}
	w := journal.Start(journal.Options{Dir: journal.Dir(local.Pgha.StateDir), Size: local.Pgha.JournalSize, Member: local.Name, Log: a.log})
	a.keeper = newKeeper(local.Name, w, clock.System{})
	a.launcher.onNews(func(code, text string) { a.keeper.event(journal.KindGuard, code, text) })
	a.settings.onRejected(func(why string) { a.keeper.event(journal.KindConfig, "config_rejected", why) })
	from := a.options.ConfigPath
	if from == "" {
		from = "the environment"
	}
	a.keeper.event(journal.KindAgent, "agent_started", fmt.Sprintf("agent started: pgha %s, process %d, configuration %s; %s",
		a.options.Version, os.Getpid(), from, a.launcher.found()))
}

// journalEnd bounds the last write of the journal: a disk that hangs must not
// keep the agent.
const journalEnd = 2 * time.Second

// closeJournal says that the agent ends, and waits for the file.
func (a *agent) closeJournal(code int) {
	if a.keeper == nil {
		return
	}
	text := fmt.Sprintf("agent ends with code %d", code)
	if last := a.loop.LastResult(); last != "" {
		text += ": " + last
	}
	a.keeper.event(journal.KindAgent, "agent_ended", text)
	ctx, cancel := context.WithTimeout(context.Background(), journalEnd)
	defer cancel()
	a.keeper.end(ctx)
}

// resizeJournal takes a reloaded size over.
func (a *agent) resizeJournal(local *config.Local) {
	if a.keeper != nil {
		a.keeper.writer.Resize(local.Pgha.JournalSize)
	}
}

// whyRoute is GET /pgha/v1/why.
func (a *agent) whyRoute(local *config.Local) rest.Route {
	o := rest.WhyOptions{Member: local.Name, Scope: local.Scope, Lost: func() int { return 0 }, Clock: clock.System{}}
	if a.keeper != nil {
		o.Dir, o.Lost = journal.Dir(local.Pgha.StateDir), a.keeper.writer.Lost
	}
	return rest.WhyRoute(o)
}

// changed records what an operator asked for over REST, and the answer.
func (a *agent) changed(c rest.Change) {
	asked := c.Asked
	if asked == "" {
		asked = c.Method + " " + c.Path
	}
	code := "request_answered"
	if c.Code >= 300 {
		code = "request_refused"
	}
	text := fmt.Sprintf("%s, asked for by %s: %d", asked, c.Client, c.Code)
	if c.Answer != "" {
		text += " " + c.Answer
	}
	a.keeper.eventOf(journal.KindRequest, code, text, c.Client)
}

// onNews sets who hears of the guard's doings.
func (l *launcher) onNews(tell func(code, text string)) {
	l.mu.Lock()
	l.news = tell
	l.mu.Unlock()
}

// tell reports what the guard did, for the journal.
func (l *launcher) tell(code, text string) {
	l.mu.Lock()
	news := l.news
	l.mu.Unlock()
	if news != nil {
		news(code, text)
	}
}

// found says what an agent found when it started.
func (l *launcher) found() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.guard == nil:
		return "no PostgreSQL under a guard"
	case l.beside:
		return fmt.Sprintf("PostgreSQL (pid %d) runs with a guard beside it", l.pid)
	}
	return fmt.Sprintf("took PostgreSQL (pid %d) over from the guard that an earlier agent left", l.pid)
}

// onRejected sets who hears that a dynamic configuration was not taken.
func (s *settings) onRejected(tell func(why string)) {
	s.mu.Lock()
	s.rejected = tell
	s.mu.Unlock()
}
