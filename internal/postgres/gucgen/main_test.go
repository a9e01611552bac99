package main

import (
	"os"
	"strings"
	"testing"
)

// The table in the repository is what the generator writes: nobody edited it,
// and filling in the majors between is part of it.
func TestTableIsGenerated(t *testing.T) {
	text, err := os.ReadFile("../guc.tsv")
	if err != nil {
		t.Fatal(err)
	}
	asked, err := parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(asked) < 4 || print(asked) != string(text) {
		t.Errorf("%d majors were asked; go run ./internal/postgres/gucgen changes the table", len(asked))
	}
}

// A major that could not be asked gets what its neighbours agree on, the wider
// of two rules, and what the lists of came and went say.
func TestFill(t *testing.T) {
	num := func(name, low, high string) rule {
		return rule{name: name, vartype: "integer", low: low, high: high}
	}
	asked := table{
		13: {"both": num("both", "0", "10"), "gone": num("gone", "0", "1"), "stats_temp_directory": {name: "stats_temp_directory"}},
		15: {"both": num("both", "1", "1e3"), "new": num("new", "0", "1"), "idle_session_timeout": num("idle_session_timeout", "0", "1")},
	}
	text := print(asked)
	for _, line := range []string{
		"both\t13\t13\tinteger\t\t0\t10\t\t\n", "both\t14\t14\tinteger\t\t0\t1e3\t\t\n", "both\t15\t15\tinteger\t\t1\t1e3\t\t\n",
		"gone\t13\t13\t", "new\t15\t15\t", "idle_session_timeout\t14\t15\t", "stats_temp_directory\t13\t14\t", "# asked: 13 15\n",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("missing %q in\n%s", line, text)
		}
	}
}
