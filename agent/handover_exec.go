package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"pgha/internal/clock"
	"pgha/internal/gate"
)

// exec replaces this program. It returns only when that failed, and then
// everything is as before.
func (h *handover) exec(next nextProgram, v View) error {
	s := h.agent.handed(v)
	files, err := h.files()
	if err != nil {
		return err
	}
	s.Files = map[string]int{}
	for name, fd := range files {
		s.Files[name] = fd
	}
	memory, err := inMemory(s)
	if err != nil {
		return err
	}
	defer unix.Close(memory)
	env := append(append([]string{}, h.agent.options.Environ...), fmt.Sprintf("%s=%d", inheritMarker, memory))

	// No child may be forked while the descriptors are inheritable.
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	for _, fd := range files {
		defer unix.CloseOnExec(fd)
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("pass descriptor %d on: %w", fd, err)
		}
	}
	// Between exec and the next program's own handlers these would end it.
	// What a lost one asked for the next program does anyway: it reads its
	// configuration, and it is the program on disk. TERM and INT stay deadly:
	// ignored, a stop would wait for its time-out.
	defer ignoreAll(syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)()
	// The gate's capability goes along on the thread that executes.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := gate.HandOn(); err != nil {
		return fmt.Errorf("hand CAP_NET_ADMIN on: %w", err)
	}
	defer gate.KeepToSelf() // what has no effect the second time had one the first
	return fmt.Errorf("execute %s: %w", next.Path, syscall.Exec(next.Path, os.Args, env))
}

// files are the descriptors to pass on, by name.
func (h *handover) files() (map[string]int, error) {
	listener, ok := h.agent.rest.Listener().(syscall.Conn)
	if !ok {
		return nil, errors.New("the socket of the REST API cannot be handed over")
	}
	out := map[string]int{}
	for name, conn := range map[string]syscall.Conn{fileREST: listener, fileLock: h.agent.lock} {
		raw, err := conn.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { out[name] = int(fd) })
		}
		if err != nil {
			return nil, fmt.Errorf("hand %s over: %w", name, err)
		}
	}
	for name, file := range h.agent.heirlooms {
		if fd := file(); fd >= 0 {
			out[name] = fd
		}
	}
	return out, nil
}

// inMemory writes the state to a file that exists in memory alone: a disk that
// hangs must not be in the way. The descriptor is inheritable.
func inMemory(s inherited) (int, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return -1, fmt.Errorf("write down what is handed over: %w", err)
	}
	fd, err := unix.MemfdCreate("pgha-handover", 0)
	if err != nil {
		return -1, fmt.Errorf("write down what is handed over: %w", err)
	}
	if n, err := unix.Pwrite(fd, text, 0); err != nil || n < len(text) {
		unix.Close(fd)
		return -1, fmt.Errorf("write down what is handed over: %d of %d bytes: %w", n, len(text), err)
	}
	return fd, nil
}

// handed is the state that the next program goes on with.
func (a *agent) handed(v View) inherited {
	lease, asked := a.store.Held()
	s := inherited{Protocol: handoverProtocol, From: a.options.Version, At: clock.Now(), Count: a.inherited.count() + 1,
		Listen: a.settings.Local().RestAPI.Listen, Lease: int64(lease), LeaseTTL: asked,
		LeaderUntil: v.LeaderUntil, GivenUp: a.loop.givenUp, Memory: v.Memory, Schedule: a.pub.scheduledRestart(),
		Failsafe: a.loop.failsafe, FailsafeDoubtful: a.loop.doubtful, FailsafeSender: a.loop.Promises.Sender(), Born: a.loop.Born}
	s.Memory.LastLed = nil // the first read brings it again
	return s
}

// sigaction is the kernel's, as far as it is used here.
type sigaction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

// ignoreAll ignores signals in a way that survives exec, and returns how to
// undo it. os/signal would forget who had asked to be told.
func ignoreAll(signals ...syscall.Signal) (undo func()) {
	const sigIgn, maskSize = 1, 8
	before := make([]sigaction, len(signals))
	set := func(sig syscall.Signal, next, old *sigaction) {
		syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(next)), uintptr(unsafe.Pointer(old)), maskSize, 0, 0)
		runtime.KeepAlive(next)
	}
	for i, sig := range signals {
		set(sig, &sigaction{handler: sigIgn}, &before[i])
	}
	return func() {
		for i, sig := range signals {
			set(sig, &before[i], nil)
		}
	}
}
