package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Level is how much a remark of lint matters.
type Level string

const (
	// LevelError: the file cannot be used, or the agent refuses it.
	LevelError Level = "error"
	// LevelWarning: it works, but not as it is written.
	LevelWarning Level = "warning"
)

// Remark is one thing that lint has to say about a configuration.
type Remark struct {
	File         string
	Line, Column int // 1-based; 0 unknown
	Level        Level
	Path         string // dotted key path; empty for the syntax
	Message      string // the reason
	Remedy       string // what to do, one line; may be empty
	// Corrected is the text to write instead, secrets hidden; may be empty.
	// It ends with a newline.
	Corrected string
}

// String is "file:line:column: level: path: message".
func (r Remark) String() string {
	message := string(r.Level) + ": "
	if r.Path != "" {
		message += r.Path + ": "
	}
	return (&Error{File: r.File, Line: r.Line, Column: r.Column, Message: message + r.Message}).Error()
}

// LintPath checks a patroni.yml, or the YAML files of a directory as they are
// merged. The environment is not looked at, and nothing that is only missing
// is reported: a file may be one of several. The error says that it cannot be
// read, never what is in it.
func LintPath(path string) ([]Remark, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	files := []string{path}
	switch {
	case info.IsDir():
		if files, err = yamlFiles(path); err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, &Error{File: path, Message: "no *.yml or *.yaml file in this directory"}
		}
	case !info.Mode().IsRegular():
		return nil, &Error{File: path, Message: "invalid config path: neither a file nor a directory"}
	}
	l := &linter{}
	root := &Node{Kind: MapNode}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if one := l.decode(data, file); one != nil {
			mergeNode(root, one, nil)
			root.Warnings = append(root.Warnings, one.Warnings...)
		}
	}
	l.local(root)
	return l.sorted(), nil
}

// LintText is LintPath for one document that is already in memory.
func LintText(data []byte, name string) []Remark {
	l := &linter{}
	if root := l.decode(data, name); root != nil {
		l.local(root)
	}
	return l.sorted()
}

// LintDynamic checks a dynamic configuration, JSON or YAML, as /config holds it.
func LintDynamic(data []byte, name string) []Remark {
	l := &linter{}
	root := l.decode(data, name)
	if root == nil {
		return l.sorted()
	}
	l.add(LevelWarning, nil, root.Warnings...)
	findings := checkDynamic(root)
	l.add(LevelWarning, nil, findings...)
	l.dynamic(root, root, nil)
	l.add(LevelWarning, root, checkSettings(root.Lookup("postgresql"), []string{"postgresql"})...)
	return l.sorted()
}

// linter collects remarks.
type linter struct{ remarks []Remark }

// maxCorrections bounds how many slips of the syntax are reported: each one is
// corrected in memory so that the rest can be checked as well.
const maxCorrections = 20

func (l *linter) decode(data []byte, file string) *Node {
	for range maxCorrections {
		root, err := decodeMap(data, file)
		if err == nil {
			return root
		}
		e := new(Error)
		if !errors.As(err, &e) {
			return nil
		}
		corrected := ""
		remedy := e.Remedy
		if first, rest, ok := strings.Cut(e.Remedy, ":\n"); ok {
			remedy, corrected = first, rest+"\n"
			if first == "write" {
				remedy = ""
			}
		}
		l.remarks = append(l.remarks, Remark{File: file, Line: e.Line, Column: e.Column, Level: LevelError, Path: e.KeyPath,
			Message: e.Message, Remedy: remedy, Corrected: corrected})
		if e.fixedLine == 0 {
			return nil
		}
		lines := strings.Split(string(data), "\n")
		lines[e.fixedLine-1] = e.fixed
		data = []byte(strings.Join(lines, "\n"))
	}
	return nil
}

