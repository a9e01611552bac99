package postgres

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ParameterFinding says why a parameter was left out or changed. The name and
// value are as configured.
type ParameterFinding struct {
	Name    string
	Value   string
	Message string
}

// CheckParameters prepares parameters for a server of version v, so that none
// of them keeps it from starting (config contract 5.3): invalid values and
// unexpected names are left out, numbers are clamped to the server's limits,
// parameters of extensions (with a dot) pass unchecked. described is
// ParseDescribeConfig's table of that very server: what it lists beyond our
// rules (another vendor's, a later version's) passes unchecked. Without one
// no name is unexpected. Findings are sorted by name.
func CheckParameters(params map[string]string, v Version, described map[string]SettingInfo) (kept map[string]string, findings []ParameterFinding) {
	kept = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		value := params[name]
		rule, known := LookupGUC(name, v)
		_, listed := described[strings.ToLower(name)]
		switch {
		case !gucName.MatchString(name):
			findings = append(findings, ParameterFinding{name, value, "left out: a configuration file cannot hold that name"})
		case known:
			result, message, ok := rule.check(value, v)
			if message != "" {
				findings = append(findings, ParameterFinding{name, value, message})
			}
			if ok {
				kept[name] = result
			}
		case strings.Contains(name, "."), listed, len(described) == 0:
			kept[name] = value
		default:
			findings = append(findings, ParameterFinding{name, value, "unexpected parameter, left out: this version does not know it"})
		}
	}
	return kept, findings
}

// gucName is what a configuration file takes for a name: with another one the
// whole file is a syntax error.
var gucName = regexp.MustCompile(`^[A-Za-z_\x{80}-\x{10ffff}][A-Za-z0-9_$\x{80}-\x{10ffff}]*(\.[A-Za-z_\x{80}-\x{10ffff}][A-Za-z0-9_$\x{80}-\x{10ffff}]*)?$`)

// check returns the value to write; ok is false when there is none.
func (g GUC) check(value string, v Version) (result, message string, ok bool) {
	switch g.Type {
	case "bool":
		if _, valid := ParseBool(value); !valid {
			return "", fmt.Sprintf("left out: %q is not a boolean", value), false
		}
	case "enum":
		if !g.accepts(value, v) {
			return "", fmt.Sprintf("left out: %q is not one of %s", value, strings.Join(g.Values, ", ")), false
		}
	case "integer", "real":
		return g.checkNumber(value)
	}
	return value, "", true
}

func (g GUC) checkNumber(value string) (result, message string, ok bool) {
	n, valid := parseNumber(value, g.Unit)
	if !valid || math.IsNaN(n) {
		return "", fmt.Sprintf("left out: %q is not a number%s", value, g.unitHint()), false
	}
	if g.Type == "integer" {
		n = math.RoundToEven(n)
	}
	if low, err := strconv.ParseFloat(g.Min, 64); err == nil && n < low {
		return g.Min, fmt.Sprintf("%s is too small, the minimum %s%s is used", value, g.Min, g.unitHint()), true
	}
	if high, err := strconv.ParseFloat(g.Max, 64); err == nil && n > high {
		return g.Max, fmt.Sprintf("%s is too large, the maximum %s%s is used", value, g.Max, g.unitHint()), true
	}
	return value, "", true
}

func (g GUC) unitHint() string {
	if g.Unit == "" {
		return ""
	}
	return " (unit " + g.Unit + ")"
}

// accepts says whether an enum takes the value: PostgreSQL takes some that
// pg_settings does not show.
func (g GUC) accepts(value string, v Version) bool {
	value = strings.ToLower(strings.TrimSpace(value))
	shown := func(name string) bool { return slices.Contains(g.Values, name) }
	if slices.ContainsFunc(g.Values, func(v string) bool { return strings.ToLower(v) == value }) {
		return true
	}
	switch value {
	case "true", "yes", "1", "on":
		return shown("on") || v.Major() == 13 && g.Name == "password_encryption"
	case "false", "no", "0":
		return shown("off")
	case "archive", "hot_standby":
		return g.Name == "wal_level"
	case "debug", "info", "fatal", "panic":
		return shown("debug1")
	}
	return false
}
