package config

import (
	"errors"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"
)

// syntaxError turns the library's error into ours, with the corrected line
// where one can be found.
func syntaxError(data []byte, file string, cause error) error {
	line, column, message := errorPlace(cause)
	e := &Error{File: file, Line: line, Column: column, Message: "not YAML: " + message}
	if at, fixed, ok := correctedLine(data, line); ok {
		e.fixedLine, e.fixed = at, fixed
		e.Remedy = "write:\n" + maskLine(fixed)
		if at != line {
			e.Remedy = "write in the line before:\n" + maskLine(fixed)
		}
	} else if strings.HasPrefix(lineOf(data, line), "\t") {
		e.Remedy = "indent with blanks, not with tabs"
	}
	return e
}

func errorPlace(cause error) (line, column int, message string) {
	if p, ok := errors.AsType[positioned](cause); ok {
		return p.line, p.column, p.Error()
	}
	if le, ok := errors.AsType[*yaml.LoadError](cause); ok {
		message = le.Message
		if le.ContextMsg != "" {
			message = le.ContextMsg + ": " + message
		}
		return le.Mark.Line, le.Mark.Column, message
	}
	return 0, 0, strings.TrimPrefix(cause.Error(), "yaml: ")
}

// lineOf returns a line of the text, 1-based, without its end; empty when
// there is none.
func lineOf(data []byte, line int) string {
	lines := strings.Split(string(data), "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	return strings.TrimRight(lines[line-1], "\r")
}

// maxFixable bounds the documents for which corrections are tried.
const maxFixable = 1 << 20

// correctedLine tries the usual slips on the reported line and the one before
// it. A correction counts only when the document then parses, or its next
// error lies further down: so it never suggests what would not help.
func correctedLine(data []byte, line int) (at int, fixed string, ok bool) {
	if line < 1 || len(data) > maxFixable {
		return 0, "", false
	}
	lines := strings.Split(string(data), "\n")
	for _, at := range []int{line, line - 1} {
		if at < 1 || at > len(lines) {
			continue
		}
		original := lines[at-1]
		for _, candidate := range corrections(strings.TrimRight(original, "\r")) {
			lines[at-1] = candidate
			_, err := parseYAML([]byte(strings.Join(lines, "\n")))
			next, _, _ := 0, 0, ""
			if err != nil {
				next, _, _ = errorPlace(err)
			}
			if err == nil || next > line {
				return at, candidate, true
			}
		}
		lines[at-1] = original
	}
	return 0, "", false
}

var (
	keyDashValue  = regexp.MustCompile(`^(\s*(?:- )?[^\s:#'"]+:)\s+-\s+(\S.*)$`)                // hosts: - a,b
	keyValue      = regexp.MustCompile(`^(\s*(?:- )?[^\s:#'"]+:\s+)([^'"\s[{|>].*?)(\s+#.*)?$`) // password: a: b
	keyNoBlank    = regexp.MustCompile(`^(\s*(?:- )?[A-Za-z_][A-Za-z0-9_]*):(\S.*)$`)           // ttl:30
	listNoQuote   = regexp.MustCompile(`^(\s*- +)([^'"\s[{|>].*?)(\s+#.*)?$`)                   // - *foo
	leadingBlanks = regexp.MustCompile(`^[ \t]+`)
)

// corrections lists what the line may have been meant to be, likeliest first.
func corrections(line string) []string {
	var out []string
	if m := keyDashValue.FindStringSubmatch(line); m != nil {
		out = append(out, m[1]+" "+m[2])
	}
	if strings.Contains(leadingBlanks.FindString(line), "\t") {
		indent := leadingBlanks.FindString(line)
		rest := line[len(indent):]
		for _, width := range []string{"  ", "    "} {
			out = append(out, strings.ReplaceAll(indent, "\t", width)+rest)
		}
	}
	if m := keyNoBlank.FindStringSubmatch(line); m != nil {
		out = append(out, m[1]+": "+m[2])
	}
	if m := keyValue.FindStringSubmatch(line); m != nil {
		out = append(out, m[1]+singleQuoted(m[2])+m[3])
	}
	if m := listNoQuote.FindStringSubmatch(line); m != nil {
		out = append(out, m[1]+singleQuoted(m[2])+m[3])
	}
	return out
}

func singleQuoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
