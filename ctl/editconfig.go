package ctl

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/render"
)

// EditConfigOptions are those of edit-config.
type EditConfigOptions struct {
	Cluster string
	// Quiet does not show the difference.
	Quiet bool
	// Set and SetParameter are PATH=VALUE and NAME=VALUE.
	Set, SetParameter []string
	// Apply and Replace are YAML files, "-" is the standard input.
	Apply, Replace string
	Force          bool
	// Editor and Pager are $EDITOR and $PAGER: commands, arguments included.
	Editor, Pager string
}

// EditConfig changes the dynamic configuration: straight in the DCS, guarded
// by the revision that was read.
func EditConfig(ctx context.Context, s *Session, o EditConfigOptions) error {
	scope, c, err := s.cluster(ctx, o.Cluster)
	if err != nil {
		return err
	}
	if c.Config == nil {
		return fail("The config key does not exist in the cluster %s", scope)
	}
	before, err := config.ParseDocument(c.Config.Raw)
	if err != nil && o.Replace == "" { // a damaged key can still be replaced
		return oneLine(fmt.Errorf("configuration of cluster %q: %w", scope, err))
	}
	edit := &edit{before: before, after: before.Clone()}
	if o.Apply == "" && o.Replace == "" && len(o.Set)+len(o.SetParameter) == 0 {
		err = s.editInteractively(ctx, scope, o, edit)
	} else {
		err = s.editByOptions(o, edit)
	}
	if err != nil {
		return err
	}
	if edit.beforeYAML() == edit.afterYAML() {
		edit.dropFile()
		if !o.Quiet {
			s.say("Not changed")
		}
		return nil
	}
	return s.applyEdit(ctx, scope, c, o, edit)
}

// edit is the configuration before and after, and the file an editor left.
type edit struct {
	before, after config.Document
	file          string // kept until the change is stored; empty: none
}

func (e *edit) beforeYAML() string { return documentYAML(e.before) }
func (e *edit) afterYAML() string  { return documentYAML(e.after) }

func documentYAML(d config.Document) string { return render.EncodeYAML(d.Map()) }

// editByOptions: first --replace, then --apply on the result, then -s and -p.
func (s *Session) editByOptions(o EditConfigOptions, e *edit) error {
	if o.Replace != "" {
		e.after = config.Document{}
	}
	for _, file := range []string{o.Replace, o.Apply} {
		if file == "" {
			continue
		}
		raw, err := s.readFile(file)
		if err != nil {
			return oneLine(fmt.Errorf("read the configuration: %w", err))
		}
		patch, err := config.DocumentFromYAML(raw, file)
		if err != nil {
			return oneLine(err)
		}
		e.after.MergePatch(patch)
	}
	pairs := o.Set
	for _, p := range o.SetParameter {
		pairs = append(pairs, "postgresql.parameters."+strings.TrimLeft(p, " "))
	}
	for _, p := range pairs {
		if err := e.after.SetPair(p); err != nil {
			return oneLine(err)
		}
	}
	return nil
}

// applyEdit shows the difference, asks, and writes.
func (s *Session) applyEdit(ctx context.Context, scope string, c *dcs.Cluster, o EditConfigOptions, e *edit) error {
	if !o.Quiet {
		if err := s.showDiff(ctx, o.Pager, e.beforeYAML(), e.afterYAML()); err != nil {
			return e.keep(err)
		}
	}
	if (o.Apply == "-" || o.Replace == "-") && !o.Force {
		s.sayFailed("Use --force option to apply changes")
		return nil
	}
	if !o.Force {
		yes, err := s.confirm(ctx, "Apply these changes?")
		if err != nil {
			return e.keep(err)
		}
		if !yes {
			s.failed = true
			e.dropFile()
			return nil
		}
	}
	err := s.write(ctx, scope, dcs.Write{Key: dcs.KeyConfig, Value: e.after.Compact(), Guard: dcs.Guard{Revision: c.Config.Revision}})
	switch {
	case errors.Is(err, dcs.ErrConflict):
		return e.keep(fail("Config modification aborted due to concurrent changes"))
	case errors.Is(err, dcs.ErrUnknownOutcome):
		return e.keep(fail("no answer from the DCS: the change may be stored or not, look with: pgha ctl show-config %s", scope))
	case err != nil:
		return e.keep(oneLine(fmt.Errorf("store the configuration: %w", err)))
	}
	e.dropFile()
	s.say("Configuration changed")
	return nil
}

// diff is the difference as patronictl shows it: unified, three lines of
// context, file names left out.
func diff(before, after string) string { return renumber(udiff.Unified("", "", before, after)) }

var hunkHead = regexp.MustCompile(`^@@ -(\d+)((?:,\d+)? \+)\d+(.*)$`)

// renumber sets where each hunk begins in the new text. go-udiff forgets the
// unchanged lines between two changes of one hunk, so what follows is off.
func renumber(unified string) string {
	lines := strings.SplitAfter(unified, "\n")
	grown, hunks := 0, 0
	for i, line := range lines {
		switch head := hunkHead.FindStringSubmatch(strings.TrimSuffix(line, "\n")); {
		case i < 2: // the two file names
		case head != nil:
			if hunks++; hunks > 1 { // the first one is right, also when it is empty on one side
				from, _ := strconv.Atoi(head[1])
				lines[i] = fmt.Sprintf("@@ -%s%s%d%s\n", head[1], head[2], from+grown, head[3])
			}
		case strings.HasPrefix(line, "+"):
			grown++
		case strings.HasPrefix(line, "-"):
			grown--
		}
	}
	return strings.Join(lines, "")
}
