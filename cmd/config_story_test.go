package cmd

import "testing"

// TestConfigStories runs testdata/config: `pgha config` as an operator types
// it, with the directives of TestCtlStories.
func TestConfigStories(t *testing.T) { runStories(t, "testdata/config") }
