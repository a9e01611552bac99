package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pgha/internal/config"
	"pgha/internal/render"
)

// explainCommand is `pgha config explain`.
type explainCommand struct {
	outside outside
	file    string
	noDCS   bool
	role    string
	format  *outputFlag
}

// dcsPatience bounds the look at the DCS.
const dcsPatience = 4 * time.Second

func newConfigExplainCommand(outside outside) *cobra.Command {
	e := &explainCommand{outside: outside}
	c := &cobra.Command{
		Use:   "explain [KEY]",
		Short: "Show each setting in force, where it comes from, and what was ignored",
		Long: `Show each setting in force on this member, where it comes from (file and line,
environment variable, the dynamic configuration and its revision, a default, or
forced), and below it what was ignored and why. Passwords are shown as ***.

KEY is a dotted path or the beginning of one (postgresql.parameters), or a name
without its section (max_connections). Without KEY everything is shown, but for
keys that are set nowhere and have no default.

The dynamic configuration is read from the DCS, for at most 4 seconds. When that
cannot be reached, or with --no-dcs, it is the copy that the agent keeps in the
data directory, else bootstrap.dcs of the file; it is said which. Without -c the
file is /etc/patroni/patroni.yml, /etc/patroni/config.yml or what
PATRONICTL_CONFIG_FILE names; PATRONI_* variables come on top.

It explains files and variables as they are now: a running agent may not have
read them yet (pgha ctl reload).

Exit codes: 0 shown; 2 no such key, or the configuration cannot be used.`,
		Example: `  $ pgha config explain ttl -c patroni.yml
  ttl = 30    /service/demo/config, revision 12
      60 (patroni.yml:3:1): ignored here: belongs in bootstrap.dcs.ttl; ...
  pgha config explain postgresql.parameters --no-dcs
  pgha config explain -f json | jq '.[] | select(.source != "default")'`,
		DisableFlagsInUseLine: true,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageErrorf("one key is expected, got also %q; see: %s --help", args[1], c.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			key := ""
			if len(args) == 1 {
				key = args[0]
			}
			return e.run(cmd, key)
		},
	}
	c.Flags().StringVarP(&e.file, "config", "c", "", "patroni.yml, or a directory of *.yml files")
	c.Flags().BoolVar(&e.noDCS, "no-dcs", false, "do not ask the DCS")
	c.Flags().StringVar(&e.role, "role", "", "apply the sections of this role: primary, replica, standby_leader")
	e.format = addOutputFlag(c, "pretty", "json", "yaml", "tsv")
	return c
}

func (e *explainCommand) run(cmd *cobra.Command, key string) error {
	switch e.role {
	case "", "primary", "replica", "standby_leader":
	default:
		return usageErrorf("--role %s: expected primary, replica or standby_leader", e.role)
	}
	local, err := loadForTools(e.file, e.outside)
	if err != nil {
		return err
	}
	warn := func(format string, args ...any) {
		fmt.Fprintf(cmd.ErrOrStderr(), "pgha: "+format+"\n", args...)
	}
	layers := config.Layers{Local: local, Server: config.ServerFacts{Role: e.role}}
	layers.Dynamic, layers.From = e.dynamic(cmd.Context(), local, warn)
	rows, warnings := config.Explain(layers)
	for _, w := range warnings {
		warn("%s", w)
	}
	if key != "" {
		selected, suggestion := config.SelectExplanations(rows, key)
		switch {
		case len(selected) > 0:
			rows = selected
		case suggestion == strings.TrimPrefix(key, "bootstrap.dcs."):
			warn("%s is set nowhere and has no default", key)
			rows = nil
		case suggestion != "":
			return usageErrorf("there is no key %s, and nothing of that name is set; did you mean %s?", key, suggestion)
		default:
			return usageErrorf("there is no key %s, and nothing of that name is set", key)
		}
	}
	if e.format.format() == render.Pretty {
		printExplanations(cmd.OutOrStdout(), rows)
		return nil
	}
	return render.Write(cmd.OutOrStdout(), e.format.format(), explanationTable(rows))
}

// loadForTools reads the local configuration for commands that are no agent:
// -c, PATRONICTL_CONFIG_FILE, or the first of the usual files (rulings 48).
func loadForTools(file string, o outside) (*config.Local, error) {
	t := &ctlTool{outside: o, file: file}
	if file == "" {
		path, err := t.configFile()
		if err != nil {
			return nil, usageError{err}
		}
		file = path
	} else if _, err := os.ReadDir(file); err != nil {
		f, openErr := os.Open(file)
		if openErr != nil && !errors.Is(openErr, os.ErrNotExist) {
			return nil, usageError{plainPathError(file, openErr)}
		}
		if openErr == nil {
			f.Close()
		}
	}
	local, err := config.LoadLocal(file, o.environ)
	if bad := new(config.Error); errors.As(err, &bad) {
		return nil, configError{bad}
	}
	if err != nil {
		return nil, usageError{err}
	}
	return local, nil
}

