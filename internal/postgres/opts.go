package postgres

import (
	"maps"
	"slices"
	"strings"
)

// ParsePostmasterOpts reads a data directory's postmaster.opts, the command
// line of the last start, into parameters: --name=value and -c name=value, with
// "-" in names as "_". The program, -D and other short options are left out.
// PostgreSQL quotes the words without escaping; a quote inside a value is told
// from the end of a word by the blank and quote that follow.
func ParsePostmasterOpts(content string) map[string]string {
	params := map[string]string{}
	words := strings.Split(strings.TrimRight(content, "\r\n"), `" "`)
	words[len(words)-1] = strings.TrimSuffix(words[len(words)-1], `"`)
	// The program is not quoted: its word holds the first option as well.
	if _, first, ok := strings.Cut(words[0], ` "`); ok {
		words[0] = first
	} else {
		words = words[1:]
	}
	for i, word := range words {
		setting, ok := strings.CutPrefix(word, "--")
		if !ok && i > 0 && words[i-1] == "-c" {
			setting, ok = word, true
		}
		name, value, assigned := strings.Cut(setting, "=")
		if ok && assigned && name != "" {
			params[strings.ReplaceAll(name, "-", "_")] = value
		}
	}
	return params
}

// SingleUserArgs are the arguments of `postgres` for crash recovery in
// single-user mode (contract: ha-behaviour.md 5.2): the last start's
// parameters, archiving on with a command that fails, so that no segment is
// lost, and a database to connect to. Close its standard input.
func SingleUserArgs(postmasterOpts, dataDir string) []string {
	params := ParsePostmasterOpts(postmasterOpts)
	params["archive_mode"] = "on"
	params["archive_command"] = "false"
	args := []string{"--single", "-D", dataDir}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		args = append(args, "-c", name+"="+params[name])
	}
	return append(args, "template1")
}
