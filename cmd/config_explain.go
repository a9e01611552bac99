package cmd

import "github.com/spf13/cobra"

func newConfigExplainCommand(outside outside) *cobra.Command { return &cobra.Command{Use: "explain"} }
