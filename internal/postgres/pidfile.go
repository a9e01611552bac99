package postgres

import (
	"strconv"
	"strings"
	"time"
)

// PIDFile is postmaster.pid. Lines that are not written yet are zero.
type PIDFile struct {
	// PID is negative for a single-user server.
	PID       int
	Start     time.Time
	Port      int
	SocketDir string
	Listen    string
	// Status is starting, ready, standby or stopping.
	Status string
}

// maxPID is the largest process id of Linux.
const maxPID = 1 << 22

// ParsePIDFile reads postmaster.pid, which grows line by line while the
// postmaster starts. ok is false without a process id in the first line.
func ParsePIDFile(text string) (f PIDFile, ok bool) {
	lines := strings.Split(text, "\n")
	line := func(i int) string {
		if i < len(lines) {
			return strings.TrimSpace(lines[i])
		}
		return ""
	}
	pid, err := strconv.Atoi(line(0))
	if err != nil || pid == 0 || pid > maxPID || pid < -maxPID {
		return PIDFile{}, false
	}
	f = PIDFile{PID: pid, SocketDir: line(4), Listen: line(5), Status: line(7)}
	if sec, err := strconv.ParseInt(line(2), 10, 64); err == nil {
		f.Start = time.Unix(sec, 0)
	}
	f.Port, _ = strconv.Atoi(line(3))
	return f, true
}
