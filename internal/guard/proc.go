package guard

import "syscall"

// process is one line of /proc.
type process struct {
	pid, ppid int
	state     byte
	threads   int
	tty       int
	start     uint64 // clock ticks since boot; with pid it names the process for good
}

// dead says that nothing of the process can run any more: it only waits to be
// reaped. A leader that ended before its threads is not dead.
func (p process) dead() bool {
	return (p.state == 'Z' || p.state == 'X' || p.state == 'x') && p.threads <= 1
}

// readSmall reads a small file of /proc or /sys, at most limit bytes.
func readSmall(path string, limit int) (string, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer syscall.Close(fd)
	buf := make([]byte, 4096)
	n := 0
	for {
		if n == len(buf) {
			if len(buf) >= limit {
				return string(buf), nil
			}
			buf = append(buf, make([]byte, len(buf))...)
		}
		m, err := syscall.Read(fd, buf[n:])
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return "", err
		}
		if m == 0 {
			return string(buf[:n]), nil
		}
		n += m
	}
}

// writeSmall writes to a file of /proc or /sys that exists.
func writeSmall(path, text string) error {
	fd, err := syscall.Open(path, syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	_, err = syscall.Write(fd, []byte(text))
	return err
}

// processes lists every process the kernel shows.
func processes() ([]process, error) {
	fd, err := syscall.Open("/proc", syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(fd)
	var list []process
	buf := make([]byte, 16<<10)
	for {
		n, err := syscall.ReadDirent(fd, buf)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return list, nil
		}
		var names []string
		_, _, names = syscall.ParseDirent(buf[:n], -1, names)
		for _, name := range names {
			pid, ok := parseInt(name)
			if !ok || pid <= 0 {
				continue
			}
			if p, ok := readProcess(int(pid)); ok {
				list = append(list, p)
			}
		}
	}
}

// readProcess reads one process; ok is false when there is none.
func readProcess(pid int) (process, bool) {
	text, err := readSmall("/proc/"+formatInt(int64(pid))+"/stat", 4096)
	if err != nil {
		return process{}, false
	}
	return parseStat(text)
}

// parseStat reads /proc/PID/stat (proc(5)). The name in parentheses may
// contain anything, so the fields are counted from the last parenthesis.
func parseStat(text string) (process, bool) {
	end := lastIndex(text, ')')
	if end < 0 {
		return process{}, false
	}
	var p process
	head := 0
	for head < end && text[head] != ' ' {
		head++
	}
	pid, ok := parseInt(text[:head])
	line, _ := cutLine(text[end+1:])
	f := fields(line)
	if !ok || len(f) < 20 || len(f[0]) != 1 { // f[0] is field 3
		return process{}, false
	}
	ppid, ok1 := parseInt(f[1])
	threads, ok2 := parseInt(f[17])
	start, ok3 := parseUint(f[19])
	if !ok1 || !ok2 || !ok3 {
		return process{}, false
	}
	p = process{pid: int(pid), ppid: int(ppid), state: f[0][0], threads: int(threads), start: start}
	if tty, ok := parseInt(f[4]); !ok || tty != 0 {
		p.tty = 1 // negative numbers occur for high minors
	}
	return p, true
}

// killPending says whether SIGKILL waits for the process: it can never return
// to user mode (rulings 12).
func killPending(pid int) bool {
	text, err := readSmall("/proc/"+formatInt(int64(pid))+"/status", 64<<10)
	if err != nil {
		return false
	}
	return statusKillPending(text)
}

func statusKillPending(text string) bool {
	for text != "" {
		var line string
		line, text = cutLine(text)
		if !hasPrefix(line, "SigPnd:") && !hasPrefix(line, "ShdPnd:") {
			continue
		}
		// A mask of 16 hexadecimal digits; SIGKILL is bit 8, the lowest bit of
		// the third digit from the right.
		if n := len(line); n > 10 {
			if d := unhex(line[n-3]); d <= 15 && d&1 != 0 {
				return true
			}
		}
	}
	return false
}

// ancestors lists pid and the processes above it.
func ancestors(pid int) []int {
	var up []int
	for pid > 0 && len(up) < 64 {
		up = append(up, pid)
		p, ok := readProcess(pid)
		if !ok {
			break
		}
		pid = p.ppid
	}
	return up
}

func contains(list []int, n int) bool {
	for _, m := range list {
		if m == n {
			return true
		}
	}
	return false
}