// local checks a local document by everything that reads it.
func (l *linter) local(root *Node) {
	l.add(LevelWarning, nil, root.Warnings...)
	settleFalsy(root)
	c := &checker{from: FromLocal}
	c.section(root, localKeys, false, nil)
	for _, e := range c.failures {
		l.fail(root, e)
	}
	l.add(LevelWarning, root, c.findings...)
	local := &Local{tree: root}
	local.Tree, _ = root.Value().(map[string]any)
	local.build()
	for _, e := range append(local.agentErrors, local.dcsErrors...) {
		l.fail(root, e)
	}
	l.add(LevelWarning, root, local.Warnings...)
	l.limits(root, localLimits, nil)
	l.add(LevelWarning, root, contradictions(root)...)
	l.bootstrap(local)
	l.add(LevelWarning, root, checkSettings(root.Lookup("postgresql"), []string{"postgresql"})...)
	for _, above := range [][]string{{"bootstrap", "dcs", "postgresql"}, {"bootstrap", "postgresql"}} {
		l.add(LevelWarning, root, checkSettings(root.Lookup(above...), above)...)
	}
}

// bootstrap checks bootstrap.dcs as the dynamic configuration that it becomes.
func (l *linter) bootstrap(local *Local) {
	root := local.tree
	section := root.Lookup("bootstrap")
	dcs := section.Lookup("dcs")
	if dcs == nil || dcs.Kind != MapNode {
		dcs = &Node{Kind: MapNode}
	}
	if misplaced := section.Lookup("postgresql"); misplaced != nil && misplaced.Kind == MapNode && dcs.Lookup("postgresql") == nil {
		dcs = &Node{Kind: MapNode, Pos: dcs.Pos, Fields: append(slices.Clone(dcs.Fields), Field{Key: "postgresql", Pos: misplaced.Pos, Value: misplaced})}
	}
	dyn := l.dynamic(root, dcs, []string{"bootstrap", "dcs"})
	l.merged(root, Merge(local, dyn, ServerFacts{}))
}

// dynamic checks the values of a dynamic document; prefix is where it stands
// in the file.
func (l *linter) dynamic(root, doc *Node, prefix []string) Dynamic {
	l.limits(doc, dynamicLimits, prefix)
	values, _ := doc.Value().(map[string]any)
	if values == nil {
		values = map[string]any{}
	}
	if len(prefix) > 0 {
		leaveOutUnreadable(values)
	}
	dyn, err := ParseDynamic(values, nil)
	if err != nil {
		l.remarks = append(l.remarks, Remark{File: doc.Pos.File, Line: doc.Pos.Line, Column: doc.Pos.Column, Level: LevelError,
			Message: err.Error(), Remedy: "nothing of ttl, loop_wait, retry_timeout and postgresql would be used"})
	}
	within := func(findings []Finding) (out []Finding) {
		for _, f := range findings {
			f.Path = strings.Join(append(slices.Clone(prefix), f.Path), ".")
			if f.Path == strings.Join(append(slices.Clone(prefix), "loop_wait"), ".") {
				f.fix = timingFix(doc, dyn, prefix)
			}
			out = append(out, f)
		}
		return out
	}
	l.add(LevelWarning, root, within(dyn.Findings)...)
	l.add(LevelError, root, within(dyn.Unsupported)...)
	if len(prefix) == 0 {
		empty := &Local{tree: &Node{Kind: MapNode}}
		l.add(LevelWarning, root, Merge(empty, dyn, ServerFacts{}).Findings...)
	}
	return dyn
}

// timingFix keeps what was written of loop_wait and retry_timeout and raises
// the ttl so that all fit.
func timingFix(doc *Node, dyn Dynamic, prefix []string) *fix {
	wait, retry := int64(10), int64(10)
	if i, ok := wholeSeconds(doc.Lookup("loop_wait").Value()); ok {
		wait = max(i, PghaFloors.LoopWait)
	}
	if i, ok := wholeSeconds(doc.Lookup("retry_timeout").Value()); ok {
		retry = max(i, PghaFloors.RetryTimeout)
	}
	ttl := wait + 2*retry
	if int64(dyn.TTL.Seconds()) >= ttl {
		return nil
	}
	fields := []Field{{Key: "ttl", Value: &Node{Scalar: ttl}}}
	for _, key := range []string{"loop_wait", "retry_timeout"} {
		if n := doc.Lookup(key); n != nil {
			fields = append(fields, Field{Key: key, Value: n})
		}
	}
	return &fix{prefix, &Node{Kind: MapNode, Fields: fields}}
}

