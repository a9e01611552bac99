package guard

import "syscall"

// lockMemory keeps the guard's pages in memory. ONFAULT: without it Go's
// reservations would be faulted in (42 MB against 2). Future mappings are
// locked only where no limit can make a mapping fail: that would end us.
func lockMemory() (note string) {
	shedProgramPages()
	var limit syscall.Rlimit
	err := syscall.Getrlimit(rlimitMemlock, &limit)
	if err == nil && limit.Cur == rlimitInfinity {
		if err = syscall.Mlockall(mclCurrent | mclFuture | mclOnfault); err == nil {
			return "all"
		}
	}
	if err = syscall.Mlockall(mclCurrent | mclOnfault); err == nil {
		return "current"
	}
	return "no: " + err.Error()
}

// shedProgramPages lets go of the program's own pages that the runtime's start
// touched: it reads through tables of the whole binary (5 MB of them), which
// we would otherwise lock in memory for good. What is needed comes back from
// the page cache by itself. Only where the program lies at its linked address:
// elsewhere these pages may have been written to by relocation.
func shedProgramPages() {
	exe, err := readLink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := readSmall("/proc/self/maps", 1<<20)
	if err != nil {
		return
	}
	for maps != "" {
		var line string
		line, maps = cutLine(maps)
		if start, length, ok := programPages(line, exe); ok {
			const dontNeed = 4 // MADV_DONTNEED
			syscall.RawSyscall(syscall.SYS_MADVISE, uintptr(start), uintptr(length), dontNeed)
		}
	}
}

// programPages reads one line of /proc/PID/maps; ok says that it maps the
// program, not writable, below 4 GiB.
func programPages(line, exe string) (start, length uint64, ok bool) {
	f := fields(line)
	if len(f) < 6 || f[5] != exe || len(f[1]) != 4 || f[1][1] != '-' {
		return 0, 0, false
	}
	for i := 0; i < len(f[0]); i++ {
		if f[0][i] != '-' {
			continue
		}
		start, ok1 := parseHex(f[0][:i])
		end, ok2 := parseHex(f[0][i+1:])
		return start, end - start, ok1 && ok2 && start < end && end <= 1<<32
	}
	return 0, 0, false
}

const oomFile = "/proc/self/oom_score_adj"

// lowerOOM takes the guard out of the kernel's choice when memory runs out.
func (g *guard) lowerOOM() {
	text, err := readSmall(oomFile, 64)
	if err != nil {
		g.oomNote = "unknown: " + err.Error()
		return
	}
	g.oomBefore, _ = cutLine(text)
	if err := writeSmall(oomFile, "-1000"); err != nil {
		g.oomNote = g.oomBefore + " (-1000: " + err.Error() + ")"
		return
	}
	g.oomLowered, g.oomNote = true, "-1000"
}

// ordinaryOOM puts the inherited value back while PostgreSQL is forked, which
// must not become unkillable with us, and returns how to lower it again.
func (g *guard) ordinaryOOM() func() {
	if !g.oomLowered || writeSmall(oomFile, g.oomBefore) != nil {
		return func() {}
	}
	return g.lowerOOM
}
