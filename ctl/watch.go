package ctl

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"
)

// watch runs a round once, or again and again until ctx ends, which is no
// error then. The first round's failure ends it; later ones are shown and the
// next round tries again, so that a watch outlives a short outage.
func (s *Session) watch(ctx context.Context, every time.Duration, clearScreen bool, round func(io.Writer) error) error {
	if every <= 0 {
		return round(s.Out)
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for first := true; ; first = false {
		var page bytes.Buffer // shown at once: no flicker
		err := round(&page)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && first {
			return err
		}
		if clearScreen && s.Terminal {
			fmt.Fprint(s.Out, "\x1b[2J\x1b[1;1H")
		}
		if _, err := s.Out.Write(page.Bytes()); err != nil {
			return err
		}
		if err != nil {
			fmt.Fprintf(s.Err, "Error: %v\n", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
