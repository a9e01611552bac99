package contract

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

var sampleLine = regexp.MustCompile(`^(patroni_\w+)\{scope="[\w-]+",name="(\w+)"\} (\S+)$`)

// metrics shows Patroni's series in their order, with type and value of each
// member; a line that has not exactly the form of the contract is shown as it is.
func (w *world) metrics(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	members := w.on(t, d)
	rows := [][]string{{"", ""}}
	values := map[string]map[string]string{}
	types := map[string]string{}
	var order, odd []string
	for _, m := range members {
		rows[0] = append(rows[0], m.Name)
		a, err := w.send(m, m.Host, "GET /metrics", nil, "")
		if err != nil || a.code != 200 {
			t.Fatalf("%s: GET /metrics of %s: %d %v", d.Pos, m.Name, a.code, err)
		}
		if !strings.HasSuffix(a.body, "\n") || strings.Contains(a.body, "\n\n") {
			odd = append(odd, "an empty line, or no line end at the end")
		}
		for line := range strings.Lines(a.body) {
			line = strings.TrimSuffix(line, "\n")
			if name, kind, isType := strings.Cut(strings.TrimPrefix(line, "# TYPE "), " "); isType && strings.HasPrefix(line, "# TYPE patroni_") {
				types[name] = kind
			}
			part := sampleLine.FindStringSubmatch(line)
			switch {
			case part != nil && part[2] == m.Name:
				if values[part[1]] == nil {
					values[part[1]] = map[string]string{}
					order = append(order, part[1])
				}
				values[part[1]][m.Name] = sample(part[3])
			case strings.HasPrefix(line, "patroni_"):
				odd = append(odd, line)
			}
		}
	}
	for _, name := range order {
		if only, given := d.Arg("series"); given && !slices.Contains(only.Vals, name) {
			continue
		}
		r := []string{name, types[name]}
		for _, m := range members {
			v := values[name][m.Name]
			switch {
			case v == "":
				v = "-"
			case w.timelines && name == "patroni_postgres_timeline":
				v = "<later>"
			}
			r = append(r, v)
		}
		rows = append(rows, r)
	}
	return table(rows) + strings.Join(odd, "\n")
}

var ownLine = regexp.MustCompile(`^(pgha_\w+)\{([^}]*)\} (\S+)$`)

// ownMetrics shows which members have each of the series asked for: type, the
// names of the labels, and with values what stands there.
func (w *world) ownMetrics(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	members := w.on(t, d)
	rows := [][]string{{"", "", ""}}
	series, _ := d.Arg("series")
	for _, name := range series.Vals {
		rows = append(rows, append([]string{name, "-", ""}, slices.Repeat([]string{"-"}, len(members))...))
	}
	for i, m := range members {
		rows[0] = append(rows[0], m.Name)
		a, err := w.send(m, m.Host, "GET /metrics", nil, "")
		if err != nil || a.code != 200 {
			t.Fatalf("%s: GET /metrics of %s: %d %v", d.Pos, m.Name, a.code, err)
		}
		for line := range strings.Lines(a.body) {
			line = strings.TrimSuffix(line, "\n")
			for _, r := range rows[1:] {
				if kind, isType := strings.CutPrefix(line, "# TYPE "+r[0]+" "); isType {
					r[1] = kind
				}
				part := ownLine.FindStringSubmatch(line)
				if part == nil || part[1] != r[0] && part[1] != r[0]+"_count" {
					continue
				}
				r[2] = ownLabels(part[2])
				r[3+i] = "x"
				if d.HasArg("values") {
					r[3+i] = part[3]
				}
			}
		}
	}
	return table(rows)
}

var labelValue = regexp.MustCompile(`="[^"]*"`)

// ownLabels are the names of a sample's labels but the two that all have.
func ownLabels(labels string) string {
	names := strings.Split(labelValue.ReplaceAllString(labels, ""), ",")
	return strings.Join(slices.DeleteFunc(names, func(n string) bool { return n == "scope" || n == "name" }), ",")
}
