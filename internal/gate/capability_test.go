package gate

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgha/internal/clock"
)

// sets reads the capability sets of a status file that hold CAP_NET_ADMIN.
func sets(status string) (holding []string) {
	for _, m := range regexp.MustCompile(`(?m)^Cap(Inh|Prm|Eff|Amb):\s+(\w+)`).FindAllStringSubmatch(status, -1) {
		if bits, _ := strconv.ParseUint(m[2], 16, 64); bits&netAdmin != 0 {
			holding = append(holding, m[1])
		}
	}
	return holding
}

// TestChildrenDoNotInherit: a process that was given the capability keeps it
// to itself on all its threads, works with it, and can hand it on by an exec.
func TestChildrenDoNotInherit(t *testing.T) {
	switch os.Getenv("PGHA_GATE_CHILD") {
	case "":
		if os.Getuid() != 0 {
			t.Skip("run as root")
		}
		out, err := runChild(t, "TestChildrenDoNotInherit", []uintptr{unix.CAP_NET_ADMIN})
		if err != nil || !strings.Contains(out, "handed on") && !strings.Contains(out, "built with cgo") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	case "2":
		if !Permitted() {
			t.Error("the capability was not handed on by exec")
		}
		t.Log("handed on")
		return
	}
	if err := KeepToSelf(); errors.Is(err, syscall.ENOTSUP) {
		t.Skip("built with cgo")
	} else if err != nil {
		t.Fatal(err)
	}
	if !Permitted() {
		t.Fatal("the process itself lost it")
	}
	var wg sync.WaitGroup
	for range 8 { // forks from many threads
		wg.Go(func() {
			runtime.LockOSThread()
			out, err := exec.Command("cat", "/proc/self/status").Output()
			if held := sets(string(out)); err != nil || len(held) > 0 {
				t.Errorf("a child has it in %v (%v)", held, err)
			}
		})
	}
	wg.Wait()
	g, err := Open(Options{Port: testPort, Owner: "demo/pg01"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Extend(clock.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	if err := HandOn(); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	os.Setenv("PGHA_GATE_CHILD", "2")
	t.Fatal(syscall.Exec(self, os.Args, os.Environ()))
}
