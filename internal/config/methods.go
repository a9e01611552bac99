package config

import (
	"errors"
	"fmt"
	"slices"
)

// methodCommand is the command line of a custom method in two parts: the words
// of its command, and --key=value for each further plain entry.
func methodCommand(own *Node, command string, skip ...string) (words, entries []string, err error) {
	if words, err = SplitCommand(command); err != nil {
		return nil, nil, err
	}
	if len(words) == 0 {
		return nil, nil, errors.New("the command is empty")
	}
	for _, f := range own.Fields {
		if f.Key != "command" && f.Value.Kind == ScalarNode && !slices.Contains(skip, f.Key) {
			entries = append(entries, "--"+f.Key+"="+pyText(f.Value.Scalar))
		}
	}
	return words, entries, nil
}

// MethodArguments is the command line of a custom replica method: its words,
// its own entries, then what the contract adds (config.md 4.3). connString
// has no password and may be empty.
func (e Effective) MethodArguments(method, scope, dataDir, connString string) ([]string, error) {
	own := nodeOf(e.Methods[method])
	command := own.text("command")
	setDefault(&command, method)
	bare := own.boolean("no_params", false)
	var skip []string
	if bare {
		skip = []string{"no_params", "no_leader", "keep_data"}
	}
	words, entries, err := methodCommand(own, command, skip...)
	if err != nil {
		return nil, fmt.Errorf("command of replica method %s: %w", method, err)
	}
	words = append(words, entries...)
	if bare {
		return words, nil
	}
	return append(words, "--scope="+scope, "--role=replica", "--datadir="+dataDir, "--connstring="+connString), nil
}

// MethodFlag says whether a custom replica method has keep_data, no_params or
// no_leader set.
func (e Effective) MethodFlag(method, flag string) bool {
	return nodeOf(e.Methods[method]).boolean(flag, false)
}

// WorksWithoutLeader says whether a replica method may run while nobody leads:
// a custom one with no_leader (contract: ha-behaviour.md 3.2).
func (e Effective) WorksWithoutLeader(method string) bool {
	return method != "basebackup" && e.MethodFlag(method, "no_leader")
}

// Arguments is the command line of a custom bootstrap method (contract:
// config.md 3.6). Only for Method other than initdb.
func (b *Bootstrap) Arguments(scope, dataDir string) ([]string, error) {
	own := nodeOf(b.Custom)
	words, entries, err := methodCommand(own, own.text("command"),
		"no_params", "keep_existing_recovery_conf", "recovery_conf", "scope", "datadir")
	if err != nil {
		return nil, fmt.Errorf("command of bootstrap method %s: %w", b.Method, err)
	}
	if !own.boolean("no_params", false) {
		words = append(words, "--scope="+scope, "--datadir="+dataDir)
	}
	return append(words, entries...), nil
}