// merged adds what only the merge of both layers finds.
func (l *linter) merged(root *Node, eff Effective) {
	for _, f := range eff.Findings {
		if f.Line == 0 {
			for _, below := range []string{"bootstrap.dcs.", "bootstrap."} {
				if _, exact := locate(root, below+f.Path); exact {
					f.Path = below + f.Path
					break
				}
			}
		}
		l.add(LevelWarning, root, f)
	}
}

func (l *linter) limits(root *Node, limits []limit, prefix []string) {
	for _, limit := range limits {
		n := root.Lookup(strings.Split(limit.path, ".")...)
		if n.IsNull() || n.Kind != ScalarNode {
			continue
		}
		message := limit.breach(n.Value())
		if message == "" {
			continue
		}
		path := append(slices.Clone(prefix), strings.Split(limit.path, ".")...)
		instead := &Node{Scalar: limit.nearestTo(n.Value())}
		if limit.path == "log.mode" {
			instead.Raw = fmt.Sprintf("%#o", instead.Scalar)
		}
		l.add(LevelWarning, nil, Finding{Path: strings.Join(path, "."), File: n.Pos.File, Line: n.Pos.Line, Column: n.Pos.Column,
			Message: message, fix: &fix{path, instead}})
	}
}

func (l *linter) fail(root *Node, e *Error) {
	l.add(LevelError, root, Finding{Path: e.KeyPath, File: e.File, Line: e.Line, Column: e.Column, Message: e.Message, Remedy: e.Remedy, fix: e.fix})
}

// add takes findings; those without a place get it from the tree. Of several
// about the same entry the first one counts: the later readers see the same slip.
func (l *linter) add(level Level, root *Node, findings ...Finding) {
	for _, f := range findings {
		r := Remark{File: f.File, Line: f.Line, Column: f.Column, Level: level, Path: f.Path, Message: f.Message, Remedy: f.Remedy}
		if pos, _ := locate(root, f.Path); f.Line == 0 && pos.Line > 0 {
			r.File, r.Line, r.Column = pos.File, pos.Line, pos.Column
		}
		if slices.ContainsFunc(l.remarks, func(other Remark) bool {
			return other.Path == r.Path && other.File == r.File && other.Line == r.Line
		}) {
			continue
		}
		if f.fix != nil {
			r.Corrected = f.fix.snippet()
		}
		l.remarks = append(l.remarks, r)
	}
}

func (l *linter) sorted() []Remark {
	slices.SortStableFunc(l.remarks, func(a, b Remark) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return l.remarks
}

// locate finds where a dotted path stands; a key may hold dots itself. Without
// the whole path it is the place of the nearest parent, and exact is false.
func locate(root *Node, path string) (pos Position, exact bool) {
	if root == nil || root.Kind != MapNode || path == "" {
		return Position{}, false
	}
	for _, f := range root.Fields {
		if strings.EqualFold(f.Key, path) {
			return f.Pos, true
		}
		if rest, below := strings.CutPrefix(path, f.Key+"."); below {
			if at, exact := locate(f.Value, rest); at != (Position{}) {
				return at, exact
			}
			return f.Pos, false
		}
	}
	return Position{}, false
}

// yamlFiles lists a configuration directory's files in the order in which they
// are merged (contract: config.md 1.1).
func yamlFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	var files []string
	for _, entry := range entries {
		file := filepath.Join(dir, entry.Name())
		if ext := filepath.Ext(file); ext != ".yml" && ext != ".yaml" {
			continue
		}
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
			files = append(files, file)
		}
	}
	return files, nil
}
