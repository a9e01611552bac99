package guard

import "syscall"

// ownGroup is the directory of this process's cgroup v2, "" where the machine
// has none mounted.
func ownGroup() string {
	mounts, err := readSmall("/proc/self/mountinfo", 1<<20)
	if err != nil {
		return ""
	}
	groups, err := readSmall("/proc/self/cgroup", 64<<10)
	if err != nil {
		return ""
	}
	return findGroup(mounts, groups)
}

// findGroup combines the cgroup2 mount of mountinfo with the "0::" line of
// /proc/PID/cgroup. It knows pure and hybrid layouts.
func findGroup(mounts, groups string) string {
	path := ""
	for groups != "" {
		var line string
		if line, groups = cutLine(groups); hasPrefix(line, "0::/") {
			path = line[len("0::"):]
		}
	}
	if path == "" || hasPrefix(path, "/..") { // outside of our cgroup namespace
		return ""
	}
	for mounts != "" {
		var line string
		line, mounts = cutLine(mounts)
		f := fields(line)
		for i := 6; i+1 < len(f); i++ {
			if f[i] != "-" || f[i+1] != "cgroup2" {
				continue
			}
			root, at := f[3], f[4]
			if root != "/" {
				if !hasPrefix(path, root) {
					break
				}
				path = path[len(root):]
			}
			if path == "/" {
				path = ""
			}
			return at + path
		}
	}
	return ""
}

// groupFor names the cgroup of one part of a data directory's cluster below
// base. It depends on nothing but its arguments: a successor finds what its
// predecessor left.
func groupFor(base, dataDir, part string) string {
	hash := uint64(14695981039346656037) // FNV-1a
	for i := 0; i < len(dataDir); i++ {
		hash = (hash ^ uint64(dataDir[i])) * 1099511628211
	}
	name := make([]byte, 16)
	for i := range name {
		name[i] = hexDigits[hash>>(60-4*i)&15]
	}
	return base + "/pgha-" + part + "-" + string(name)
}

// groupMembers lists the processes of a cgroup; none when there is no group.
func groupMembers(group string) []int {
	if group == "" {
		return nil
	}
	text, err := readSmall(group+"/cgroup.procs", 1<<20)
	if err != nil {
		return nil
	}
	var pids []int
	for text != "" {
		var line string
		line, text = cutLine(text)
		if pid, ok := parseInt(line); ok && pid > 0 {
			pids = append(pids, int(pid))
		}
	}
	return pids
}

// makeGroup creates a cgroup and opens its directory; one that exists is
// taken over.
func makeGroup(dir string) (fd int, err error) {
	if err := syscall.Mkdir(dir, 0o755); err != nil && err != syscall.EEXIST {
		return -1, err
	}
	return syscall.Open(dir, oPath|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
}