// configError is an unusable configuration, with its remedy.
type configError struct{ cause *config.Error }

// Error is the cause's own line.
func (c configError) Error() string { return c.cause.Error() }

// Unwrap returns the cause.
func (c configError) Unwrap() error { return c.cause }

// ExitCode implements coded.
func (configError) ExitCode() int { return exitUsage }

// Hint implements hinted.
func (c configError) Hint() string { return strings.Join(strings.Fields(c.cause.Remedy), " ") }

// dynamic finds the dynamic configuration and says where; from is empty for
// bootstrap.dcs.
func (e *explainCommand) dynamic(ctx context.Context, local *config.Local, warn func(string, ...any)) (doc config.Document, from string) {
	if !e.noDCS {
		doc, from, err := e.fromDCS(ctx, local)
		if err == nil {
			return doc, from
		}
		warn("the dynamic configuration is not from the DCS: %v", err)
	}
	path := filepath.Join(local.PostgreSQL.DataDir, "patroni.dynamic.json")
	if text, err := os.ReadFile(path); err == nil && local.PostgreSQL.DataDir != "" {
		doc, err := config.ParseDocument(text)
		if err == nil && !doc.IsEmpty() {
			warn("the dynamic configuration shown is the agent's copy, %s", path)
			return doc, path
		}
		warn("%s is ignored: %v", path, err)
	}
	warn("the dynamic configuration shown is bootstrap.dcs of the local configuration, which counts only until a cluster exists")
	return config.DocumentFromMap(config.BootstrapDocument(local)), ""
}

func (e *explainCommand) fromDCS(ctx context.Context, local *config.Local) (config.Document, string, error) {
	if err := local.CheckDCS(); err != nil {
		return config.Document{}, "", err
	}
	if local.Scope == "" {
		return config.Document{}, "", errors.New("scope is not set")
	}
	ctx, cancel := context.WithTimeout(ctx, dcsPatience)
	defer cancel()
	store, err := e.outside.open(ctx, local, local.Scope)
	if err != nil {
		return config.Document{}, "", err
	}
	defer store.Close()
	cluster, err := store.Load(ctx)
	if err != nil {
		return config.Document{}, "", err
	}
	key := local.Namespace + "/" + local.Scope + "/config"
	switch {
	case cluster.Config == nil:
		return config.Document{}, "", fmt.Errorf("there is no key %s", key)
	case !cluster.Config.Valid:
		return config.Document{}, "", fmt.Errorf("the key %s holds no JSON object", key)
	}
	doc, err := config.ParseDocument(cluster.Config.Raw)
	if err == nil && doc.IsEmpty() {
		err = fmt.Errorf("the key %s is empty", key)
	}
	return doc, fmt.Sprintf("%s, revision %d", key, cluster.Config.Revision), err
}

// printExplanations writes one line a key, and what was ignored below it.
func printExplanations(w io.Writer, rows []config.Explanation) {
	width := 0
	lines := make([]string, len(rows))
	const widest = 60
	for i, r := range rows {
		lines[i] = r.Key
		if r.Source != config.SourceIgnored {
			lines[i] = r.Key + " = " + oneLine(r.Value)
		}
		if n := len([]rune(lines[i])); n <= widest {
			width = max(width, n)
		}
	}
	for i, r := range rows {
		source := r.Source
		if r.Takes == config.AtServerRestart && !slices.Contains([]string{config.SourceIgnored, config.SourceDefault}, source) && !strings.HasPrefix(source, "forced") {
			source += " (a change needs a PostgreSQL restart)"
		}
		fmt.Fprintf(w, "%-*s  %s\n", width, lines[i], source)
		for _, n := range r.Notes {
			switch {
			case n.Value != nil && n.Source != "":
				fmt.Fprintf(w, "    %s (%s): %s\n", oneLine(n.Value), n.Source, n.Why)
			case n.Source != "":
				fmt.Fprintf(w, "    %s: %s\n", n.Source, n.Why)
			default:
				fmt.Fprintf(w, "    %s\n", n.Why)
			}
		}
	}
}

// oneLine is a value as YAML would have it in one line.
func oneLine(v any) string {
	switch v := v.(type) {
	case map[string]any, []any:
		return render.FlowYAML(v)
	case string:
		if v != "" && v == strings.TrimSpace(v) && !strings.ContainsAny(v, "\n\r\t") {
			return v
		}
	}
	return strings.TrimSuffix(string(config.EncodeYAML(v)), "\n")
}

func explanationTable(rows []config.Explanation) render.Table {
	t := render.Table{Columns: []render.Column{{Title: "key"}, {Title: "value"}, {Title: "source"}, {Title: "takes_effect"}, {Title: "ignored"}}}
	for _, r := range rows {
		notes := make([]any, len(r.Notes))
		for i, n := range r.Notes {
			notes[i] = map[string]any{"value": n.Value, "source": n.Source, "reason": n.Why}
		}
		t.Rows = append(t.Rows, []any{r.Key, r.Value, r.Source, string(r.Takes), notes})
	}
	return t
}
