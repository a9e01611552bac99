// Command gucgen records what running PostgreSQL servers say of their
// parameters in the table that internal/postgres embeds:
//
//	go run ./internal/postgres/gucgen -table internal/postgres/guc.tsv "host=/tmp port=5433 user=postgres" ...
//
// It asks each server through psql, replaces what the table holds for that
// server's major version, and writes the table again. Majors that were never
// asked are filled in from their neighbours (fill.go).
package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// rule is one parameter of one major version, as a line of the table without
// its versions: name, type, context, minimum, maximum, unit, values.
type rule struct {
	name, vartype, context, low, high, unit, values string
}

func (r rule) columns() string {
	return strings.Join([]string{r.vartype, r.context, r.low, r.high, r.unit, r.values}, "\t")
}

// table is major -> lower-case name -> rule.
type table map[int]map[string]rule

// query asks a server: what a configuration file cannot set, and what belongs
// to extensions, is left out. Values of enums are separated by commas; none
// holds one.
const query = `SELECT current_setting('server_version_num')::int / 10000, name, vartype, context,
	min_val, max_val, unit, array_to_string(enumvals, ',') FROM pg_settings
	WHERE context <> 'internal' AND name NOT LIKE '%.%' ORDER BY lower(name)`

func main() {
	file := flag.String("table", "internal/postgres/guc.tsv", "the table to read and write")
	flag.Parse()
	if err := run(*file, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "gucgen:", err)
		os.Exit(1)
	}
}

func run(file string, servers []string) error {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	asked, err := parse(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, dsn := range servers {
		major, rules, err := ask(dsn)
		if err != nil {
			return err
		}
		asked[major] = rules
		fmt.Printf("PostgreSQL %d: %d parameters\n", major, len(rules))
	}
	return os.WriteFile(file, []byte(print(asked)), 0o644)
}

// ask reads one server's parameters.
func ask(dsn string) (major int, rules map[string]rule, err error) {
	out, err := exec.Command("psql", "-XAt", "-F", "\t", "-c", query, dsn).Output()
	if err != nil {
		if exit := new(exec.ExitError); errors.As(err, &exit) {
			err = errors.New(strings.TrimSpace(string(exit.Stderr)))
		}
		return 0, nil, fmt.Errorf("ask %q: %w", dsn, err)
	}
	rules = map[string]rule{}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) != 8 {
			return 0, nil, fmt.Errorf("ask %q: unexpected line %q", dsn, line)
		}
		if major, err = strconv.Atoi(f[0]); err != nil {
			return 0, nil, fmt.Errorf("ask %q: version %q", dsn, f[0])
		}
		rules[strings.ToLower(f[1])] = rule{f[1], f[2], f[3], f[4], f[5], f[6], f[7]}
	}
	if len(rules) < 200 {
		return 0, nil, fmt.Errorf("ask %q: only %d parameters", dsn, len(rules))
	}
	return major, rules, nil
}

const header = `# PostgreSQL's parameters by major version, written by internal/postgres/gucgen: do not edit.
# name, first and last major, type, context, minimum, maximum (base unit), unit, values of an enum
`

// askedLine names the majors whose servers were asked; the others are filled in.
const askedLine = "# asked: "

// parse reads the table back, without the majors that were filled in.
func parse(text string) (table, error) {
	t := table{}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if list, ok := strings.CutPrefix(line, askedLine); ok {
			for _, word := range strings.Fields(list) {
				major, err := strconv.Atoi(word)
				if err != nil {
					return nil, fmt.Errorf("line %q", line)
				}
				t[major] = map[string]rule{}
			}
		}
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 9 {
			return nil, fmt.Errorf("line %q: %d columns", line, len(f))
		}
		from, err1 := strconv.Atoi(f[1])
		to, err2 := strconv.Atoi(f[2])
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		for major := from; major <= to; major++ {
			if t[major] != nil {
				t[major][strings.ToLower(f[0])] = rule{f[0], f[3], f[4], f[5], f[6], f[7], f[8]}
			}
		}
	}
	return t, nil
}

// print is the table as text: equal rules of neighbouring majors share a line.
func print(asked table) string {
	var b strings.Builder
	majors := slices.Sorted(maps.Keys(asked))
	b.WriteString(header + askedLine + strings.Trim(fmt.Sprint(majors), "[]") + "\n")
	all := fill(asked)
	names := map[string]bool{}
	for _, rules := range all {
		for name := range rules {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		for _, from := range slices.Sorted(maps.Keys(all)) {
			r, ok := all[from][name]
			if before, same := all[from-1][name]; !ok || same && before == r {
				continue
			}
			to := from
			for next, same := all[to+1][name]; same && next == r; next, same = all[to+1][name] {
				to++
			}
			fmt.Fprintf(&b, "%s\t%d\t%d\t%s\n", r.name, from, to, r.columns())
		}
	}
	return b.String()
}
