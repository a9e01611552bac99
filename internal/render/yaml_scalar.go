package render

import (
	"fmt"
	"regexp"
	"strings"
)

// scalarForms says which ways of writing a text YAML allows.
type scalarForms struct {
	flowPlain, blockPlain, single, multiline bool
}

// analyse applies the rules by which PyYAML decides whether a text may stand
// without quotes or with single ones.
func analyse(s string) scalarForms {
	if s == "" {
		return scalarForms{blockPlain: true, single: true}
	}
	text := []rune(s)
	f := scalarForms{flowPlain: true, blockPlain: true, single: true}
	neither := func() { f.flowPlain, f.blockPlain = false, false }
	blank := func(i int) bool {
		return i < 0 || i >= len(text) || strings.ContainsRune(" \t\n\r\u0085\u2028\u2029", text[i])
	}
	if strings.HasPrefix(s, "---") || strings.HasPrefix(s, "...") {
		neither()
	}
	for i, r := range text {
		switch {
		case i == 0 && strings.ContainsRune("#,[]{}&*!|>'\"%@`", r):
			neither()
		case i == 0 && (r == '?' || r == ':'):
			f.flowPlain = false
			if blank(i + 1) {
				f.blockPlain = false
			}
		case i == 0 && r == '-' && blank(i+1):
			neither()
		case i > 0 && strings.ContainsRune(",?[]{}", r):
			f.flowPlain = false
		case i > 0 && r == ':':
			f.flowPlain = false
			if blank(i + 1) {
				f.blockPlain = false
			}
		case i > 0 && r == '#' && blank(i-1):
			neither()
		}
		switch {
		case isBreak(r):
			f.multiline = true
			neither()
			if i+1 < len(text) && text[i+1] == ' ' {
				f.single = false
			}
		case r == ' ':
			if i == 0 || i == len(text)-1 {
				neither()
			}
			if i+1 < len(text) && isBreak(text[i+1]) {
				f.single = false
			}
		case !printable(r):
			neither()
			f.single = false
		}
	}
	if !f.single {
		neither()
	}
	return f
}

// isBreak leaves out YAML 1.1's exotic breaks (U+0085, U+2028): they are escaped.
func isBreak(r rune) bool { return r == '\n' }

func printable(r rune) bool {
	switch {
	case r >= 0x20 && r <= 0x7e, r >= 0xa0 && r <= 0xd7ff && r != 0x2028 && r != 0x2029, r >= 0xe000 && r <= 0xfffd && r != 0xfeff:
		return true
	}
	return r >= 0x10000 && r < 0x10ffff
}

// otherTypes are the texts YAML 1.1 reads as something else than a string.
var otherTypes = regexp.MustCompile(`^(?:` + strings.Join([]string{
	`yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF`,
	`~|null|Null|NULL|<<|=`,
	`[-+]?(?:0b[0-1_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|[1-9][0-9_]*(?::[0-5]?[0-9])+)`,
	`[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?`,
	`[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)`,
	`[0-9]{4}-[0-9]{2}-[0-9]{2}`,
	`[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?` +
		`(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?`,
}, "|") + `)$`)

func readsAsOtherType(s string) bool { return otherTypes.MatchString(s) }

var yamlEscapes = map[rune]string{
	0: `\0`, 7: `\a`, 8: `\b`, '\t': `\t`, '\n': `\n`, 11: `\v`, 12: `\f`, '\r': `\r`, 27: `\e`,
	'"': `\"`, '\\': `\\`, 0x85: `\N`, 0xa0: `\_`, 0x2028: `\L`, 0x2029: `\P`,
}

// doubleQuoted writes the form every text can have. Long texts are folded at
// a blank; a backslash keeps blanks at the start of the next line.
func (e *yamlEmitter) doubleQuoted(s string, indent int, fold bool) {
	e.WriteByte('"')
	text := []rune(s)
	start := 0 // of the run not yet written
	flush := func(end int) { e.WriteString(string(text[start:end])); start = end }
	for end := 0; end <= len(text); end++ {
		if end == len(text) || needsEscape(text[end]) {
			flush(end)
			if end < len(text) {
				e.WriteString(escape(text[end]))
				start = end + 1
			}
		}
		if !fold || end == 0 || end >= len(text)-1 || text[end] != ' ' && start < end {
			continue
		}
		if e.column()+max(0, end-start) <= yamlWidth {
			continue
		}
		if start < end {
			flush(end)
		}
		e.WriteByte('\\')
		e.newline(indent)
		if start < len(text) && text[start] == ' ' {
			e.WriteByte('\\')
		}
	}
	e.WriteByte('"')
}

func needsEscape(r rune) bool {
	return r == '"' || r == '\\' || isBreak(r) || !printable(r)
}

func escape(r rune) string {
	if s, ok := yamlEscapes[r]; ok {
		return s
	}
	switch {
	case r <= 0xff:
		return fmt.Sprintf(`\x%02X`, r)
	case r <= 0xffff:
		return fmt.Sprintf(`\u%04X`, r)
	}
	return fmt.Sprintf(`\U%08X`, r)
}
