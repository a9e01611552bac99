package cmd

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pgha/internal/clusterops"
	"pgha/internal/render"
)

// choice is an option with a fixed set of values; wrong ones are refused with
// click's text.
type choice struct {
	value   string
	allowed []string
}

// String implements pflag.Value.
func (c *choice) String() string { return c.value }

// Type implements pflag.Value.
func (c *choice) Type() string { return strings.Join(c.allowed, "|") }

// Set implements pflag.Value.
func (c *choice) Set(v string) error {
	if !slices.Contains(c.allowed, v) {
		return fmt.Errorf("'%s' is not one of '%s'.", v, strings.Join(c.allowed, "', '")) //nolint:staticcheck // click's sentence
	}
	c.value = v
	return nil
}

func formatFlag(cmd *cobra.Command) *choice {
	c := &choice{value: "pretty", allowed: []string{"pretty", "tsv", "json", "yaml", "yml"}}
	cmd.Flags().VarP(c, "format", "f", "output format")
	return c
}

func (c *choice) format() render.Format {
	if c.value == "yml" {
		return render.YAML
	}
	return render.Format(c.value)
}

// roleFlag offers the roles; byDefault is used when the option is missing.
func roleFlag(cmd *cobra.Command, byDefault clusterops.Role, help string) *choice {
	c := &choice{value: string(byDefault)}
	for _, r := range clusterops.Roles() {
		c.allowed = append(c.allowed, string(r))
	}
	cmd.Flags().VarP(c, "role", "r", help)
	return c
}

func (c *choice) role() clusterops.Role { return clusterops.Role(c.value) }

// groupValue is --group: understood, and refused when used.
type groupValue struct {
	set bool
	n   int
}

// String implements pflag.Value.
func (g *groupValue) String() string {
	if !g.set {
		return ""
	}
	return strconv.Itoa(g.n)
}

// Type implements pflag.Value.
func (g *groupValue) Type() string { return "int" }

// Set implements pflag.Value.
func (g *groupValue) Set(v string) error {
	n, err := strconv.Atoi(v)
	if err != nil {
		return fmt.Errorf("'%s' is not a valid integer.", v) //nolint:staticcheck // click's sentence
	}
	g.set, g.n = true, n
	return nil
}

func (t *ctlTool) groupFlag(cmd *cobra.Command) {
	cmd.Flags().Var(&t.group, "group", "Citus group (not supported: refused)")
}

// secondsValue is a duration given as a number of seconds.
type secondsValue struct{ time.Duration }

// String implements pflag.Value.
func (s *secondsValue) String() string {
	return strconv.FormatFloat(s.Seconds(), 'f', -1, 64)
}

// Type implements pflag.Value.
func (s *secondsValue) Type() string { return "seconds" }

// Set implements pflag.Value.
func (s *secondsValue) Set(v string) error {
	n, err := strconv.ParseFloat(v, 64)
	if err != nil || n != n || n > 1e9 {
		return errors.New("'" + v + "' is not a valid float.")
	}
	s.Duration = time.Duration(n * float64(time.Second))
	return nil
}

// watchFlags are -W and -w; -w wins.
type watchFlags struct {
	every2 bool
	every  secondsValue
}

func (w *watchFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&w.every2, "watch-2s", "W", false, "repeat every 2 seconds, until Ctrl-C")
	cmd.Flags().VarP(&w.every, "watch", "w", "repeat at this interval, until Ctrl-C")
}

// interval between two rounds; zero: one round only.
func (w *watchFlags) interval() time.Duration {
	if w.every.Duration <= 0 && w.every2 {
		return 2 * time.Second
	}
	return w.every.Duration
}

// integerValue is a whole number, refused with click's text.
type integerValue int

// String implements pflag.Value.
func (i *integerValue) String() string { return strconv.Itoa(int(*i)) }

// Type implements pflag.Value.
func (i *integerValue) Type() string { return "int" }

// Set implements pflag.Value.
func (i *integerValue) Set(v string) error {
	n, err := strconv.Atoi(v)
	if err != nil {
		return fmt.Errorf("'%s' is not a valid integer.", v) //nolint:staticcheck // click's sentence
	}
	*i = integerValue(n)
	return nil
}
