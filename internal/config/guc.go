package config

import (
	"math"
	"regexp"
	"strconv"
	"strings"
)

// PostgreSQL's units, each in the smallest one of its family.
var (
	memoryUnits = map[string]float64{"B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
	timeUnits   = map[string]float64{"us": 1, "ms": 1e3, "s": 1e6, "min": 60e6, "h": 3600e6, "d": 86400e6}
)

var (
	gucNumber   = regexp.MustCompile(`^[-+]?(?:0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)`)
	gucBaseUnit = regexp.MustCompile(`^([0-9]*)([A-Za-z]+)$`)
)

// ParseGUCInt reads an integer as PostgreSQL reads a setting: decimal, 0x
// hexadecimal, leading-0 octal, with an optional fraction or exponent, rounded
// to the nearest even. Units are case-sensitive (B kB MB GB TB, us ms s min h
// d), must be of the base unit's family, and are converted to it. Without a
// unit the number is in the base unit, which may carry a factor ("8kB"). An
// empty base unit allows no unit. False: the text is none of this.
func ParseGUCInt(text, baseUnit string) (int64, bool) {
	text = strings.TrimSpace(text)
	number := gucNumber.FindString(text)
	if number == "" {
		return 0, false
	}
	value, ok := gucValue(number)
	if !ok {
		return 0, false
	}
	if unit := strings.TrimSpace(text[len(number):]); unit != "" {
		factor, ok := unitFactor(unit, baseUnit)
		if !ok {
			return 0, false
		}
		value *= factor
	} else if i, err := gucInteger(number); err == nil {
		return i, true // exact, beyond what a float holds
	}
	value = math.RoundToEven(value)
	if math.IsNaN(value) || value < math.MinInt64 || value >= math.MaxInt64 {
		return 0, false
	}
	return int64(value), true
}

// gucInteger reads an integer with C's prefixes.
func gucInteger(number string) (int64, error) { return strconv.ParseInt(number, 0, 64) }

func gucValue(number string) (float64, bool) {
	digits := strings.TrimLeft(number, "+-")
	isHex := len(digits) > 1 && (digits[1] == 'x' || digits[1] == 'X')
	if isHex || !strings.ContainsAny(digits, ".eE") {
		i, err := gucInteger(number)
		return float64(i), err == nil
	}
	f, err := strconv.ParseFloat(number, 64)
	return f, err == nil
}

// unitFactor is what one unit is in base units.
func unitFactor(unit, base string) (float64, bool) {
	m := gucBaseUnit.FindStringSubmatch(base)
	if m == nil {
		return 0, false
	}
	per := 1.0
	if m[1] != "" {
		per, _ = strconv.ParseFloat(m[1], 64) // digits only
	}
	for _, family := range []map[string]float64{memoryUnits, timeUnits} {
		from, known := family[unit]
		to, same := family[m[2]]
		if known && same && per > 0 {
			return from / (to * per), true
		}
	}
	return 0, false
}

// ParseGUCBool reads the spellings of a boolean: on, true, yes, 1, off,
// false, no, 0, in any letter case (contract: config.md 1.4).
func ParseGUCBool(text string) (value, ok bool) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "on", "true", "yes", "1":
		return true, true
	case "off", "false", "no", "0":
		return false, true
	}
	return false, false
}

// gucText is a configured value as text for postgresql.conf: booleans in
// PostgreSQL's spelling. False for maps and lists.
func gucText(v any) (string, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return "on", true
		}
		return "off", true
	case map[string]any, []any, nil:
		return "", false
	}
	return pyText(v), true
}
