package chaos

import (
	"fmt"
	"slices"
	"sync"
	"testing"
)

// bench is the testing.TB that a cluster's machine room gets. A cluster lives
// for many rounds and a failure ends its round only: what would end the test
// is a panic here, which the round recovers.
type bench struct {
	testing.TB
	log func(string)

	mu       sync.Mutex
	cleanups []func()
	errors   []string
}

// stopped is the value of the panic.
type stopped struct{ why string }

func (b *bench) Helper()                   {}
func (b *bench) Failed() bool              { return false } // the round keeps its logs itself
func (b *bench) Log(a ...any)              { b.log(fmt.Sprint(a...)) }
func (b *bench) Logf(f string, a ...any)   { b.log(fmt.Sprintf(f, a...)) }
func (b *bench) Fatal(a ...any)            { panic(stopped{fmt.Sprint(a...)}) }
func (b *bench) Fatalf(f string, a ...any) { panic(stopped{fmt.Sprintf(f, a...)}) }
func (b *bench) Skip(a ...any)             { panic(stopped{"skipped: " + fmt.Sprint(a...)}) }
func (b *bench) Skipf(f string, a ...any)  { panic(stopped{"skipped: " + fmt.Sprintf(f, a...)}) }
func (b *bench) Error(a ...any)            { b.Errorf("%s", fmt.Sprint(a...)) }

// Errorf records a failure that lets the round go on.
func (b *bench) Errorf(f string, a ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.errors = append(b.errors, fmt.Sprintf(f, a...))
}

func (b *bench) Cleanup(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cleanups = append(b.cleanups, f)
}

// taken returns the failures recorded since the last call.
func (b *bench) taken() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	errors := b.errors
	b.errors = nil
	return errors
}

// finish ends the cluster: the last made goes first.
func (b *bench) finish() {
	b.mu.Lock()
	all := b.cleanups
	b.cleanups = nil
	b.mu.Unlock()
	for _, f := range slices.Backward(all) {
		f()
	}
}
