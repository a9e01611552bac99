package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// optionRules says how the option list of a program is read.
type optionRules struct {
	program   string
	forbidden []string
	// refuse gives a further reason against an option; may be nil.
	refuse func(name, value string) string
}

var initdbRules = optionRules{program: "initdb", forbidden: []string{"pgdata", "nosync", "pwfile", "sync-only", "version"}}

var rewindRules = optionRules{program: "pg_rewind", forbidden: []string{
	"target-pgdata", "source-pgdata", "source-server", "write-recovery-conf", "dry-run", "restore-target-wal",
	"config-file", "no-ensure-shutdown", "version", "help",
}}

// baseBackupRules depend on the server: compression on its side came with 15.
func baseBackupRules(major int) optionRules {
	return optionRules{
		program: "pg_basebackup",
		forbidden: []string{
			"pgdata", "format", "wal-method", "xlog-method", "gzip", "version", "dbname", "host", "port", "username", "password",
		},
		refuse: func(name, value string) string {
			if name != "compress" || (major >= 15 && strings.HasPrefix(value, "server-")) {
				return ""
			}
			return "only server-side compression is possible here, from PostgreSQL 15 on (compress: server-...)"
		},
	}
}

// arguments turns a list of names and one-key maps, or a map, into --name or
// --name=value. Problems are one error each; what they are about is left out.
func (r optionRules) arguments(n *Node) (args []string, problems []error) {
	add := func(name string, value *Node) {
		arg, err := r.argument(name, value)
		if err != nil {
			problems = append(problems, err)
		} else if arg != "" {
			args = append(args, arg)
		}
	}
	switch {
	case n.IsNull():
	case n.Kind == MapNode:
		for _, f := range n.Fields {
			if f.Key != "" && truthy(f.Value.Value()) { // empty ones are skipped
				add(f.Key, f.Value)
			}
		}
	case n.Kind == ListNode:
		for _, item := range n.Items {
			switch {
			case item.Kind == MapNode && len(item.Fields) == 1:
				add(item.Fields[0].Key, item.Fields[0].Value)
			case item.Kind == ScalarNode:
				if name, ok := item.Scalar.(string); ok && name != "" {
					add(name, nil)
					continue
				}
				fallthrough
			default:
				problems = append(problems, fmt.Errorf("option of %s: expected a name or one name with its value, got %s", r.program, item.describe()))
			}
		}
	default:
		problems = append(problems, fmt.Errorf("options of %s: expected a list, got %s", r.program, n.describe()))
	}
	return args, problems
}

// argument checks one option; a nil value means the name alone.
func (r optionRules) argument(name string, value *Node) (string, error) {
	bare, _, _ := strings.Cut(name, "=")
	if slices.Contains(r.forbidden, bare) {
		return "", fmt.Errorf("option %s of %s is set by the agent itself", bare, r.program)
	}
	text := ""
	if value != nil {
		v, isText := value.Scalar.(string)
		if n, isInt := value.Scalar.(int64); isInt && r.program != initdbRules.program {
			v, isText = fmt.Sprint(n), true
		}
		if value.Kind != ScalarNode || !isText {
			return "", fmt.Errorf("option %s of %s: expected text, got %s", name, r.program, value.describe())
		}
		text = unquote(v)
	} else if _, after, ok := strings.Cut(name, "="); ok {
		text = after
	}
	if r.refuse != nil {
		if reason := r.refuse(bare, text); reason != "" {
			return "", fmt.Errorf("option %s of %s: %s", bare, r.program, reason)
		}
	}
	if value == nil {
		return "--" + name, nil
	}
	return "--" + name + "=" + text, nil
}

// unquote removes shell quoting from a text that is one word.
func unquote(text string) string {
	if words, err := SplitCommand(text); err == nil && len(words) == 1 {
		return words[0]
	}
	return text
}

// SplitCommand splits a command line into words the way a POSIX shell does,
// without any expansion.
func SplitCommand(line string) ([]string, error) {
	var (
		words  []string
		word   strings.Builder
		inWord bool
		quote  rune
		escape bool
	)
	for _, r := range line {
		switch {
		case escape:
			if quote == '"' && r != '"' && r != '\\' {
				word.WriteByte('\\')
			}
			word.WriteRune(r)
			escape = false
		case r == '\\' && quote != '\'':
			escape, inWord = true, true
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				word.WriteRune(r)
			}
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case strings.ContainsRune(" \t\r\n", r):
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, errors.New("split command line: no closing quotation")
	}
	if escape {
		return nil, errors.New("split command line: nothing behind the last backslash")
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// buildBootstrap fills section bootstrap, which may be present and empty.
func (l *Local) buildBootstrap(n *Node) {
	if n == nil {
		return
	}
	b := &Bootstrap{
		DCS:      n.mapOf("dcs"),
		Method:   n.text("method"),
		PgHBA:    n.texts("pg_hba"),
		PostInit: n.firstText("post_bootstrap", "post_init"),
	}
	if b.DCS == nil {
		b.DCS = map[string]any{}
	}
	setDefault(&b.Method, "initdb")
	if b.Method != "initdb" {
		b.Custom = n.mapOf(b.Method)
		if n.Lookup(b.Method).text("command") == "" {
			l.warn("bootstrap.method", fmt.Sprintf("bootstrap.%s.command is not set: initdb is used", b.Method), "")
			b.Method, b.Custom = "initdb", nil
		}
	}
	var problems []error
	b.InitDB, problems = initdbRules.arguments(n.Lookup("initdb"))
	if len(problems) > 0 {
		b.InitDBError = errors.Join(problems...)
		for _, err := range problems {
			l.warn("bootstrap.initdb", err.Error()+"; a bootstrap on this member will be refused", "")
		}
	}
	l.Bootstrap = b
}
