// Command vminit is the first process of the virtual machine in which `make
// watchdog` tries internal/watchdog on drivers of the kernel. It loads
// softdog, runs the package's tests on its device, then arms the emulated
// Intel 6300ESB and lets it reset the machine; after that boot it says so and
// turns the machine off. Every line it writes begins with "vminit:".
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pgha/internal/watchdog"
)

func main() {
	if err := run(); err != nil {
		say("failed: %v", err)
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func say(format string, args ...any) { fmt.Printf("vminit: "+format+"\n", args...) }

func run() error {
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}} {
		if err := os.MkdirAll(m[1], 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m[0], m[1], m[0], 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m[1], err)
		}
	}
	if err := load("/watchdog.ko", ""); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err // not there: it is part of the kernel
	}
	if err := load("/i6300esb.ko", ""); err != nil {
		return err
	}
	const hardware = "/sys/class/watchdog/watchdog0/"
	status, err := os.ReadFile(hardware + "bootstatus")
	if err != nil {
		return err
	}
	if bits := strings.TrimSpace(string(status)); bits == fmt.Sprint(unix.WDIOF_CARDRESET) {
		say("the machine was reset by the watchdog (bootstatus %s)", bits)
		return nil
	}
	if err := load("/softdog.ko", ""); err != nil {
		return err
	}
	cmd := exec.Command("/watchdog.test", "-test.v", "-test.run", "TestKernelDevice|TestUnusable/(missing|no_watchdog|directory)", "-device", "/dev/watchdog1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("tests on softdog: %w", err)
	}
	say("the tests on softdog passed")
	return reset("/dev/watchdog0")
}

// load loads a module of the initramfs.
func load(path, params string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), params, 0); err != nil {
		return fmt.Errorf("load %s: %w", path, err)
	}
	return nil
}

// reset arms the device, feeds it for longer than its timeout, and stops
// feeding: it does not return unless nothing happens.
func reset(path string) error {
	d, err := watchdog.Open(path)
	if err != nil {
		return err
	}
	if err := d.SetTimeout(4); err != nil {
		return err
	}
	seconds, err := d.Timeout()
	if err != nil {
		return err
	}
	say("%s: %+v, timeout %d s", path, d.Support(), seconds)
	for range 2 * seconds {
		if err := d.Keepalive(); err != nil {
			return err
		}
		time.Sleep(time.Second)
	}
	say("fed for %d s; now nobody feeds it", 2*seconds)
	for i := 1; i <= 5*seconds; i++ {
		time.Sleep(time.Second)
		say("%d s", i)
	}
	return errors.New("the machine was not reset")
}
