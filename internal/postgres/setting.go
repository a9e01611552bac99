package postgres

import (
	"math"
	"strconv"
	"strings"
)

// SettingInfo is what `postgres --describe-config` tells about one parameter.
type SettingInfo struct {
	Name    string
	Context string // internal, postmaster, sighup, superuser-backend, backend, superuser, user
	Group   string
	Type    string // as pg_settings.vartype: bool, integer, real, string, enum
	Reset   string // meant to be the default, but 15 prints 0 for every number
	Min     string // of numbers, in the base unit; else empty
	Max     string
	Short   string // one sentence
}

// describedTypes translates to the names pg_settings.vartype uses.
var describedTypes = map[string]string{
	"BOOLEAN": "bool", "INTEGER": "integer", "REAL": "real", "STRING": "string", "ENUM": "enum",
}

// ParseDescribeConfig reads the output of `postgres --describe-config` by
// lower-case parameter name. It lists what a configuration file may set;
// developers' options are missing there. Lines of another form are skipped.
func ParseDescribeConfig(out string) map[string]SettingInfo {
	table := map[string]SettingInfo{}
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimRight(line, "\r\n"), "\t")
		if len(f) < 8 || describedTypes[f[3]] == "" {
			continue
		}
		table[strings.ToLower(f[0])] = SettingInfo{
			Name: f[0], Context: f[1], Group: f[2], Type: describedTypes[f[3]],
			Reset: f[4], Min: f[5], Max: f[6], Short: f[7],
		}
	}
	return table
}

// ParseBool reads PostgreSQL's spellings of a boolean: unique prefixes of true,
// false, yes, no, on, off, and 1, 0, in any letter case.
func ParseBool(s string) (value, ok bool) {
	s = strings.ToLower(strings.TrimSpace(s))
	switch s {
	case "":
		return false, false
	case "1":
		return true, true
	case "0":
		return false, true
	case "on":
		return true, true
	case "of", "off":
		return false, true
	}
	for word, value := range map[string]bool{"true": true, "yes": true, "false": false, "no": false} {
		if strings.HasPrefix(word, s) {
			return value, true
		}
	}
	return false, false
}

// CompareSetting says whether two spellings mean the same value to PostgreSQL.
// vartype and unit are those of pg_settings (unit may be empty); a number
// without unit counts in that unit. Booleans compare by meaning, enums without
// letter case (with on/off synonyms and the historic names of wal_level),
// strings as they are. A value that cannot be read equals only its own text.
func CompareSetting(vartype, unit, wanted, actual string) bool {
	if wanted == actual {
		return true
	}
	switch vartype {
	case "bool":
		w, ok1 := ParseBool(wanted)
		a, ok2 := ParseBool(actual)
		return ok1 && ok2 && w == a
	case "integer":
		w, ok1 := ParseInteger(wanted, unit)
		a, ok2 := ParseInteger(actual, unit)
		return ok1 && ok2 && w == a
	case "real":
		w, ok1 := parseNumber(wanted, unit)
		a, ok2 := parseNumber(actual, unit)
		return ok1 && ok2 && math.Abs(w-a) <= 1e-9*math.Max(math.Abs(w), math.Abs(a))
	case "enum":
		return normalEnum(wanted) == normalEnum(actual)
	}
	return false
}

func normalEnum(s string) string {
	switch s = strings.ToLower(strings.TrimSpace(s)); s {
	case "true", "yes", "1":
		return "on"
	case "false", "no", "0":
		return "off"
	case "hot_standby", "archive": // wal_level before 9.6
		return "replica"
	}
	return s
}

// scale is one unit's size in the smallest unit of its family.
type scale struct {
	name string
	size float64
}

// Units, largest first, as PostgreSQL prints them.
var (
	memoryUnits = []scale{{"TB", 1 << 40}, {"GB", 1 << 30}, {"MB", 1 << 20}, {"kB", 1 << 10}, {"B", 1}}
	timeUnits   = []scale{{"d", 86400e6}, {"h", 3600e6}, {"min", 60e6}, {"s", 1e6}, {"ms", 1e3}, {"us", 1}}
)

// findUnit reads a unit such as kB, 8kB, 16MB, ms.
func findUnit(unit string) (family []scale, size float64, ok bool) {
	digits := len(unit) - len(strings.TrimLeft(unit, "0123456789"))
	factor := 1.0
	if digits > 0 {
		n, err := strconv.ParseUint(unit[:digits], 10, 32)
		if err != nil || n == 0 {
			return nil, 0, false
		}
		factor = float64(n)
	}
	for _, family := range [][]scale{memoryUnits, timeUnits} {
		for _, u := range family {
			if u.name == unit[digits:] {
				return family, factor * u.size, true
			}
		}
	}
	return nil, 0, false
}

// ParseInteger reads an integer parameter's value in base units, by
// PostgreSQL's rules: fractions are rounded, hexadecimal and octal are
// accepted, units only of the base unit's kind ("128MB" with base unit 8kB is
// 16384).
func ParseInteger(s, baseUnit string) (int64, bool) {
	n, ok := parseNumber(s, baseUnit)
	if !ok || math.Abs(n) >= 1<<62 {
		return 0, false
	}
	return int64(math.RoundToEven(n)), true
}

func parseNumber(s, baseUnit string) (float64, bool) {
	s = strings.TrimSpace(s)
	if n, ok := parseC(s); ok {
		return n, true
	}
	end := 0
	for end < len(s) && strings.IndexByte("+-.0123456789", s[end]) >= 0 {
		end++
	}
	if end > 0 && end < len(s) && (s[end] == 'e' || s[end] == 'E') {
		exp := end + 1
		for exp < len(s) && strings.IndexByte("+-0123456789", s[exp]) >= 0 {
			exp++
		}
		end = exp
	}
	n, err := strconv.ParseFloat(s[:end], 64)
	if err != nil || math.IsInf(n, 0) {
		return 0, false
	}
	unit := strings.TrimSpace(s[end:])
	if unit == "" {
		return n, true
	}
	_, base, ok1 := findUnit(baseUnit)
	family, size, ok2 := findUnit(unit)
	if !ok1 || !ok2 || strings.IndexByte("0123456789", unit[0]) >= 0 {
		return 0, false
	}
	if !hasUnit(family, strings.TrimLeft(baseUnit, "0123456789")) {
		return 0, false
	}
	return n * size / base, true
}

// parseC reads what C's strtol with base 0 does: decimal, 0x1F, 017.
func parseC(s string) (float64, bool) {
	if len(s) > 1 && s[0] == '0' && strings.IndexByte("bBoO", s[1]) >= 0 || strings.Contains(s, "_") {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 0, 64)
	return float64(n), err == nil
}

func hasUnit(family []scale, name string) bool {
	for _, u := range family {
		if u.name == name {
			return true
		}
	}
	return false
}

// HumanValue prints a number as people write it: in the largest unit that needs
// no fraction, as SHOW does ("16384" of 8kB is "128MB"). Values without a unit,
// special values (zero, negative) and text come back unchanged.
func HumanValue(value, unit string) string {
	if _, _, known := findUnit(unit); !known {
		return value
	}
	n, ok := parseNumber(value, unit)
	if !ok || n <= 0 {
		return value
	}
	family, base, _ := findUnit(unit)
	total := n * base
	for _, u := range family {
		if count := total / u.size; count >= 1 && count == math.Trunc(count) {
			return strconv.FormatFloat(count, 'f', -1, 64) + u.name
		}
	}
	return value
}
