// Package watchdogtest is a watchdog device for tests: a file in a FUSE file
// system that answers the ioctls and counts as the kernel's drivers do
// (drivers/watchdog/watchdog_dev.c), so that the code under test makes real
// system calls on a real file descriptor. Where a machine would be reset, it
// notes the instant and calls a function.
package watchdogtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Options are what a driver can do, and who may use it. The zero value can do
// everything, counts 60 s, and belongs to root.
type Options struct {
	NoSetTimeout bool // WDIOF_SETTIMEOUT is missing
	NoMagicClose bool // WDIOF_MAGICCLOSE is missing: it cannot be stopped
	// Round is what the driver makes of a wanted timeout; nil: it takes it.
	Round func(seconds int) int
	// Default is the timeout before one is set; 0: 60 s.
	Default int
	// Owner of the file, and its mode; 0: root, 0600.
	Owner uint32
	Mode  uint32
	// Fire is called once, in a goroutine of its own, when a machine would be
	// reset; may be nil.
	Fire func()
}

// State is what a device has seen.
type State struct {
	Open    bool
	Running bool // the countdown runs
	Timeout int  // seconds
	Opens   int
	Feeds   int       // keepalives, openings and new timeouts not counted
	Fed     time.Time // when the countdown was last started anew
	Fired   time.Time // when the machine would have been reset; zero: never
}

// Device is a mounted device.
type Device struct {
	fs.Inode
	dir    string
	server *fuse.Server
	o      Options

	mu      sync.Mutex
	state   State
	held    bool          // somebody else has it open
	broken  syscall.Errno // what keepalives answer; 0: they work
	magic   bool          // the last write held a V
	timer   *time.Timer
	count   int // of countdowns begun
	changed chan struct{}
}

var (
	_ fs.NodeOpener    = (*Device)(nil)
	_ fs.NodeWriter    = (*Device)(nil)
	_ fs.NodeIoctler   = (*Device)(nil)
	_ fs.NodeReleaser  = (*Device)(nil)
	_ fs.NodeGetattrer = (*Device)(nil)
	_ fs.NodeSetattrer = (*Device)(nil)
)

// handle is an opening: without one its end is not told.
type handle int

// name of the device below the directory it is mounted on.
const name = "watchdog"

// root is the directory that holds the device.
type root struct {
	fs.Inode
	device *Device
}

func (r *root) OnAdd(ctx context.Context) {
	r.AddChild(name, r.NewPersistentInode(ctx, r.device, fs.StableAttr{Mode: fuse.S_IFREG}), true)
}

// Mount mounts a device on an empty directory. It needs /dev/fuse and the
// right to mount; Unmount it.
func Mount(dir string, o Options) (*Device, error) {
	if o.Default == 0 {
		o.Default = 60
	}
	if o.Mode == 0 {
		o.Mode = 0o600
	}
	d := &Device{dir: dir, o: o, changed: make(chan struct{})}
	d.state.Timeout = o.Default
	server, err := fs.Mount(dir, &root{device: d}, &fs.Options{MountOptions: fuse.MountOptions{
		FsName: "watchdogtest", AllowOther: true, DirectMountStrict: true, Options: []string{"default_permissions"}}})
	if err != nil {
		return nil, fmt.Errorf("mount a FUSE file system on %s: %w", dir, err)
	}
	d.server = server
	return d, nil
}

// Path is the device's.
func (d *Device) Path() string { return filepath.Join(d.dir, name) }

// Unmount ends it. It fails while somebody has the device open.
func (d *Device) Unmount() error {
	d.mu.Lock()
	d.stop()
	d.mu.Unlock()
	return d.server.Unmount()
}

// State is what the device has seen so far, and a channel that is closed at
// the next change.
func (d *Device) State() (State, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state, d.changed
}

// Hold makes somebody else the one who has the device open, or nobody.
func (d *Device) Hold(yes bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = yes
}

