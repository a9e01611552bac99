package chaos

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"pgha/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// TestChaos is `make chaos`: see Settings for what its environment says.
func TestChaos(t *testing.T) {
	if lab.Mode() != "chaos" {
		t.Skip("runs with `make chaos`")
	}
	s, err := FromEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := filepath.Abs(filepath.Join("..", "..", "..", ".lab", "chaos", time.Now().Format("20060102-150405")))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("repeat with: %s\none round: ... ROUND=n\n", s.Command())
	r := Run(t, s, dir, ctx.Done())
	fmt.Printf("\n%s", r.Text())
	if err := r.Save(dir); err != nil {
		t.Error(err)
	}
	fmt.Printf("report: %s/report.md, report.json\n", dir)
	for _, o := range r.Failed() {
		t.Errorf("round %d failed (%s): logs in %s", o.Number, o.FaultName, o.Kept)
	}
	if len(r.Rounds) == 0 && ctx.Err() == nil {
		t.Error("no round was played")
	}
}
