package rest

import (
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// documented is the table of docs/metrics.md: type and labels by series.
func documented(t *testing.T) map[string][2]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][2]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(pgha_\\w+)` \\| (\\w+) \\|([^|]*)\\|").FindAllStringSubmatch(string(text), -1) {
		labels := strings.FieldsFunc(m[3], func(r rune) bool { return r == ',' || r == ' ' })
		slices.Sort(labels)
		out[m[1]] = [2]string{m[2], strings.Join(labels, " ")}
	}
	return out
}

// TestMetricsTable compares docs/metrics.md with what is emitted: names,
// types and labels, in both directions.
func TestMetricsTable(t *testing.T) {
	standby := replica(well().status.At)
	standby.Tags = map[string]any{"dc": "south"}
	standby.Probes = someProbes
	standby.Server.Slots = []Slot{{Name: "db3", Type: "physical", Restart: 1}}
	s, url := start(t, &testAgent{status: standby}, ownEverything)
	s.ends.until = map[string]time.Time{"/etc/x.crt": standby.DCSLastSeen}
	ask(t, http.MethodGet, url+"/replica", "")
	_, body := ask(t, http.MethodGet, url+"/metrics", "")
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	docs := documented(t)
	for name, family := range families {
		if !strings.HasPrefix(name, "pgha_") {
			continue
		}
		var labels []string
		for _, l := range family.GetMetric()[0].GetLabel() {
			if n := l.GetName(); n != "scope" && n != "name" {
				labels = append(labels, n)
			}
		}
		slices.Sort(labels)
		have := [2]string{strings.ToLower(family.GetType().String()), strings.Join(labels, " ")}
		if want, there := docs[name]; !there || want != have {
			t.Errorf("%s is a %s with labels %q; docs/metrics.md says %q", name, have[0], have[1], want)
		}
	}
	for name := range docs {
		if families[name] == nil {
			t.Errorf("docs/metrics.md: %s is not emitted", name)
		}
	}
}
