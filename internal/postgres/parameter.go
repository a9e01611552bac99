package postgres

import (
	"maps"
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
// of them keeps it from starting (contract: config.md 5.3): invalid values and
// unexpected names are left out, numbers are clamped to the server's limits,
// parameters of extensions (with a dot) pass unchecked. described is
// ParseDescribeConfig's table of that very server; without one no name is
// unexpected. Findings are sorted by name.
func CheckParameters(params map[string]string, v Version, described map[string]SettingInfo) (kept map[string]string, findings []ParameterFinding) {
	kept = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		value := params[name]
		if strings.Contains(name, ".") {
			kept[name] = value
			continue
		}
		info, known := described[strings.ToLower(name)]
		if !known {
			info, known = developerOption(name, v)
		}
		if !known && len(described) > 0 {
			findings = append(findings, ParameterFinding{name, value, "unexpected parameter, left out: PostgreSQL " + strconv.Itoa(v.Major()) + " does not know it"})
			continue
		}
		result, message, ok := checkValue(info, value)
		if message != "" {
			findings = append(findings, ParameterFinding{name, value, message})
		}
		if ok {
			kept[name] = result
		}
	}
	return kept, findings
}

// checkValue returns the value to write; ok is false when there is none.
func checkValue(info SettingInfo, value string) (result, message string, ok bool) {
	switch info.Type {
	case "bool":
		if _, valid := ParseBool(value); !valid {
			return "", "left out: not a boolean", false
		}
	case "enum":
		if values := enumValues[strings.ToLower(info.Name)]; values != nil && !enumAccepts(values, value) {
			return "", "left out: not one of " + strings.Join(values, ", "), false
		}
	case "integer", "real":
		return checkNumber(info, value)
	}
	return value, "", true
}

func checkNumber(info SettingInfo, value string) (result, message string, ok bool) {
	unit := parameterUnits[strings.ToLower(info.Name)]
	n, valid := parseNumber(value, unit)
	if !valid {
		if unit == "" && endsInUnit(value) {
			return value, "", true // newer than our table of units: the server knows
		}
		return "", "left out: not a number" + unitHint(unit), false
	}
	if low, err := strconv.ParseFloat(info.Min, 64); err == nil && n < low {
		return info.Min, "too small, the minimum " + info.Min + unitHint(unit) + " is used", true
	}
	if high, err := strconv.ParseFloat(info.Max, 64); err == nil && n > high {
		return info.Max, "too large, the maximum " + info.Max + unitHint(unit) + " is used", true
	}
	return value, "", true
}

func unitHint(unit string) string {
	if unit == "" {
		return ""
	}
	return " (unit " + unit + ")"
}

// endsInUnit says whether the value is a number with some unit PostgreSQL has.
func endsInUnit(value string) bool {
	for _, unit := range []string{"B", "us"} {
		if _, ok := parseNumber(value, unit); ok {
			return true
		}
	}
	return false
}

func enumAccepts(values []string, value string) bool {
	value = strings.ToLower(strings.TrimSpace(value))
	matches := func(v string) bool { return strings.ToLower(v) == value }
	if slices.ContainsFunc(values, matches) {
		return true
	}
	switch value { // accepted, but not shown by PostgreSQL
	case "true", "yes", "1", "false", "no", "0":
		return slices.Contains(values, "on")
	case "archive", "hot_standby":
		return slices.Contains(values, "logical")
	case "debug", "info", "fatal", "panic":
		return slices.Contains(values, "debug1")
	}
	return false
}

// DefaultWalBuffers is what wal_buffers = -1 becomes, in WAL blocks:
// shared_buffers / 32, at least 8, at most one segment (contract: config.md
// 6.2). sharedBuffers is in blocks.
func DefaultWalBuffers(sharedBuffers int64, c ControlData) int64 {
	segment, block := c.WALSegmentSize, c.WALBlockSize
	if segment == 0 || block == 0 {
		segment, block = DefaultWALSegmentSize, 8192
	}
	return min(max(sharedBuffers/32, 8), segment/block)
}
