package lab

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// janitor is a shell process that waits for its standard input to end, which
// happens when the test closes it or the test process is gone, however that
// came about. Then it ends the run's processes and removes what the run made.
type janitor struct {
	cmd   *exec.Cmd
	stdin io.Closer
	out   bytes.Buffer
}

// janitorScript gets: run id, directory, cgroup (may be empty). Processes are
// found by the cgroup; where there is none by their environment or working
// directory (PostgreSQL overwrites its environment).
const janitorScript = `
id=$1 dir=$2 cg=$3
cat >/dev/null
if [ -n "$cg" ]; then
	n=0
	while [ $n -lt 100 ]; do
		echo 1 >"$cg/cgroup.kill" 2>/dev/null
		grep -q 'populated 0' "$cg/cgroup.events" 2>/dev/null && break
		n=$((n + 1)); sleep 0.05
	done
	find "$cg" -depth -type d -exec rmdir {} \; 2>/dev/null
else
	for try in 1 2 3; do
		for p in /proc/[0-9]*; do
			if grep -sqz "^PGHA_LAB_RUN=$id\$" "$p/environ" || case "$(readlink "$p/cwd" 2>/dev/null)" in "$dir"/*) true ;; *) false ;; esac; then
				kill -9 "${p#/proc/}" 2>/dev/null
			fi
		done
		sleep 0.1
	done
fi
# What killed PostgreSQL servers leave: the System V segment named in their lock
# file, and POSIX segments. These name no owner, and a living server need not map
# its own: PostgreSQL 15 pins those of its statistics. So they go once no
# PostgreSQL of anybody's runs; they are listed before that is looked at.
shms=$(ls -d /dev/shm/PostgreSQL.* 2>/dev/null)
find "$dir" -name postmaster.pid 2>/dev/null | while read -r f; do
	id=$(sed -n '7s/.* //p' "$f"); [ -z "$id" ] || ipcrm -m "$id" 2>/dev/null
done
[ -z "$shms" ] || grep -qsx postgres /proc/[0-9]*/comm || rm -f $shms
for link in $(ip -o link 2>/dev/null | sed -n "s/^[0-9]*: \($id-[^:@]*\).*/\1/p"); do ip link del "$link"; done
for ns in $(ip netns 2>/dev/null | sed -n "s/^\($id-[^ ]*\).*/\1/p"); do ip netns del "$ns"; done
awk -v d="$dir/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r m; do umount -l "$m"; done
rm -rf "$dir"
[ ! -e "$dir" ]
`

func startJanitor(l *Lab) *janitor {
	j := &janitor{cmd: exec.Command("sh", "-c", janitorScript, "janitor", l.ID, l.Dir, l.cgroup)}
	stdin, err := j.cmd.StdinPipe()
	l.must(err)
	j.stdin = stdin
	j.cmd.Stderr = &j.out
	// Its own session: a ctrl-C at the terminal must not end it first.
	j.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	l.must(startRegistered(j.cmd))
	return j
}

// finish lets the janitor work and waits for it, at most a minute: removing
// namespaces takes its time on a loaded machine.
func (j *janitor) finish() error {
	j.stdin.Close()
	done := make(chan error, 1)
	go func() { done <- waitRegistered(j.cmd) }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%w: %s", err, j.out.String())
		}
		return nil
	case <-time.After(time.Minute):
		return fmt.Errorf("janitor (pid %d) still at work after a minute: %s", j.cmd.Process.Pid, j.out.String())
	}
}

// pickCgroup makes the run's cgroup (v2), if this machine lets us.
func (l *Lab) pickCgroup() {
	if os.Getuid() != 0 {
		return
	}
	mount, err := cgroup2Mount()
	if err != nil {
		l.t.Logf("lab: no cgroup: %v", err)
		return
	}
	dir := mount + "/pgha-lab-" + l.ID
	if err := os.Mkdir(dir, 0o755); err != nil {
		l.t.Logf("lab: no cgroup: %v", err)
		return
	}
	l.cgroup = dir
}
