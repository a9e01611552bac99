package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// Cage is a v1 cgroup that one process alone was moved into: what the process
// starts later is in it as well, what it has started is not.
type Cage struct {
	lab  *Lab
	path string
}

// Starve leaves a process about one thousandth of a processor until Open.
func (l *Lab) Starve(p *Proc) *Cage {
	l.t.Helper()
	return l.cage(p, "cpu", "cpu.cfs_period_us", "1000000", "cpu.cfs_quota_us", "1000")
}

// ShortOfMemory gives a process no memory beside what it has: the next pages
// that it asks for make the kernel kill it.
func (l *Lab) ShortOfMemory(p *Proc) *Cage {
	l.t.Helper()
	return l.cage(p, "memory", "memory.limit_in_bytes", "65536")
}

func (l *Lab) cage(p *Proc, controller string, settings ...string) *Cage {
	l.t.Helper()
	root := filepath.Join("/sys/fs/cgroup", controller)
	if _, err := os.Stat(filepath.Join(root, settings[0])); err != nil && os.Geteuid() != 0 {
		l.t.Skip("needs the v1 controller " + controller + " and root")
	}
	c := &Cage{l, filepath.Join(root, "pgha-lab-"+l.ID+"-"+controller)}
	if err := os.Mkdir(c.path, 0o755); err != nil {
		l.t.Skipf("needs the v1 controller %s: %v", controller, err)
	}
	l.t.Cleanup(func() { os.Remove(c.path) })
	for i := 0; i < len(settings); i += 2 {
		l.must(os.WriteFile(filepath.Join(c.path, settings[i]), []byte(settings[i+1]), 0))
	}
	if err := os.WriteFile(filepath.Join(c.path, "cgroup.procs"), []byte(strconv.Itoa(p.Pid)), 0); err != nil {
		l.t.Fatal(fmt.Errorf("lab: move process %d into %s: %w", p.Pid, c.path, err))
	}
	return c
}

// Open lets the process out.
func (c *Cage) Open(p *Proc) {
	c.lab.t.Helper()
	if p.Alive() {
		c.lab.must(os.WriteFile(filepath.Join(filepath.Dir(c.path), "cgroup.procs"), []byte(strconv.Itoa(p.Pid)), 0))
	}
}
