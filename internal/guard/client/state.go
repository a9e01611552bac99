package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"pgha/internal/clock"
	"pgha/internal/guard"
)

// Run is what a guard's server is doing.
type Run string

const (
	// RunNone: nothing was started yet.
	RunNone Run = "none"
	// RunRunning: the postmaster lives (it may still be starting).
	RunRunning Run = "running"
	// RunStopping: a stop was requested, by the agent or by the deadline.
	RunStopping Run = "stopping"
	// RunKilling: the tree is being killed, or the rest after an exit.
	RunKilling Run = "killing"
)

// Protection says what ends the server when its guard is lost.
type Protection string

const (
	// ProtectionNone: no server.
	ProtectionNone Protection = "none"
	// ProtectionParent: the kernel's parent-death signal and timer.
	ProtectionParent Protection = "parent"
	// ProtectionWalk: the undertaker alone; the server was adopted.
	ProtectionWalk Protection = "walk"
)

// State is what a guard says about itself.
type State struct {
	GuardPID int
	Protocol int // of the guard
	Epoch    uint64
	At       clock.Instant // when it answered

	Run        Run
	Mode       Mode // "none" without a server
	PID        int  // postmaster; 0 none
	StartTicks uint64
	Status     string // of a postmaster that has ended, as in Exit
	Protection Protection

	Armed    bool
	Deadline clock.Instant // L; zero when not armed
	TTL      time.Duration
	Stage    guard.Stage // highest fired

	// Alive and Stuck count the tree while it is being killed; Fenced says
	// that nothing of it can run any more (rulings 12).
	Alive, Stuck int
	Fenced       bool
	Detached     bool

	// UndertakerPID is the guard's child that kills the tree should the
	// guard be lost; 0 while there is no server, or for a moment after it was
	// itself lost.
	UndertakerPID int

	// Notes: the cgroup's path or why there is none; "all", "current" or
	// "no: reason" for locked memory; the guard's oom_score_adj.
	CgroupNote, MemoryLockNote, OOMNote string
}

// State asks the guard. Observers and stale epochs may ask too.
func (c *Client) State(ctx context.Context) (State, error) {
	answer, err := c.ask(ctx, "state")
	if err != nil {
		return State{}, fmt.Errorf("ask the guard's state: %w", err)
	}
	return parseState(answer)
}

// LastState is what the last guard of the state directory that ended by
// itself left behind; one that was killed leaves none. ok is false when there
// is nothing to read.
func LastState(stateDir string) (s State, ok bool, err error) {
	text, err := os.ReadFile(filepath.Join(stateDir, guard.LastName))
	if errors.Is(err, os.ErrNotExist) {
		return State{}, false, nil
	}
	if err != nil {
		return State{}, false, fmt.Errorf("read the last guard's state: %w", err)
	}
	s, err = parseState(strings.TrimPrefix(strings.TrimSpace(string(text)), "ok "))
	return s, err == nil, err
}

// parseState reads key=value words; keys of newer guards are ignored.
func parseState(line string) (State, error) {
	values := map[string]string{}
	for _, word := range strings.Fields(line) {
		key, quoted, ok := strings.Cut(word, "=")
		value, unquoted := guard.Unquote(quoted)
		if !ok || !unquoted {
			return State{}, fmt.Errorf("guard state: bad word %q", word)
		}
		values[key] = value
	}
	n := func(key string) int64 {
		v, _ := strconv.ParseInt(values[key], 10, 64) // absent or not a number: 0
		return v
	}
	u := func(key string) uint64 {
		v, _ := strconv.ParseUint(values[key], 10, 64)
		return v
	}
	if values["run"] == "" || n("guard") == 0 {
		return State{}, fmt.Errorf("guard state: incomplete: %q", line)
	}
	return State{
		GuardPID: int(n("guard")), Protocol: int(n("protocol")), Epoch: u("epoch"), At: clock.Instant(n("now")),
		Run: Run(values["run"]), Mode: Mode(values["mode"]), PID: int(n("pid")), StartTicks: u("start"),
		Status: values["status"], Protection: Protection(values["protection"]),
		Armed: n("armed") == 1, Deadline: clock.Instant(n("deadline")), TTL: time.Duration(n("ttl")),
		Stage: stageOf(values["stage"]), Alive: int(n("alive")), Stuck: int(n("stuck")),
		Fenced: n("fenced") == 1, Detached: n("detached") == 1,
		UndertakerPID: int(n("undertaker")), CgroupNote: values["cgroup"],
		MemoryLockNote: values["mlock"], OOMNote: values["oom"],
	}, nil
}

// Runs says whether a process is alive: there, and no zombie.
func Runs(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	i := strings.LastIndexByte(string(text), ')')
	return i >= 0 && i+2 < len(text) && text[i+2] != 'Z' && text[i+2] != 'X'
}

// StartTicks reads when a process started, field 22 of /proc/PID/stat: with
// the pid it names a process for good. Errors: the process is gone.
func StartTicks(pid int) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("start time of process %d: %w", pid, err)
	}
	// The program's name may hold anything but ends with the last parenthesis.
	rest := string(text)
	if i := strings.LastIndexByte(rest, ')'); i >= 0 {
		rest = rest[i+1:]
	}
	fields := strings.Fields(rest)
	const startTime = 22 - 3 // counted from the field after the name
	if len(fields) <= startTime {
		return 0, fmt.Errorf("start time of process %d: unexpected text", pid)
	}
	return strconv.ParseUint(fields[startTime], 10, 64)
}
