package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Volume is a Disk with a real file system (ext4 on a file), which can hang
// and turn read-only as a dying one does.
type Volume struct {
	Disk
}

// Volume mounts one of that many MiB at <Dir>/<name>, owned by the user.
func (h *Host) Volume(name string, mib int) *Volume {
	h.lab.t.Helper()
	v := &Volume{Disk{lab: h.lab, Path: filepath.Join(h.Dir, name)}}
	if h.lab.cred == nil {
		h.lab.t.Skip("needs mount: run as root")
	}
	image := v.Path + ".image"
	h.lab.must(os.Mkdir(v.Path, 0o700))
	for _, step := range [][]string{
		{"truncate", "-s", fmt.Sprintf("%dM", mib), image},
		// No blocks kept for root: full is full for everybody.
		{"mkfs.ext4", "-q", "-m", "0", image},
		{"mount", "-o", "loop,errors=remount-ro", image, v.Path},
	} {
		if out, err := exec.Command(step[0], step[1:]...).CombinedOutput(); err != nil {
			h.lab.t.Skipf("needs a file system on a loop device: %v: %v: %s", step, err, out)
		}
	}
	h.lab.must(os.Chown(v.Path, int(h.lab.cred.Uid), int(h.lab.cred.Gid)))
	return v
}

// Hang makes every write stick in the kernel, uninterruptibly; reads go on.
// It ends with Thaw, with the test, or by itself after the time given,
// whatever the test does: nothing else could end it.
func (v *Volume) Hang(most time.Duration) {
	v.lab.t.Helper()
	// Armed first, in a process of its own: ours may stick as well.
	release := exec.Command("sh", "-c", fmt.Sprintf("sleep %d; fsfreeze -u %s 2>/dev/null", int(most.Seconds()), v.Path))
	v.lab.must(startRegistered(release))
	go func() { _ = waitRegistered(release) }() // ends with the sleep
	v.lab.t.Cleanup(v.Thaw)
	v.lab.must(run("fsfreeze", "-f", v.Path))
}

// Thaw undoes Hang; a volume that does not hang stays as it is.
func (v *Volume) Thaw() { _ = exec.Command("fsfreeze", "-u", v.Path).Run() }

// Break aborts the file system as it does by itself after an error of the
// device: whatever is open, writes fail with EROFS from now on, for good.
func (v *Volume) Break() {
	v.lab.t.Helper()
	v.lab.must(run("mount", "-o", "remount,abort", v.Path))
}