// Break makes keepalives fail with an error, or work again (0).
func (d *Device) Break(errno syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = errno
}

// start begins the countdown anew. Called with mu held.
func (d *Device) start() {
	d.stop()
	d.state.Running, d.state.Fed = true, time.Now()
	d.count++
	mine := d.count
	d.timer = time.AfterFunc(time.Duration(d.state.Timeout)*time.Second, func() { d.fire(mine) })
	d.note()
}

// stop ends the countdown. Called with mu held.
func (d *Device) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
	d.timer, d.state.Running = nil, false
	d.note()
}

func (d *Device) note() {
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *Device) fire(count int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer == nil || d.count != count || !d.state.Fired.IsZero() {
		return // fed in the last moment
	}
	d.state.Fired = time.Now()
	d.stop()
	if d.o.Fire != nil {
		go d.o.Fire()
	}
}

// Open is open(2): one at a time, and it starts the countdown.
func (d *Device) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held || d.state.Open {
		return nil, 0, syscall.EBUSY
	}
	d.state.Open, d.magic = true, false
	d.state.Opens++
	d.start()
	return handle(d.state.Opens), fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NONSEEKABLE, 0
}

// Write is write(2): a keepalive, and permission to stop when a V is in it.
func (d *Device) Write(_ context.Context, _ fs.FileHandle, data []byte, _ int64) (uint32, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken != 0 {
		return 0, d.broken
	}
	d.magic = bytes.IndexByte(data, 'V') >= 0
	d.state.Feeds++
	d.start()
	return uint32(len(data)), 0
}

// Release is the last close(2): it stops the countdown after a V; without, it
// starts it anew, as the kernel does.
func (d *Device) Release(context.Context, fs.FileHandle) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state.Open = false
	switch {
	case d.magic && !d.o.NoMagicClose:
		d.stop()
	case d.state.Running:
		d.start()
	}
	return 0
}

// Ioctl answers what internal/watchdog asks.
func (d *Device) Ioctl(_ context.Context, _ fs.FileHandle, cmd uint32, _ uint64, in, out []byte) (int32, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch cmd {
	case unix.WDIOC_GETSUPPORT:
		info := unix.WatchdogInfo{Options: unix.WDIOF_KEEPALIVEPING, Version: 1}
		if !d.o.NoSetTimeout {
			info.Options |= unix.WDIOF_SETTIMEOUT
		}
		if !d.o.NoMagicClose {
			info.Options |= unix.WDIOF_MAGICCLOSE
		}
		copy(info.Identity[:], "watchdog of a test")
		var b bytes.Buffer
		if err := binary.Write(&b, binary.NativeEndian, &info); err != nil {
			return 0, syscall.EIO
		}
		copy(out, b.Bytes())
	case unix.WDIOC_SETTIMEOUT:
		if d.o.NoSetTimeout {
			return 0, syscall.EOPNOTSUPP
		}
		seconds := int(int32(binary.NativeEndian.Uint32(in)))
		if d.o.Round != nil {
			seconds = d.o.Round(seconds)
		}
		if seconds < 1 {
			return 0, syscall.EINVAL
		}
		d.state.Timeout = seconds
		d.start()
		binary.NativeEndian.PutUint32(out, uint32(seconds))
	case unix.WDIOC_GETTIMEOUT:
		binary.NativeEndian.PutUint32(out, uint32(d.state.Timeout))
	default:
		return 0, syscall.ENOTTY
	}
	return 0, 0
}

// Getattr is stat(2).
func (d *Device) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Uid, out.Nlink = fuse.S_IFREG|d.o.Mode, d.o.Owner, 1
	return 0
}

// Setattr refuses: nobody changes a device.
func (d *Device) Setattr(context.Context, fs.FileHandle, *fuse.SetAttrIn, *fuse.AttrOut) syscall.Errno {
	return syscall.EPERM
}
