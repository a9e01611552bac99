package demo

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"
)

// failover is the scripted story: kill the primary, watch the others.
func (d *stage) failover(ctx context.Context) error {
	if err := d.letWrite(ctx, 3*time.Second); err != nil {
		return err
	}
	old, err := d.leader(ctx)
	if err != nil {
		return err
	}
	_, acked := d.writer.Count()
	d.note("a client writes all the time: %d rows acknowledged so far, all by %s", acked, old.name)

	d.note("kill -9 on all of the primary %s: %s", old.name, old.processes())
	killed := time.Now()
	if err := old.killTree(); err != nil {
		return err
	}
	d.note("now its leader key must run out first (ttl 20 s): nobody may promote earlier")
	next, err := d.nextWriter(ctx, killed, old, failoverLimit)
	if err != nil {
		return err
	}
	d.note("%s is the new primary and accepts writes", next.name)
	d.note("write gap, measured by the client: %.1f s", d.writer.Gap(killed).Seconds())
	d.printTable(ctx)

	if err := d.letWrite(ctx, 2*time.Second); err != nil {
		return err
	}
	if err := d.count(ctx); err != nil {
		return err
	}
	d.note("starting the agent of %s again", old.name)
	rejoin := time.Now()
	if err := old.startAgent(); err != nil {
		return err
	}
	if err := d.waitStreaming(ctx, rejoinLimit); err != nil {
		return err
	}
	d.note("%s is back as a replica, %.1f s after its start", old.name, time.Since(rejoin).Seconds())
	d.printTable(ctx)
	return nil
}

// letWrite lets the client write for a while and checks that it does.
func (d *stage) letWrite(ctx context.Context, how time.Duration) error {
	timer := time.NewTimer(how)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return until(ctx, 10*time.Second, "a write acknowledged", func() error {
		last, err := d.writer.Last()
		if time.Since(last.Acked) < time.Second {
			return nil
		}
		return errWaiting(fmt.Sprint(err))
	})
}

// nextWriter waits until another member than not acknowledges a row sent after
// that time, and returns it.
func (d *stage) nextWriter(ctx context.Context, after time.Time, not *member, limit time.Duration) (*member, error) {
	var next *member
	err := until(ctx, limit, "another member accepts writes", func() error {
		last, err := d.writer.Last()
		if m := d.byAddress(last.Server); last.Sent.After(after) && m != nil && m != not {
			next = m
			return nil
		}
		return errWaiting(fmt.Sprint(err))
	})
	return next, err
}

// byAddress is the member behind host:port.
func (d *stage) byAddress(address string) *member {
	_, port, _ := net.SplitHostPort(address)
	for _, m := range d.members {
		if strconv.Itoa(m.port) == port {
			return m
		}
	}
	return nil
}

// count compares the client's own log with the table.
func (d *stage) count(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := d.writer.Connect(ctx)
	if err != nil {
		return fmt.Errorf("count the rows: %w", err)
	}
	defer conn.Close(ctx)
	_, acked := d.writer.Count()
	lost, rows, err := d.writer.Lost(ctx, conn)
	if err != nil {
		return err
	}
	d.note("the client has %d rows acknowledged, %d of them are lost; the table holds %d", acked, len(lost), rows)
	return nil
}
