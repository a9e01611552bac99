// Package cmd is pgha's command line: flags and environment become an options
// struct, one call of a feature package does the work, and errors become text
// and exit codes here and nowhere else.
package cmd

// Main runs the command line and returns the process's exit code.
func Main(args []string) int {
	return 0
}
