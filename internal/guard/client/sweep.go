package client

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pgha/internal/guard"
)

// Sweep kills every process left of a data directory and returns once it has
// proved that nothing is: the number of processes it found alive at first.
// Call it when no guard is alive and before anything is started, never when a
// running postmaster is to be adopted: it kills that one too. Processes stuck
// in the kernel with SIGKILL pending count as gone (rulings 12). The caller
// and its ancestors are spared.
func Sweep(ctx context.Context, dataDir string) (found int, err error) {
	t, err := guard.FindTree(dataDir)
	if err != nil {
		return 0, fmt.Errorf("sweep %s: %w", dataDir, err)
	}
	defer t.Close()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for round, empty := 0, 0; ; round++ {
		alive, _, err := t.Kill()
		if err != nil {
			return found, fmt.Errorf("sweep %s: list processes: %w", dataDir, err)
		}
		if round == 0 {
			found = alive
		}
		if empty++; alive > 0 {
			empty = 0
		}
		if empty >= 2 && !zombiePostmaster(dataDir) {
			return found, nil
		}
		select {
		case <-ctx.Done():
			return found, fmt.Errorf("sweep %s: %d processes left: %w", dataDir, alive, ctx.Err())
		case <-tick.C:
		}
	}
}

// zombiePostmaster says whether postmaster.pid names a process that is dead
// but not reaped yet: PostgreSQL would take it for alive and refuse to start.
// One of our own children is reaped here.
func zombiePostmaster(dataDir string) bool {
	text, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	if err != nil {
		return false
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid <= 1 {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat[max(0, strings.LastIndexByte(string(stat), ')')):]), " ")
	f := strings.Fields(rest)
	if len(f) < 2 || f[0] != "Z" {
		return false
	}
	if f[1] == strconv.Itoa(os.Getpid()) {
		syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
	}
	return true
}
