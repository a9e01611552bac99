package postgres

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// syncValues are values with what they mean; nil: PostgreSQL refuses them.
var syncValues = map[string]*SyncNames{
	"":                  {},
	"a":                 {SyncFirst, 1, []string{"a"}},
	"*":                 {SyncFirst, 1, []string{"*"}},
	"a, b":              {SyncFirst, 1, []string{"a", "b"}},
	"3":                 {SyncFirst, 1, []string{"3"}},
	"3,4":               {SyncFirst, 1, []string{"3", "4"}},
	"2 (a,b,c)":         {SyncFirst, 2, []string{"a", "b", "c"}},
	"1(3)":              {SyncFirst, 1, []string{"3"}},
	"FIRST 2 (a, *)":    {SyncFirst, 2, []string{"a", "*"}},
	"first\t2\n(a\r,b)": {SyncFirst, 2, []string{"a", "b"}},
	"ANY 1 (*)":         {SyncAny, 1, []string{"*"}},
	"aNy 01(a)":         {SyncAny, 1, []string{"a"}},
	`"a""b", "x y"`:     {SyncFirst, 1, []string{`a"b`, "x y"}},
	`ANY 2 ("any",b$1)`: {SyncAny, 2, []string{"any", "b$1"}},
	`""`:                {SyncFirst, 1, []string{""}},
	"é_1":               {SyncFirst, 1, []string{"é_1"}},
	`"*"`:               {SyncFirst, 1, []string{"*"}},
	"first1":            {SyncFirst, 1, []string{"first1"}},

	" ": nil, "any": nil, "first": nil, "ANY (a)": nil, "ANY 1": nil, "ANY 1 a": nil, "ANY 1 ()": nil, "ANY 1 (a": nil,
	"ANY 1 (a))": nil, "FIRST 1 (a,)": nil, "a,": nil, ",a": nil, "a b": nil, "0 (a)": nil, "-1 (a)": nil, "a-b": nil,
	"$a": nil, "1a": nil, `"a`: nil, "(a)": nil, "first1 (a)": nil, "ANY1(a)": nil, "ANY 1 (any)": nil, "a,,b": nil, "a\vb": nil,
	"2 (a) b": nil, "'a'": nil, "a;b": nil,
}

func TestParseSyncNames(t *testing.T) {
	for text, want := range syncValues {
		got, err := ParseSyncNames(text)
		if want == nil {
			if err == nil {
				t.Errorf("%q was read as %+v", text, got)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, *want) {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, *want)
		}
	}
	for text, want := range map[string]string{
		"ANY (a)":         `synchronous_standby_names: character 5: expected a number, got "("`,
		"FIRST 1 (a,)":    `synchronous_standby_names: character 12: expected a name, got ")"`,
		"ANY 1 (a":        `synchronous_standby_names: character 9: expected "," or ")", got the end`,
		"a b":             `synchronous_standby_names: character 3: expected the end, got "b"`,
		"0 (a)":           `synchronous_standby_names: character 1: the number of standbys must be from 1 to 2147483647, got 0`,
		`a, "b`:           `synchronous_standby_names: character 4: expected a name, got a quoted name without its closing quote`,
		"a-b":             `synchronous_standby_names: character 2: expected the end, got "-"`,
		"99999999999 (a)": `synchronous_standby_names: character 1: the number of standbys must be from 1 to 2147483647, got 99999999999`,
	} {
		if _, err := ParseSyncNames(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSyncNamesLists(t *testing.T) {
	s, err := ParseSyncNames(`ANY 1 (PG01, "pg 2")`)
	if err != nil || !s.Lists("pg01") || !s.Lists("PG 2") || s.Lists("pg03") || s.Lists("*") {
		t.Errorf("%+v, %v", s, err)
	}
	if all, _ := ParseSyncNames("*"); !all.Lists("anybody") {
		t.Error("* does not list everybody")
	}
	if none := (SyncNames{}); none.Lists("") {
		t.Error("nothing lists somebody")
	}
}

// A real PostgreSQL accepts and refuses the same values.
func TestSyncNamesAsPostgreSQL(t *testing.T) {
	t.Parallel()
	postgres := "/usr/lib/postgresql/15/bin/postgres"
	if _, err := os.Stat(postgres); err != nil {
		t.Skipf("needs PostgreSQL 15: %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "postgresql.conf"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var values []string
	for v := range syncValues {
		values = append(values, v)
	}
	// And some that nobody thought of, out of the same words.
	words := []string{"ANY", "first", "1", "2", "(", ")", ",", " ", "a", "*", `"`, `""`, "$", "é", "\t", "-"}
	random := rand.New(rand.NewPCG(15, 18))
	for range 12 {
		var b strings.Builder
		for range 1 + random.IntN(8) {
			b.WriteString(words[random.IntN(len(words))])
		}
		values = append(values, b.String())
	}
	for _, v := range values {
		out, err := exec.Command(postgres, "-C", "synchronous_standby_names", "-D", dir, "-c", "synchronous_standby_names="+v).CombinedOutput()
		_, own := ParseSyncNames(v)
		if (err == nil) != (own == nil) {
			t.Errorf("%q: PostgreSQL %v, we %v\n%s", v, err, own, out)
		}
	}
}

func FuzzSyncNames(f *testing.F) {
	for text := range syncValues {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSyncNames(text)
		if err != nil {
			if at := err.(*SyncNamesError).Position; at < 1 || at > len(text)+1 {
				t.Errorf("%q: position %d", text, at)
			}
			return
		}
		again, err := ParseSyncNames(s.String())
		if err != nil || !reflect.DeepEqual(again, s) {
			t.Errorf("%q: %+v, printed %q, read %+v, %v", text, s, s, again, err)
		}
		if s.Method != SyncNone && (s.Num < 1 || len(s.Names) == 0) {
			t.Errorf("%q: %+v", text, s)
		}
	})
}
