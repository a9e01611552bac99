package cmd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pgha/internal/config"
)

// completeBound is how long pressing a key may take that asks etcd.
const completeBound = 1500 * time.Millisecond

// completeArguments gives a command of ctl the words that its arguments can
// be. They are read off its usage line: the cluster that the configuration
// names, and the members that etcd knows. On any failure there are none, and
// nothing is printed: a key press is no place for errors.
func (t *ctlTool) completeArguments(cmd *cobra.Command) {
	_, usage, _ := strings.Cut(cmd.Use, " [OPTIONS]")
	kinds := strings.Fields(usage)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var words []string
		for i, kind := range kinds {
			many := strings.HasSuffix(kind, "...")
			if i != len(args) && (i > len(args) || !many) {
				continue
			}
			switch {
			case strings.Contains(kind, "CLUSTER"):
				words = append(words, t.clusterNames()...)
			case strings.Contains(kind, "MEMBER"):
				words = append(words, t.memberNames(cmd.Context(), args)...)
			case strings.HasPrefix(kind, "{"):
				words = append(words, strings.Split(strings.Trim(kind, "{}"), "|")...)
			}
		}
		return slices.DeleteFunc(words, func(w string) bool { return slices.Contains(args, w) }), cobra.ShellCompDirectiveNoFileComp
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		// An error means that the option has completions already.
		if c, ok := f.Value.(*choice); ok {
			_ = cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(c.allowed, cobra.ShellCompDirectiveNoFileComp))
		}
		if slices.Contains([]string{"candidate", "leader", "primary", "member"}, f.Name) {
			_ = cmd.RegisterFlagCompletionFunc(f.Name, func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
				return t.memberNames(cmd.Context(), args), cobra.ShellCompDirectiveNoFileComp
			})
		}
	})
}

// clusterNames is the configured cluster: others are known to etcd alone,
// which patronictl does not list either.
func (t *ctlTool) clusterNames() []string {
	local, err := t.configuration()
	if err != nil || local.Scope == "" {
		return nil
	}
	return []string{local.Scope}
}

// memberNames are the members of the cluster that the arguments name, or else
// of the configured one.
func (t *ctlTool) memberNames(ctx context.Context, args []string) []string {
	local, err := t.configuration()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(orBackground(ctx), completeBound)
	defer cancel()
	return t.membersOf(ctx, local, first(append(slices.Clip(args[:min(1, len(args))]), local.Scope)))
}

func (t *ctlTool) membersOf(ctx context.Context, local *config.Local, scope string) []string {
	store, err := t.open(ctx, local, scope)
	if err != nil {
		return nil
	}
	defer store.Close()
	cluster, err := store.Load(ctx)
	if err != nil {
		return nil
	}
	var names []string
	for _, m := range cluster.Members {
		names = append(names, m.Name)
	}
	return names
}

// orBackground: completion runs a command without executing it, which leaves
// it without a context.
func orBackground(ctx context.Context) context.Context {
	if ctx == nil {
		return context.Background()
	}
	return ctx
}

// completeVariable asks patronictl for a completion script, or, from within
// such a script, for words (contract: ctl.md section 1).
const completeVariable = "_PATRONICTL_COMPLETE"

// completionScript serves _PATRONICTL_COMPLETE: *_source prints the script of
// that shell; *_complete is what scripts ask that were saved when patronictl
// was Patroni's. done is false when the variable is not meant for this call.
func completionScript(program string, args []string, io streams, outside outside) (done bool, code int) {
	shell, what, ok := strings.Cut(outside.getenv(completeVariable), "_")
	if !ok || program != programPatronictl && first(args) != "ctl" {
		return false, 0
	}
	switch what {
	case "source":
		return true, writeScript(program, shell, io.out, outside)
	case "complete":
		return true, clickComplete(shell, io.out, outside)
	}
	return true, exitFailed
}

// writeScript prints a completion script for the program as it was called.
func writeScript(program, shell string, out io.Writer, outside outside) int {
	root, _, _ := programTree(program, nil, out, outside)
	if root.Name() != program {
		root.Use = program
	}
	var err error
	switch shell {
	case "bash":
		err = root.GenBashCompletionV2(out, true)
	case "zsh":
		if err = root.GenZshCompletion(out); err == nil {
			_, err = fmt.Fprintf(out, "compdef _%s %s\n", root.Name(), root.Name())
		}
	case "fish":
		err = root.GenFishCompletion(out, true)
	default:
		return exitFailed
	}
	if err != nil {
		return exitFailed
	}
	return exitDone
}

// clickComplete answers a script of the original patronictl in the form that
// it expects: COMP_WORDS is the line, COMP_CWORD the number of the word that is
// being written (fish: the word itself).
func clickComplete(shell string, out io.Writer, outside outside) int {
	words := strings.Fields(outside.getenv("COMP_WORDS"))
	writing := ""
	if shell == "fish" {
		writing = outside.getenv("COMP_CWORD")
		if writing != "" && len(words) > 0 {
			words = words[:len(words)-1]
		}
	} else {
		at, err := strconv.Atoi(outside.getenv("COMP_CWORD"))
		if err != nil {
			return exitFailed
		}
		if at < len(words) {
			writing, words = words[at], words[:at]
		}
	}
	root, _, _ := programTree(programPatronictl, nil, out, outside)
	var found bytes.Buffer
	root.SetOut(&found)
	root.SetErr(new(bytes.Buffer))
	root.SetArgs(append(append([]string{cobra.ShellCompRequestCmd}, words[min(1, len(words)):]...), writing))
	if root.Execute() != nil {
		return exitFailed
	}
	for line := range strings.Lines(found.String()) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, ":") { // the directive comes last
			break
		}
		word, help, _ := strings.Cut(line, "\t")
		if !strings.HasPrefix(word, writing) {
			continue
		}
		switch shell {
		case "zsh":
			if help == "" {
				help = "_"
			}
			fmt.Fprintf(out, "plain\n%s\n%s\n", word, help)
		case "fish":
			fmt.Fprintf(out, "plain,%s\t%s\n", word, help)
		default:
			fmt.Fprintf(out, "plain,%s\n", word)
		}
	}
	return exitDone
}
