package cmd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"pgha/ctl"
	"pgha/internal/clock"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/dcs/dcstest"
)

// TestCtlStories runs testdata/ctl: command lines against a DCS in memory and
// agents that answer as told. The texts of the commands are those that
// patronictl 4.1.5 printed for the same keys and answers. Directives:
//
//	dcs     KEY VALUE lines replace the scope shop; {db1} is an agent's address
//	agents  MEMBER METHOD /PATH CODE TEXT lines: how agents answer
//	file    name=F: the input becomes a file in the working directory
//	env     NAME=VALUE lines replace the environment
//	run     first line: arguments; the other lines: standard input
func TestCtlStories(t *testing.T) {
	runStories(t, "testdata/ctl")
}

func runStories(t *testing.T, dir string) {
	stories, err := filepath.Abs(dir) // each story works in a directory of its own
	if err != nil {
		t.Fatal(err)
	}
	datadriven.Walk(t, stories, func(t *testing.T, path string) {
		w := newWorld(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "dcs":
				w.setKeys(d.Input)
			case "agents":
				w.agents.set(d.Input)
			case "env":
				w.environ = strings.Split(d.Input, "\n")
			case "file":
				var name string
				d.ScanArgs(t, "name", &name)
				if err := os.WriteFile(filepath.Join(w.dir, name), []byte(d.Input+"\n"), 0o700); err != nil {
					t.Fatal(err)
				}
			case "run":
				return w.run(t, d.Input)
			default:
				t.Fatalf("unknown directive %q", d.Cmd)
			}
			return "ok"
		})
	})
}

// world is everything outside of one story's commands.
type world struct {
	dir     string
	memory  *dcstest.Memory
	keys    []string
	agents  *agents
	environ []string
	zone    *time.Location
}

func newWorld(t *testing.T) *world {
	w := &world{dir: t.TempDir(), memory: dcstest.NewMemory(clock.System{}), agents: newAgents(t), zone: time.FixedZone("", 3600)}
	t.Chdir(w.dir)
	t.Setenv("TMPDIR", w.dir)
	w.environ = []string{"PATRONI_SCOPE=shop", "PATRONI_ETCD3_HOST=127.0.0.1:1", "PATH=" + os.Getenv("PATH"), "EDITOR=false"}
	return w
}

func (w *world) setKeys(input string) {
	for _, k := range w.keys {
		w.memory.Delete(dcs.Key(k))
	}
	w.keys = nil
	for line := range strings.Lines(input) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		w.keys = append(w.keys, key)
		w.memory.Put(dcs.Key(key), w.agents.insertURLs(value))
	}
}

// open gives the scope shop, and an empty one for any other name.
func (w *world) open(_ context.Context, _ *config.Local, scope string) (ctl.Store, error) {
	if scope == "shop" {
		return w.memory.Open("", time.Minute), nil
	}
	return dcstest.NewMemory(clock.System{}).Open("", time.Minute), nil
}

func (w *world) now() time.Time {
	return time.Date(2031, 2, 3, 4, 5, 6, 789019000, time.UTC).In(w.zone)
}

func (w *world) run(t *testing.T, input string) string {
	line, stdin, _ := strings.Cut(input, "\n")
	if stdin != "" {
		stdin += "\n"
	}
	before := w.stored(t)
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	code := run(ctx, splitArgs(line), streams{strings.NewReader(stdin), &stdout, &stderr}, outside{
		environ: w.environ, open: w.open, now: w.now, tick: time.Millisecond,
	})
	var out strings.Builder
	section := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&out, "%s:\n%s", name, text)
			if !strings.HasSuffix(text, "\n") {
				out.WriteString(" (no line break)\n")
			}
		}
	}
	section("stdout", stdout.String())
	section("stderr", stderr.String())
	section("requests", w.agents.takeRequests())
	if after := w.stored(t); after != before {
		section("stored", after)
	}
	fmt.Fprintf(&out, "exit %d\n", code)
	text := strings.ReplaceAll(w.agents.removeURLs(out.String()), w.dir, "$DIR")
	return temporary.ReplaceAllString(text, "-config-N.yaml")
}

// temporary is the random part of the file an editor works on.
var temporary = regexp.MustCompile(`-config-\d+\.yaml`)

// stored is what commands can change in the DCS.
func (w *world) stored(t *testing.T) string {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c, err := w.memory.Open("", time.Minute).Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("members %d\n", len(c.Members))
	if c.Config != nil {
		text += "config " + string(c.Config.Raw) + "\n"
	}
	if c.Failover != nil {
		text += "failover " + string(dcs.EncodeFailover(c.Failover)) + "\n"
	}
	return text
}

// splitArgs splits at blanks; single quotes keep a blank in an argument.
func splitArgs(line string) []string {
	var args []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			args = append(args, part)
			continue
		}
		args = append(args, strings.Fields(part)...)
	}
	return args
}

// agents are three REST servers; db4 is an address where nobody listens.
type agents struct {
	urls map[string]string

	mu       sync.Mutex
	answers  map[string]string
	requests strings.Builder
}

func newAgents(t *testing.T) *agents {
	a := &agents{urls: map[string]string{"{db4}": "http://127.0.0.1:1"}, answers: make(map[string]string)}
	for _, name := range []string{"db1", "db2", "db3"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.serve(w, r, name) }))
		t.Cleanup(server.Close)
		a.urls["{"+name+"}"] = server.URL
	}
	return a
}

func (a *agents) serve(w http.ResponseWriter, r *http.Request, name string) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	defer a.mu.Unlock()
	request := fmt.Sprintf("%s %s %s", name, r.Method, r.URL.Path)
	fmt.Fprintln(&a.requests, strings.TrimSpace(request+" "+string(body)))
	code, text := 503, "not told what to answer"
	if answer, ok := a.answers[request]; ok {
		fmt.Sscan(answer, &code)
		_, text, _ = strings.Cut(answer, " ")
	}
	w.WriteHeader(code)
	io.WriteString(w, text)
}

func (a *agents) set(input string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.answers)
	for line := range strings.Lines(input) {
		words := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		a.answers[strings.Join(words[:3], " ")] = words[3]
	}
}

func (a *agents) takeRequests() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.requests.Reset()
	return a.requests.String()
}

func (a *agents) insertURLs(s string) string {
	for mark, url := range a.urls {
		s = strings.ReplaceAll(s, mark, url)
	}
	return s
}

func (a *agents) removeURLs(s string) string {
	for mark, url := range a.urls {
		s = strings.ReplaceAll(s, url, mark)
		s = strings.ReplaceAll(s, strings.TrimPrefix(url, "http://"), mark)
	}
	return s
}
