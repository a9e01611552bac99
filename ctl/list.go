package ctl

import (
	"context"
	"fmt"
	"io"
	"time"

	"pgha/internal/clusterops"
	"pgha/internal/render"
)

// ListOptions are those of list and topology.
type ListOptions struct {
	// Clusters in the order to be shown; none: the configured one.
	Clusters  []string
	Format    render.Format
	Extended  bool
	Timestamp bool
	// Watch repeats the list at this interval; zero: once.
	Watch time.Duration
}

// List shows the members of clusters. A cluster nobody knows is an empty
// table. All rounds of Watch use one connection to the DCS.
func List(ctx context.Context, s *Session, o ListOptions) error {
	if len(o.Clusters) == 0 && s.Scope != "" {
		o.Clusters = []string{s.Scope}
	}
	if len(o.Clusters) == 0 {
		s.failed = true
		s.warn("Listing members: No cluster names were provided")
		return nil
	}
	return s.watch(ctx, o.Watch, true, func(out io.Writer) error { return s.listOnce(ctx, out, o) })
}

func (s *Session) listOnce(ctx context.Context, out io.Writer, o ListOptions) error {
	if o.Timestamp {
		fmt.Fprintln(out, s.Now().Format(time.DateTime))
	}
	for _, scope := range o.Clusters {
		c, err := s.load(ctx, scope)
		if err != nil {
			return err
		}
		if len(c.Members) == 0 {
			s.failed = true
		}
		if err := clusterops.Print(out, c, clusterops.List{Scope: scope, Format: o.Format, Extended: o.Extended}); err != nil {
			return err
		}
	}
	return nil
}
