package gate

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The right to a gate is the agent's alone. A systemd unit gives it as an
// ambient capability, which every child would inherit: PostgreSQL, its
// archive_command and callbacks could then change the machine's network.

// Permitted says whether this process may use CAP_NET_ADMIN.
func Permitted() bool {
	_, data, err := capabilities()
	return err == nil && data[0].Effective&netAdmin != 0
}

const netAdmin = 1 << unix.CAP_NET_ADMIN

// capabilities are the calling thread's.
func capabilities() (unix.CapUserHeader, [2]unix.CapUserData, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	err := unix.Capget(&header, &data[0])
	return header, data, err
}

// KeepToSelf takes CAP_NET_ADMIN out of the ambient and the inheritable set of
// all threads: this process keeps it, nothing that it executes gets it. Other
// capabilities are left as they are: they may be meant for PostgreSQL. To be
// called before anything is executed. Errors: a build with cgo, which cannot
// speak for all threads (releases are built without).
func KeepToSelf() error {
	header, data, err := capabilities()
	if err != nil {
		return fmt.Errorf("read the capabilities: %w", err)
	}
	ambient, _, errno := syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, unix.CAP_NET_ADMIN, 0, 0, 0)
	if data[0].Inheritable&netAdmin == 0 && (errno != 0 || ambient == 0) {
		return nil
	}
	// What is not inheritable cannot be ambient: the kernel takes it out of both.
	data[0].Inheritable &^= netAdmin
	_, _, errno = syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	runtime.KeepAlive(&data)
	if errno != 0 {
		return fmt.Errorf("take CAP_NET_ADMIN out of the inheritable capabilities: %w", errno)
	}
	return nil
}

// HandOn puts the capability back where an exec of this very program finds it,
// on the calling thread, which has to be locked and to call exec itself. It
// does nothing for a process without it.
func HandOn() error {
	header, data, err := capabilities()
	if err != nil || data[0].Permitted&netAdmin == 0 {
		return err
	}
	data[0].Inheritable |= netAdmin
	return errors.Join(
		unix.Capset(&header, &data[0]),
		unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_NET_ADMIN, 0, 0))
}
