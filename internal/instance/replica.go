package instance

import (
	"context"
	"errors"
	"fmt"

	"pgha/internal/config"
)

// baseBackupMethod is the replica method that needs no section of its own.
const baseBackupMethod = "basebackup"

// ReplicaOptions is how a replica's data directory is to be made.
type ReplicaOptions struct {
	// From is the member to copy from; nil: nobody leads, and only methods
	// with no_leader run.
	From *Source
	// BaseBackupOnly leaves the configured methods out (reinitialise with
	// from_leader).
	BaseBackupOnly bool
	// Progress, when not nil, receives bytes copied by pg_basebackup and their
	// estimated total, about once a second, from another goroutine.
	Progress func(done, total int64)
}

// CreateReplica replaces the data directory by a copy, made by the first of
// create_replica_methods that succeeds (contract: ha-behaviour.md 3.4,
// config.md 4.3). Each method but one with keep_data begins by removing the
// directory; when all have failed, or ctx ended, it is removed whatever they
// say. The copy carries standby.signal: no accident can make it a primary.
// Errors: ErrRunning; otherwise what each method said.
func (s *Server) CreateReplica(ctx context.Context, o ReplicaOptions) error {
	_, eff, _ := s.values()
	methods := usableMethods(eff, o)
	what := "clone without a leader"
	if o.From != nil {
		what = "clone from " + o.From.label()
	}
	if len(methods) == 0 {
		return fmt.Errorf("%s: no method of create_replica_methods may run", what)
	}
	return s.clone(ctx, what, func() error {
		for i, m := range methods {
			err := s.createBy(ctx, m, o)
			if err == nil {
				s.log.Info("replica created", "method", m)
				return nil
			}
			err = fmt.Errorf("replica method %s: %w", m, err)
			if ctx.Err() != nil || i == len(methods)-1 {
				return err
			}
			s.log.Error(err.Error()+"; trying the next method", "next", methods[i+1])
		}
		return nil // not reached: the last method returns
	})
}

// usableMethods are those of the configured methods that may run, in order.
func usableMethods(eff config.Effective, o ReplicaOptions) []string {
	if o.BaseBackupOnly {
		return []string{baseBackupMethod}
	}
	var out []string
	for _, m := range eff.CreateReplicaMethods {
		if o.From != nil || eff.WorksWithoutLeader(m) {
			out = append(out, m)
		}
	}
	if len(eff.CreateReplicaMethods) == 0 && o.From != nil {
		out = []string{baseBackupMethod}
	}
	return out
}

func (s *Server) createBy(ctx context.Context, method string, o ReplicaOptions) error {
	if method == baseBackupMethod {
		return s.retryClone(ctx, func() error { return s.runBaseBackup(ctx, *o.From, o.Progress) })
	}
	return s.runMethod(ctx, method, o.From)
}

// runMethod runs a custom method and looks at what it made.
func (s *Server) runMethod(ctx context.Context, method string, from *Source) error {
	l, eff, _ := s.values()
	if !eff.MethodFlag(method, "keep_data") {
		if err := s.RemoveDataDir(); err != nil {
			return err
		}
		if err := s.setMark(markClone); err != nil {
			return err
		}
	}
	var env []string
	conn := ""
	if from != nil {
		version, err := s.binaryVersion(ctx)
		if err != nil {
			return err
		}
		conn = s.toolConninfo(*from, l.PostgreSQL.Replication, from.Database, version)
		var remove func()
		if env, remove, err = s.toolPassfile(*from, l.PostgreSQL.Replication); err != nil {
			return err
		}
		defer remove()
	}
	args, err := eff.MethodArguments(method, l.Scope, s.dataDir(), conn)
	if err != nil {
		return err
	}
	if _, err := runTool(ctx, tool{path: args[0], args: args[1:], env: env}); err != nil {
		return err
	}
	if _, err := peekControl(s.dataDir()); err != nil {
		return errors.Join(errors.New("it ended with exit code 0 but made no data directory"), err)
	}
	return nil
}
