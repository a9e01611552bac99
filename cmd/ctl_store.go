package cmd

import (
	"context"
	"os"
	"time"

	"pgha/ctl"
	"pgha/internal/config"
)

// production is the world outside a real process.
func production() outside {
	return outside{environ: os.Environ(), open: openStore, now: time.Now}
}

func openStore(ctx context.Context, local *config.Local, scope string) (ctl.Store, error) {
	panic("not yet")
}
