package cmd

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgha/ctl"
	"pgha/internal/config"
	"pgha/internal/dcs"
)

// asProgram: this test binary is pgha itself when the variable is set, for the
// shells below.
const asProgram = "PGHA_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(Main(os.Args))
	}
	os.Exit(m.Run())
}

// programs is a directory with the program under its three names.
func programs(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"pgha", "patronictl", "patroni"} {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// inShell runs a script of that shell with the programs in its path.
func inShell(t *testing.T, shell, script string) string {
	t.Helper()
	bin, err := exec.LookPath(shell)
	if err != nil {
		t.Skipf("%s is not installed", shell)
	}
	c := exec.Command(bin, "-c", script)
	c.Env = []string{"PATH=" + programs(t) + ":/usr/local/bin:/usr/bin:/bin", "HOME=" + t.TempDir(), asProgram + "=1", "PATRONI_SCOPE=shop"}
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil || stderr.Len() > 0 {
		t.Errorf("%s: %v: %s", shell, err, stderr.String())
	}
	return string(out)
}

// bashCompletes sources what prints a script and presses TAB behind a line.
func bashCompletes(t *testing.T, source, program, line string) []string {
	t.Helper()
	return strings.Fields(inShell(t, "bash", `
		[ ! -r /usr/share/bash-completion/bash_completion ] || . /usr/share/bash-completion/bash_completion
		# What the package bash-completion has, where it is not installed.
		declare -F _get_comp_words_by_ref >/dev/null || _get_comp_words_by_ref() {
			cur=${COMP_WORDS[COMP_CWORD]} words=("${COMP_WORDS[@]}") cword=$COMP_CWORD
		}
		compopt() { :; } # only inside of a real completion
		source <(`+source+`)
		COMP_LINE='`+line+`'
		COMP_WORDS=($COMP_LINE); [ "${COMP_LINE% }" = "$COMP_LINE" ] || COMP_WORDS+=("")
		COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_POINT=${#COMP_LINE} COMP_TYPE=9
		complete -p `+program+` | grep -q -- '-F __start_`+program+`' || echo 'no completion is registered'
		__start_`+program+`
		printf '%s\n' "${COMPREPLY[@]%% *}"`))
}

func TestBashCompletion(t *testing.T) {
	for _, tc := range []struct{ source, program, line, want string }{
		{"pgha completion bash", "pgha", "pgha ct", "ctl"},
		{"pgha completion bash", "pgha", "pgha ctl swi", "switchover"},
		{"pgha completion bash", "pgha", "pgha ctl history ", "shop"},
		{"pgha completion bash", "pgha", "pgha ctl list --format js", "json"},
		{"pgha completion bash", "pgha", "pgha ctl flush shop db1 re", "restart"},
		{"_PATRONICTL_COMPLETE=bash_source patronictl", "patronictl", "patronictl top", "topology"},
		{"_PATRONICTL_COMPLETE=bash_source patronictl", "patronictl", "patronictl restart ", "shop"},
		{"_PATRONICTL_COMPLETE=bash_source pgha ctl", "pgha", "pgha ctl swi", "switchover"},
	} {
		if got := strings.Join(bashCompletes(t, tc.source, tc.program, tc.line), " "); got != tc.want {
			t.Errorf("%q after `%s`: %q, want %q", tc.line, tc.source, got, tc.want)
		}
	}
}

func TestFishCompletion(t *testing.T) {
	for source, line := range map[string]string{"pgha completion fish": "pgha ctl swi", "env _PATRONICTL_COMPLETE=fish_source patronictl": "patronictl swi"} {
		if got := inShell(t, "fish", source+" | source; complete -C '"+line+"'"); !strings.HasPrefix(got, "switchover\t") {
			t.Errorf("%q: %q", line, got)
		}
	}
}

func TestZshCompletion(t *testing.T) {
	got := inShell(t, "zsh", `autoload -U compinit && compinit -u -D
		eval "$(_PATRONICTL_COMPLETE=zsh_source patronictl)"; eval "$(pgha completion zsh)"
		print -r -- ${_comps[patronictl]} ${_comps[pgha]}`)
	if got != "_patronictl _pgha\n" {
		t.Errorf("registered: %q", got)
	}
}

// A script that was saved when patronictl was Patroni's asks in its own way.
func TestSavedScriptsOfPatronictl(t *testing.T) {
	for _, tc := range []struct{ shell, words, word, want string }{
		{"bash", "patronictl swi", "1", "plain,switchover\n"},
		{"bash", "patronictl restart ", "2", "plain,shop\n"},
		{"bash", "patronictl list -f t", "3", "plain,tsv\n"},
		{"zsh", "patronictl swi", "1", "plain\nswitchover\nChange the leader as planned\n"},
		{"zsh", "patronictl restart", "2", "plain\nshop\n_\n"},
		{"fish", "patronictl swi", "swi", "plain,switchover\tChange the leader as planned\n"},
		{"bash", "patronictl swi", "x", ""},
		{"csh", "patronictl swi", "1", "plain,switchover\n"},
	} {
		w := newWorld(t)
		w.environ = append(w.environ, "_PATRONICTL_COMPLETE="+tc.shell+"_complete", "COMP_WORDS="+tc.words, "COMP_CWORD="+tc.word)
		var out, stderr bytes.Buffer
		runAs(t.Context(), "patronictl", nil, streams{strings.NewReader(""), &out, &stderr}, outside{environ: w.environ, open: w.open, now: w.now})
		if out.String() != tc.want || stderr.Len() > 0 {
			t.Errorf("%s %q: %q, want %q; stderr %q", tc.shell, tc.words, out.String(), tc.want, stderr.String())
		}
	}
}

// Members come from the DCS; where it fails there are none, and no complaint.
func TestMemberNamesAreCompleted(t *testing.T) {
	w := newWorld(t)
	w.setKeys("members/db1 {}\nmembers/db2 {}\n")
	fails := func(context.Context, *config.Local, string) (ctl.Store, error) { return nil, dcs.ErrUnavailable }
	for _, tc := range []struct {
		line string
		open func(context.Context, *config.Local, string) (ctl.Store, error)
		want string
	}{
		{"ctl restart shop ", w.open, "db1 db2"},
		{"ctl restart shop db1 ", w.open, "db2"},
		{"ctl restart other ", w.open, ""},
		{"ctl switchover --candidate ", w.open, "db1 db2"},
		{"ctl switchover shop --leader ", w.open, "db1 db2"},
		{"ctl flush shop db1 ", w.open, "db2 restart switchover"},
		{"ctl restart shop ", fails, ""},
		{"ctl -c /nowhere.yml restart ", fails, ""},
	} {
		var out, stderr bytes.Buffer
		args := append([]string{"__complete"}, strings.Split(tc.line, " ")...)
		code := run(t.Context(), args, streams{strings.NewReader(""), &out, &stderr}, outside{environ: w.environ, open: tc.open, now: w.now})
		words, _, _ := strings.Cut(out.String(), ":")
		if got := strings.Join(strings.Fields(words), " "); got != tc.want || code != 0 || strings.Contains(stderr.String(), "rror:") {
			t.Errorf("%q: %q, want %q (exit %d, %s)", tc.line, got, tc.want, code, stderr.String())
		}
	}
}

// A link to the program is Patroni's command of that name.
func TestProgramNames(t *testing.T) {
	for _, tc := range []struct {
		program, line, want string
		code                int
	}{
		{"patroni", "--version", "patroni 4.1.5\n", 0},
		{"patroni", "/nowhere.yml", "/nowhere.yml", 2},
		{"patroni", "a b", "", 2},
		{"patronictl", "nosuch", "Usage: patronictl [OPTIONS] COMMAND [ARGS]...\nTry 'patronictl --help' for help.\n\nError: No such command 'nosuch'.\n", 2},
		{"patronictl", "remove", "Usage: patronictl remove [OPTIONS] CLUSTER_NAME\nTry 'patronictl remove --help' for help.\n\nError: Missing argument 'CLUSTER_NAME'.\n", 2},
		{"patronictl", "list --no", "Usage: patronictl list [OPTIONS] [CLUSTER_NAMES]...\nTry 'patronictl list --help' for help.\n\nError: No such option: --no\n", 2},
		{"patronictl", "help", "No such command 'help'.", 2},
		{"patronictl", "list -f json nobody", "[]\n", 0},
		{"patronictl", "-k list -f json nobody", "[]\n", 0},
		{"anything", "ctl list -f json nobody", "[]\n", 0},
	} {
		w := newWorld(t)
		var out, stderr bytes.Buffer
		code := runAs(t.Context(), tc.program, strings.Fields(tc.line), streams{strings.NewReader(""), &out, &stderr}, outside{environ: w.environ, open: w.open, now: w.now})
		if got := out.String() + stderr.String(); code != tc.code || !strings.Contains(got, tc.want) {
			t.Errorf("%s %s: exit %d, want %d\n%s\nwant %s", tc.program, tc.line, code, tc.code, got, tc.want)
		}
	}
}
