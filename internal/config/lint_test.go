package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func printRemarks(remarks []Remark) string {
	var b strings.Builder
	for _, r := range remarks {
		b.WriteString(r.String() + "\n")
		if r.Remedy != "" {
			b.WriteString("    " + r.Remedy + "\n")
		}
		for line := range strings.Lines(r.Corrected) {
			b.WriteString("    | " + line)
		}
	}
	return b.String()
}

// The slides as printed: each slip with its line, the reason and the text to
// write; the files as they were meant: nothing (rulings 24).
func TestLintTalk(t *testing.T) {
	files, err := filepath.Glob(talk + "*.yml")
	if err != nil || len(files) < 6 {
		t.Fatalf("the talk's files: %q, %v", files, err)
	}
	var b strings.Builder
	for _, file := range files {
		remarks, err := LintPath(file)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("# " + filepath.Base(file) + "\n" + printRemarks(remarks))
	}
	golden(t, "lint/talk.golden", b.String())
}

func TestLint(t *testing.T) {
	for _, name := range []string{"ranges.yml", "dir", "../warnings.yml"} {
		t.Run(name, func(t *testing.T) {
			remarks, err := LintPath("testdata/lint/" + name)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "lint/"+strings.TrimPrefix(strings.TrimSuffix(name, ".yml"), "../")+".golden", printRemarks(remarks))
		})
	}
	t.Run("dynamic", func(t *testing.T) {
		data, err := os.ReadFile("testdata/lint/config.json")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "lint/config.golden", printRemarks(LintDynamic(data, "config.json")))
	})
}

// What lint says to write is right: written there, nothing is left to say.
func TestLintCorrectionsHold(t *testing.T) {
	cases := []string{
		"ttl: 60\n", "nmae: a\n", "postgresql: {use_slots: false}\n", "bootstrap: {postgresql: {pg_hba: [local all all peer]}}\n",
		"postgresql: {on_start: /bin/true}\n", "bootstrap: {dcs: {tags: {noloadbalance: true}}}\n", "tags: {nofailover: 'off'}\n",
		"postgresql: {parameters: {max_connections: 50}}\n", "bootstrap: {dcs: {ttl: 20, loop_wait: 10, retry_timeout: 8}}\n",
		"postgresql: {pg_hba: local all all peer}\n", "scope: [a]\n", "name: on\n", "bootstrap: {dcs: {ttl: 30, loop_wait: 0}}\n",
		"restapi: {cacert: /x, listen: 'a:1', certfile: /c}\n", "postgresql: {parameters: {shared_preload_libraries: [a, b]}}\n",
		"postgresql: {parameters: {shared_bufers: 1GB}}\n", "bootstrap: {dcs: {postgresql: {parameters: {work_mem: 1kB}}}}\n",
	}
	for _, text := range cases {
		remarks := LintText([]byte(text), "f.yml")
		if len(remarks) != 1 || remarks[0].Corrected == "" {
			t.Errorf("%q: want one remark with a correction, got\n%s", text, printRemarks(remarks))
			continue
		}
		if rest := LintText([]byte(remarks[0].Corrected), "f.yml"); len(rest) > 0 {
			t.Errorf("%q: the correction %q is not clean:\n%s", text, remarks[0].Corrected, printRemarks(rest))
		}
	}
}

func TestLintDynamicIsClean(t *testing.T) {
	for _, text := range []string{`{}`, `{"ttl":30,"postgresql":{"parameters":{"max_connections":200,"pg_stat_statements.max":"100"}}}`, "ttl: 30\n"} {
		if remarks := LintDynamic([]byte(text), "x"); len(remarks) > 0 {
			t.Errorf("%s:\n%s", text, printRemarks(remarks))
		}
	}
}

func TestLintUnreadable(t *testing.T) {
	for _, path := range []string{"testdata/none.yml", "/dev/null", t.TempDir()} {
		if remarks, err := LintPath(path); err == nil {
			t.Errorf("%s: %v", path, remarks)
		}
	}
}

// No message and no corrected text shows a password.
func TestLintHidesSecrets(t *testing.T) {
	for _, text := range []string{
		"password: tiger: x\n", "postgresql:\n  replication: {username: r, password: tiger}\n  authentication: {superuser: {}}\n",
		"passwrod: tiger\n", "restapi: {authentication: tiger}\n", "etcd3: {url: 'http://u:tiger@'}\n",
		"bootstrap: {postgresql: {recovery_conf: {primary_conninfo: 'host=a password=tiger'}}}\n", "restapi: {password: tiger}\n",
		"password: [tiger]\n", "name: {password: tiger}\n", "etcd3: {urls: 'http://u:tiger@h'}\n",
	} {
		out := printRemarks(LintText([]byte(text), "f.yml"))
		if strings.Contains(out, "tiger") && !strings.HasPrefix(text, "passwrod") && !strings.HasPrefix(text, "restapi: {auth") {
			t.Errorf("%q:\n%s", text, out)
		}
		if out == "" {
			t.Errorf("%q: nothing found", text)
		}
	}
}

func TestMasked(t *testing.T) {
	cases := map[string]string{
		"http://u:tiger@h:1/x": "http://u:***@h:1/x", "host=a password=tiger user=b": "host=a password=*** user=b",
		"host=a password='ti ger' user=b": "host=a password=*** user=b", "plain": "plain", "http://h:1": "http://h:1",
		"PGPASSWORD=tiger cp %f": "PGPASSWORD=*** cp %f",
	}
	for in, want := range cases {
		if got := Masked("postgresql.x", in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	for path, secret := range map[string]bool{
		"ctl.authentication.password": true, "restapi.keyfile_password": true, "tags.token": true, "restapi.server_tokens": false,
		"postgresql.parameters.password_encryption": false, "etcd3.password_file": false, "name": false,
	} {
		if IsSecret(path) != secret {
			t.Errorf("%s: secret %v", path, !secret)
		}
	}
	got := Masked("", map[string]any{"a": []any{map[string]any{"password": int64(5)}}, "sslpassword": nil})
	if !EqualText(got, map[string]any{"a": []any{map[string]any{"password": hidden}}, "sslpassword": nil}) {
		t.Errorf("nested: %v", got)
	}
}

func TestLintOrder(t *testing.T) {
	remarks, err := LintPath("testdata/lint/ranges.yml")
	if err != nil {
		t.Fatal(err)
	}
	lines := make([]int, len(remarks))
	for i, r := range remarks {
		lines[i] = r.Line
		if r.Line == 0 || r.File == "" {
			t.Errorf("no place: %v", r)
		}
	}
	if !slices.IsSorted(lines) {
		t.Errorf("lines %v", lines)
	}
}
