package ctl

import "testing"

// Where the second hunk begins counts every line that the first one added,
// also when unchanged lines lie between its changes (seen beside patronictl).
func TestDiffNumbersEveryHunk(t *testing.T) {
	before := "loop_wait: 2\nlag: 1\nparameters:\n  a: 1\n  b: 2\n  c: 3\n  d: 4\n  e: 5\n  f: 6\n  g: 7\nretry: 3\nttl: 20\n"
	after := "first: 1\nloop_wait: 2\nlag: 1\nparameters:\n  a: 1\n  aa: 1\n  b: 2\n  c: 3\n  d: 4\n  e: 5\n  f: 6\n  g: 7\nretry: 3\n"
	want := "--- \n+++ \n@@ -1,7 +1,9 @@\n+first: 1\n loop_wait: 2\n lag: 1\n parameters:\n   a: 1\n+  aa: 1\n   b: 2\n   c: 3\n   d: 4\n" +
		"@@ -9,4 +11,3 @@\n   f: 6\n   g: 7\n retry: 3\n-ttl: 20\n"
	if got := diff(before, after); got != want {
		t.Errorf("got:\n%s\nwant (difflib's):\n%s", got, want)
	}
	if got := diff("", "a: 1\n"); got != "--- \n+++ \n@@ -0,0 +1 @@\n+a: 1\n" {
		t.Errorf("from nothing: %q", got)
	}
}
