package config

import (
	"fmt"
	"strings"
)

// Error is what makes a configuration unusable. Its text is one line.
type Error struct {
	File    string // empty for environment and DCS
	Line    int    // 1-based; 0 unknown
	Column  int    // 1-based; 0 unknown
	KeyPath string // dotted; empty for errors of the syntax
	Message string // what is wrong
	Remedy  string // what to do, possibly several lines; may be empty. Not part of Error()

	// The corrected line, secrets included, and which one it is: for reading on.
	fixed     string
	fixedLine int
	fix       *fix
}

// Error is "file:line:column: key.path: message".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.File != "" && e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
		if e.Column > 0 {
			fmt.Fprintf(&b, ":%d", e.Column)
		}
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if e.KeyPath != "" {
		b.WriteString(e.KeyPath + ": ")
	}
	b.WriteString(e.Message)
	return b.String()
}

// String is "file:line: path: message (remedy)", leaving out what is unknown.
func (f Finding) String() string {
	e := Error{File: f.File, Line: f.Line, KeyPath: f.Path, Message: f.Message}
	if f.Remedy == "" {
		return e.Error()
	}
	return e.Error() + " (" + f.Remedy + ")"
}
