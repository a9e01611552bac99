package config

import (
	"encoding/base64"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

// PyYAML's implicit resolvers (YAML 1.1), as its documentation gives them.
var (
	yamlFloat = regexp.MustCompile(`^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?` +
		`|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?` +
		`|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*` +
		`|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$`)
	yamlInt = regexp.MustCompile(`^(?:[-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)` +
		`|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+)$`)
	yamlTimestamp = regexp.MustCompile(`^(?:[0-9]{4}-[0-9]{2}-[0-9]{2}` +
		`|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?` +
		`(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?)$`)
)

// resolvePlain gives a plain scalar the type that PyYAML gives it. Dates stay
// text: nothing in this configuration is a date.
func resolvePlain(text string) any {
	switch text {
	case "", "~", "null", "Null", "NULL":
		return nil
	case "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON":
		return true
	case "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF":
		return false
	}
	if strings.IndexByte("-+0123456789.", text[0]) < 0 {
		return text
	}
	if yamlInt.MatchString(text) {
		if i, ok := yamlInteger(text); ok {
			return i
		}
		return text
	}
	if yamlFloat.MatchString(text) {
		if f, ok := yamlFloating(text); ok {
			return f
		}
	}
	return text
}

// yamlInteger reads the forms of yamlInt: binary, octal, decimal, hexadecimal,
// sexagesimal, all with underscores.
func yamlInteger(text string) (any, bool) {
	s := strings.ReplaceAll(text, "_", "")
	negative := strings.HasPrefix(s, "-")
	s = strings.TrimLeft(s, "+-")
	var n *big.Int
	ok := true
	switch {
	case strings.HasPrefix(s, "0b"):
		n, ok = new(big.Int).SetString(s[2:], 2)
	case strings.HasPrefix(s, "0x"):
		n, ok = new(big.Int).SetString(s[2:], 16)
	case len(s) > 1 && s[0] == '0':
		n, ok = new(big.Int).SetString(s, 8)
	case strings.Contains(s, ":"):
		n = new(big.Int)
		for part := range strings.SplitSeq(s, ":") {
			digit, good := new(big.Int).SetString(part, 10)
			if !good {
				return nil, false
			}
			n.Mul(n, big.NewInt(60)).Add(n, digit)
		}
	default:
		n, ok = new(big.Int).SetString(s, 10)
	}
	if !ok {
		return nil, false
	}
	if negative {
		n.Neg(n)
	}
	return narrow(n), true
}

// narrow returns int64 when the number fits.
func narrow(n *big.Int) any {
	if n.IsInt64() {
		return n.Int64()
	}
	return n
}

func yamlFloating(text string) (float64, bool) {
	s := strings.ToLower(strings.ReplaceAll(text, "_", ""))
	sign := 1.0
	if strings.HasPrefix(s, "-") {
		sign = -1
	}
	s = strings.TrimLeft(s, "+-")
	switch {
	case s == ".inf":
		return math.Inf(int(sign)), true
	case s == ".nan":
		return math.NaN(), true
	case strings.Contains(s, ":"):
		total := 0.0
		for part := range strings.SplitSeq(s, ":") {
			f, err := strconv.ParseFloat(part, 64)
			if err != nil {
				return 0, false
			}
			total = total*60 + f
		}
		return sign * total, true
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) {
		return 0, false
	}
	return sign * f, true
}

// taggedScalar constructs a scalar with an explicit tag; false when the tag
// is unknown or the text does not fit it.
func taggedScalar(tag, text string) (any, bool) {
	switch strings.TrimPrefix(tag, "tag:yaml.org,2002:") {
	case "!", "":
		return resolvePlain(text), true
	case "!!str", "str", "!!timestamp", "timestamp":
		return text, true
	case "!!null", "null":
		return nil, true
	case "!!bool", "bool":
		b, ok := resolvePlain(strings.ToLower(text)).(bool)
		return b, ok
	case "!!int", "int":
		return yamlInteger(text)
	case "!!float", "float":
		return yamlFloating(text)
	case "!!binary", "binary":
		b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
		return string(b), err == nil
	}
	return nil, false
}

// pyText is Python's str() of a value: the text form by which the reference
// compares leaves and hands values on (contract: config.md 1.4).
func pyText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return pyRepr(v)
}

// pyRepr is Python's repr(), but for the quoting of texts inside containers,
// which only has to be unambiguous here.
func pyRepr(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case string:
		return strconv.Quote(v)
	case float64:
		return pyFloat(v)
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = pyRepr(v[i])
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case *object:
		parts := make([]string, len(v.members))
		for i, m := range v.members {
			parts[i] = strconv.Quote(m.key) + ": " + pyRepr(m.value)
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case map[string]any:
		return pyRepr(orderedValue(v))
	}
	return fmt.Sprint(v) // the integer types, *big.Int
}

// pyFloat is Python's repr of a float: shortest digits that read back, an
// exponent below 1e-4 and from 1e16 on, always recognisable as a float.
func pyFloat(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case math.IsNaN(f):
		return "nan"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64) // two exponent digits, as Python
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}
