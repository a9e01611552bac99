// Package watchdog speaks to the kernel's watchdog device
// (Documentation/watchdog/watchdog-api.rst of the kernel): open, the ioctls,
// keepalive, close. It decides nothing: when the device is on, with which
// timeout, and when it is fed is agent/watchdog.go's.
//
// Opening the device starts its countdown; each write starts it anew; when it
// ends, the machine is reset. Closing stops it only after the letter V was
// written. A process that dies with the device open leaves the countdown
// running, which is what the device is for.
package watchdog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The timeouts a device may be asked for, in seconds: its counters have 16
// bits (contract: ha-behaviour.md 20, "protocol").
const (
	MinTimeout = 1
	MaxTimeout = 65534
)

// Sentinels of Open and Usable. Each comes in an *OpenError, which says what
// to do about it.
var (
	// ErrMissing: there is no such device; most likely no driver is loaded.
	ErrMissing = errors.New("there is no such device")
	// ErrBusy: a device can be opened once, and somebody has it.
	ErrBusy = errors.New("another program holds the device")
	// ErrDenied: this user may not write to it.
	ErrDenied = errors.New("no permission to write to the device")
	// ErrNoWatchdog: the file is there, but no watchdog.
	ErrNoWatchdog = errors.New("not a watchdog device")
)

// OpenError is a device that cannot be used.
type OpenError struct {
	Path string
	// Err is one of the sentinels, or the system's error.
	Err error
	// Remedy is what to do, in one line.
	Remedy string
}

func (e *OpenError) Error() string { return e.Path + ": " + e.Err.Error() }
func (e *OpenError) Unwrap() error { return e.Err }

// Hint is the remedy.
func (e *OpenError) Hint() string { return e.Remedy }

// openError gives a system error its sentinel and remedy.
func openError(path string, err error) error {
	e := &OpenError{Path: path, Err: err, Remedy: "see the kernel's log"}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		e.Err, e.Remedy = ErrMissing, "load the driver of the machine's watchdog, or `modprobe softdog`"
	case errors.Is(err, unix.EBUSY):
		e.Err, e.Remedy = ErrBusy, "find who holds it with `fuser "+path+"`; systemd does with RuntimeWatchdogSec=, and so does the watchdog daemon"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EROFS):
		e.Err, e.Remedy = ErrDenied, "give it to the agent's user: `chown postgres "+path+"`, or for good a udev rule: KERNEL==\"watchdog\", OWNER=\"postgres\""
	case errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EINVAL):
		e.Err, e.Remedy = ErrNoWatchdog, "set watchdog.device to the watchdog's path, usually /dev/watchdog"
	}
	return e
}

// Usable says whether the device is there and may be written to, without
// opening it: that would start its countdown. Errors are *OpenError.
func Usable(path string) error {
	if err := unix.Access(path, unix.W_OK); err != nil {
		return openError(path, err)
	}
	return nil
}

// Support is what a device can do (WDIOC_GETSUPPORT).
type Support struct {
	// Identity is the driver's name for it.
	Identity string
	// SetsTimeout: its timeout can be changed.
	SetsTimeout bool
	// Closes: it can be stopped, by the magic close.
	Closes bool
}

// Device is an open watchdog: its countdown runs. Not for concurrent use.
type Device struct {
	path    string
	file    *os.File
	support Support
}

// Open opens the device, which starts its countdown, and asks what it can do.
// It is closed on exec, and its countdown goes on then. Errors are *OpenError.
// What is no watchdog at all was not written to.
func Open(path string) (*Device, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0) // Go adds O_CLOEXEC
	if err != nil {
		return nil, openError(path, err)
	}
	var info unix.WatchdogInfo
	if err := ioctl(f, unix.WDIOC_GETSUPPORT, unsafe.Pointer(&info)); err != nil {
		if !errors.Is(err, unix.ENOTTY) {
			_, _ = f.WriteString("V") // as far as it can be stopped again, it is
		}
		_ = f.Close()
		return nil, openError(path, err)
	}
	return &Device{path: path, file: f, support: Support{
		Identity:    strings.TrimRight(string(info.Identity[:]), "\x00"),
		SetsTimeout: info.Options&unix.WDIOF_SETTIMEOUT != 0,
		Closes:      info.Options&unix.WDIOF_MAGICCLOSE != 0 && !nowayout(f),
	}}, nil
}

// Path is what Open was given.
func (d *Device) Path() string { return d.path }

// Support is what the device said it can do.
func (d *Device) Support() Support { return d.support }

// SetTimeout asks for a countdown of so many seconds, and starts it anew. The
// driver may choose another value: Timeout tells which.
func (d *Device) SetTimeout(seconds int) error {
	if seconds < MinTimeout || seconds > MaxTimeout {
		return fmt.Errorf("%s: a timeout of %d s is not in %d to %d", d.path, seconds, MinTimeout, MaxTimeout)
	}
	value := int32(seconds)
	if err := ioctl(d.file, unix.WDIOC_SETTIMEOUT, unsafe.Pointer(&value)); err != nil {
		return fmt.Errorf("%s: set a timeout of %d s: %w", d.path, seconds, err)
	}
	return nil
}

// Timeout is the countdown's length in seconds.
func (d *Device) Timeout() (int, error) {
	var value int32
	if err := ioctl(d.file, unix.WDIOC_GETTIMEOUT, unsafe.Pointer(&value)); err != nil {
		return 0, fmt.Errorf("%s: ask for its timeout: %w", d.path, err)
	}
	return int(value), nil
}

// Keepalive starts the countdown anew.
func (d *Device) Keepalive() error {
	if _, err := d.file.WriteString("1"); err != nil {
		return fmt.Errorf("%s: keepalive: %w", d.path, unwrapPath(err))
	}
	return nil
}

// Disable stops the countdown (magic close) and closes the device. A device
// that does not support it is closed all the same and goes on counting: ask
// Support first. After an error it may go on counting as well.
func (d *Device) Disable() error {
	_, err := d.file.WriteString("V")
	if closing := d.file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("%s: stop its countdown: %w", d.path, unwrapPath(err))
	}
	return nil
}

// Leave closes the device and lets the countdown run: whoever opens it next
// goes on feeding it, or the machine is reset.
func (d *Device) Leave() error {
	if err := d.file.Close(); err != nil {
		return fmt.Errorf("%s: close: %w", d.path, unwrapPath(err))
	}
	return nil
}

// nowayout says whether the driver was told never to stop ("nowayout", or a
// kernel built that way). The ioctls do not tell; sysfs does where it is there.
func nowayout(f *os.File) bool {
	info, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	dir := fmt.Sprintf("/sys/dev/char/%d:%d", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)))
	if unix.Major(uint64(st.Rdev)) == 10 && unix.Minor(uint64(st.Rdev)) == 130 {
		dir = "/sys/class/watchdog/watchdog0" // the old name /dev/watchdog is the first one
	}
	text, err := os.ReadFile(dir + "/nowayout")
	return err == nil && strings.TrimSpace(string(text)) == "1"
}

// ioctl is ioctl(2) with a pointer to its argument.
func ioctl(f *os.File, request uint, argument unsafe.Pointer) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno unix.Errno
	if err := raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, uintptr(request), uintptr(argument))
	}); err != nil {
		return err
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// unwrapPath leaves the path out of an error that is given it by its caller.
func unwrapPath(err error) error {
	if pe := new(fs.PathError); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
