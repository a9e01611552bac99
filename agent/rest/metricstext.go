package rest

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// exposition writes Patroni's metrics as Patroni does (contract: metrics.md
// section 1: their own order, scope before name, a comment with the states,
// the version with its leading zero), then all others the usual way.
func exposition(families []*dto.MetricFamily) []byte {
	var b bytes.Buffer
	for _, m := range patroniSeries {
		at := slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == m.name })
		if at >= 0 {
			writeFamily(&b, families[at])
		}
	}
	for _, f := range families {
		if slices.ContainsFunc(patroniSeries, func(m series) bool { return m.name == f.GetName() }) {
			continue
		}
		// Writing to memory cannot fail; a family without samples is left out.
		_, _ = expfmt.MetricFamilyToText(&b, f)
	}
	return b.Bytes()
}

func writeFamily(b *bytes.Buffer, f *dto.MetricFamily) {
	name := f.GetName()
	fmt.Fprintf(b, "# HELP %s %s\n", name, f.GetHelp())
	if name == stateMetric {
		values := make([]string, len(stateNames))
		for i, s := range stateNames {
			values[i] = fmt.Sprintf("%d=%s", i, s.name)
		}
		fmt.Fprintf(b, "# Values: %s\n", strings.Join(values, ", "))
	}
	fmt.Fprintf(b, "# TYPE %s %s\n", name, strings.ToLower(f.GetType().String()))
	for _, m := range f.GetMetric() {
		value := m.GetGauge().GetValue() + m.GetCounter().GetValue() // one of them is there
		fmt.Fprintf(b, "%s{scope=\"%s\",name=\"%s\"} %s\n", name,
			escapeLabel(label(m, "scope")), escapeLabel(label(m, "name")), sampleText(name, value))
	}
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func escapeLabel(text string) string { return labelEscapes.Replace(text) }

// sampleText writes whole numbers plain and times in decimals, never with an
// exponent. Times keep at least one decimal, and a plain 0 when unknown.
func sampleText(name string, value float64) string {
	switch {
	case name == versionMetric:
		return paddedVersion()
	case isTime(name) && value != 0:
		text := strings.TrimRight(strconv.FormatFloat(value, 'f', 6, 64), "0")
		if strings.HasSuffix(text, ".") {
			text += "0"
		}
		return text
	}
	return strconv.FormatFloat(value, 'f', -1, 64)
}

func isTime(name string) bool {
	return strings.HasSuffix(name, "_start_time") || strings.HasSuffix(name, "_timestamp")
}
