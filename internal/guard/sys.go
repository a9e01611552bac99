package guard

import (
	"runtime"
	"syscall"
	"unsafe"
)

// The system calls the guard needs, by hand: golang.org/x/sys would more than
// double the guard's resident size (rulings 35). The numbers from 424 on are
// the same on every architecture.
const (
	sysPidfdSendSignal = 424
	sysPidfdOpen       = 434

	clockBoottime = 7

	prSetChildSubreaper = 36

	mclCurrent = 1
	mclFuture  = 2
	mclOnfault = 4

	rlimitMemlock  = 8
	rlimitInfinity = ^uint64(0)

	timerAbstime = 1

	oPath = 0x200000

	pollIn  = 0x1
	pollOut = 0x4
	pollErr = 0x8
	pollHup = 0x10
)

// bootNow reads CLOCK_BOOTTIME in nanoseconds, the clock of internal/clock.
func bootNow() int64 {
	var ts syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&ts)), 0)
	if errno != 0 {
		panic("guard: CLOCK_BOOTTIME: " + errno.Error()) // present since Linux 2.6.39
	}
	return ts.Nano()
}

type itimerspec struct {
	interval syscall.Timespec
	value    syscall.Timespec
}

// timerSpec is the setting for one expiry at the instant; 0 means none. An
// instant in the past expires at once.
func timerSpec(at int64) itimerspec {
	if at == 0 {
		return itimerspec{}
	}
	if at < 1 {
		at = 1 // a zero value would disarm where "long ago" is meant
	}
	return itimerspec{value: syscall.NsecToTimespec(at)}
}

// alarm is a POSIX timer on CLOCK_BOOTTIME that sends this very process a
// signal. With SIGKILL the kernel ends the guard, and by the parent-death
// signal its postmaster, at an instant that nobody needs to be awake for: it
// expires in a process stopped by SIGSTOP too.
type alarm struct {
	id int32
}

type sigevent struct {
	value  uint64
	signo  int32
	notify int32 // 0: SIGEV_SIGNAL
	_      [48]byte
}

// newAlarm creates the timer, not running.
func newAlarm(sig syscall.Signal) (alarm, error) {
	var a alarm
	ev := sigevent{signo: int32(sig)}
	_, _, errno := syscall.RawSyscall(syscall.SYS_TIMER_CREATE, clockBoottime,
		uintptr(unsafe.Pointer(&ev)), uintptr(unsafe.Pointer(&a.id)))
	if errno != 0 {
		return alarm{}, errno
	}
	return a, nil
}

// at makes the timer expire at the instant, replacing what was set before in
// one step; 0 stops it.
func (a alarm) at(instant int64) error {
	spec := timerSpec(instant)
	_, _, errno := syscall.RawSyscall6(syscall.SYS_TIMER_SETTIME, uintptr(a.id), timerAbstime,
		uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// newTimerFD creates a timerfd on CLOCK_BOOTTIME; unlike poll's timeout it
// does not stand still while the machine is suspended.
func newTimerFD() (int, error) {
	fd, _, errno := syscall.RawSyscall(syscall.SYS_TIMERFD_CREATE, clockBoottime,
		syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

func setTimerFD(fd int, at int64) {
	spec := timerSpec(at)
	syscall.RawSyscall6(syscall.SYS_TIMERFD_SETTIME, uintptr(fd), timerAbstime,
		uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
}

type pollFD struct {
	fd      int32
	events  int16
	revents int16
}

// poll waits until one of the descriptors is ready or the timeout (ns) is over.
func poll(fds []pollFD, timeout int64) {
	ts := syscall.NsecToTimespec(timeout)
	var p unsafe.Pointer
	if len(fds) > 0 {
		p = unsafe.Pointer(&fds[0])
	}
	_, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(p), uintptr(len(fds)),
		uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	if errno != 0 { // EINTR: nothing is known to be ready
		for i := range fds {
			fds[i].revents = 0
		}
	}
}

// pidfdOpen returns a descriptor for the process; it becomes readable when
// the process ends, and signals through it never reach a successor of the
// same number. ENOSYS before Linux 5.3.
func pidfdOpen(pid int) (int, error) {
	fd, _, errno := syscall.RawSyscall(sysPidfdOpen, uintptr(pid), 0, 0)
	if errno != 0 {
		return -1, errno
	}
	syscall.CloseOnExec(int(fd)) // set by the kernel already; harmless
	return int(fd), nil
}

func pidfdSignal(fd int, sig syscall.Signal) error {
	_, _, errno := syscall.RawSyscall6(sysPidfdSendSignal, uintptr(fd), uintptr(sig), 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func prctl(option, arg uintptr) error {
	_, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, option, arg, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// ignoreSignal sets the kernel's disposition to "ignore", past Go's runtime,
// whose own handler would end the process.
func ignoreSignal(sig syscall.Signal) {
	action := struct {
		handler  uintptr
		flags    uint64
		restorer uintptr
		mask     uint64
	}{handler: 1}
	syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
}

// fileID names a file or directory whatever its path.
type fileID struct {
	major, minor uint32
	ino          uint64
}

// identify tells which directory a path leads to, from what the kernel
// remembers: a network file system's silent server is not asked for the
// attributes.
func identify(path string) (fileID, error) {
	const (
		dontSync = 0x4000 // AT_STATX_DONT_SYNC
		maskIno  = 0x100  // STATX_INO
	)
	var number uintptr
	switch runtime.GOARCH {
	case "amd64":
		number = 332
	case "arm64", "riscv64", "loong64":
		number = 291
	default:
		return fileID{}, syscall.ENOSYS
	}
	name, err := syscall.BytePtrFromString(path)
	if err != nil {
		return fileID{}, err
	}
	var buf [256]byte // struct statx
	cwd := -100       // AT_FDCWD
	_, _, errno := syscall.Syscall6(number, uintptr(cwd), uintptr(unsafe.Pointer(name)),
		dontSync, maskIno, uintptr(unsafe.Pointer(&buf)), 0)
	if errno != 0 {
		return fileID{}, errno
	}
	return fileID{
		ino:   *(*uint64)(unsafe.Pointer(&buf[0x20])),
		major: *(*uint32)(unsafe.Pointer(&buf[0x88])),
		minor: *(*uint32)(unsafe.Pointer(&buf[0x8c])),
	}, nil
}
