package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Unplug pulls the host's network cable. The host keeps its address.
func (h *Host) Unplug() {
	h.lab.t.Helper()
	h.lab.NeedNetwork()
	h.lab.must(run("ip", "link", "set", h.veth, "down"))
}

// Plug puts the cable back.
func (h *Host) Plug() {
	h.lab.t.Helper()
	h.lab.must(run("ip", "link", "set", h.veth, "up"))
}

// Direction is which packets a filter drops, seen from the host.
type Direction string

const (
	In   Direction = "in"
	Out  Direction = "out"
	Both Direction = "both"
)

// Block drops silently, in one direction or both, what comes from or goes to
// the others. It adds to what is blocked already; Heal undoes all.
func (h *Host) Block(d Direction, others ...*Host) {
	h.lab.t.Helper()
	h.lab.NeedNetwork()
	var addrs []string
	for _, o := range others {
		addrs = append(addrs, o.Addr)
	}
	set := strings.Join(addrs, ", ")
	var rules strings.Builder
	rules.WriteString("table inet lab {\n")
	rules.WriteString("  chain in { type filter hook input priority -300; policy accept; }\n")
	rules.WriteString("  chain out { type filter hook output priority -300; policy accept; }\n}\n")
	if d != Out {
		fmt.Fprintf(&rules, "add rule inet lab in ip saddr { %s } drop\n", set)
	}
	if d != In {
		fmt.Fprintf(&rules, "add rule inet lab out ip daddr { %s } drop\n", set)
	}
	file := filepath.Join(h.lab.Dir, h.Name+".nft")
	h.lab.must(os.WriteFile(file, []byte(rules.String()), 0o600))
	h.lab.must(h.inside(func() error { return run("nft", "-f", file) }))
}

// Heal undoes Block and Unplug.
func (h *Host) Heal() {
	h.lab.t.Helper()
	h.lab.must(h.inside(func() error {
		return run("nft", "add table inet lab; delete table inet lab")
	}))
	h.Plug()
}

// PowerOff is the loss of a machine: nothing of it answers any more, then
// every process on it is gone. Its disk stays.
func (h *Host) PowerOff() {
	h.lab.t.Helper()
	if h.lab.Isolated() {
		h.Unplug()
	}
	h.KillAll()
}

// KillAll ends every process of the host at once, children of children
// included, and waits until none is left.
func (h *Host) KillAll() {
	h.lab.t.Helper()
	if h.cgroup == "" {
		h.lab.t.Skip("needs cgroup v2: run as root")
	}
	h.lab.must(os.WriteFile(h.cgroup+"/cgroup.kill", []byte("1"), 0))
	h.lab.Until(10*time.Second, "no process left on "+h.Name, func() string {
		events, err := os.ReadFile(h.cgroup + "/cgroup.events")
		h.lab.must(err)
		if strings.Contains(string(events), "populated 0") {
			return ""
		}
		return string(events)
	})
	// A group that was killed once kills everything that is cloned into it
	// later (seen on Linux 6.18): the next boot gets new ones.
	h.lab.must(removeGroups(h.cgroup))
	h.lab.must(h.makeCgroup())
}

// removeGroups removes a cgroup without processes and all below it.
func removeGroups(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeGroups(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return os.Remove(dir)
}

// Freeze stops every process of the host; Thaw lets them go on. Clocks and
// timers in the kernel run on.
func (h *Host) Freeze() { h.freeze("1") }

// Thaw undoes Freeze.
func (h *Host) Thaw() { h.freeze("0") }

func (h *Host) freeze(value string) {
	h.lab.t.Helper()
	if h.cgroup == "" {
		h.lab.t.Skip("needs cgroup v2: run as root")
	}
	h.lab.must(os.WriteFile(h.cgroup+"/cgroup.freeze", []byte(value), 0))
}

// Disk mounts a disk of that many MiB at <Dir>/<name>, owned by the user.
func (h *Host) Disk(name string, mib int) *Disk {
	h.lab.t.Helper()
	d := &Disk{lab: h.lab, Path: filepath.Join(h.Dir, name)}
	if h.lab.cred == nil {
		h.lab.t.Skip("needs mount: run as root")
	}
	h.lab.must(os.Mkdir(d.Path, 0o700))
	h.lab.must(run("mount", "-t", "tmpfs", "-o",
		fmt.Sprintf("size=%dm,uid=%d,gid=%d,mode=0700", mib, h.lab.cred.Uid, h.lab.cred.Gid), "tmpfs", d.Path))
	return d
}

// Disk is a file system of limited size.
type Disk struct {
	lab  *Lab
	Path string
}

// Fill takes all the space that is left.
func (d *Disk) Fill() {
	d.lab.t.Helper()
	f, err := os.Create(filepath.Join(d.Path, "ballast"))
	d.lab.must(err)
	defer f.Close()
	for block := make([]byte, 1<<16); err == nil; {
		_, err = f.Write(block)
	}
	if !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
		d.lab.t.Fatalf("lab: fill %s: %v", d.Path, err)
	}
}

// Free gives the space back.
func (d *Disk) Free() {
	d.lab.t.Helper()
	d.lab.must(os.Remove(filepath.Join(d.Path, "ballast")))
}
