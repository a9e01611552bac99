package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"pgha/internal/config"
)

// handoverProtocol is the version of what one program hands to the next
// (inherited). A newer one must read all older ones that it names in its
// greeting.
const handoverProtocol = 1

// handoverGreeting begins the one line with which a program says that it can
// take over: greeting, the protocols it reads, its version.
const handoverGreeting = "pgha-handover"

const (
	// checkPatience bounds the whole check of the next program.
	checkPatience = 20 * time.Second
	// greetPatience bounds the run of the next program in it.
	greetPatience = 10 * time.Second
)

// nextProgram is a program that was found fit to take over.
type nextProgram struct {
	Path    string
	Version string
}

// CheckHandover is what the next program does when it is asked whether it can
// take over (`pgha agent --handover-check -c FILE`, hidden): what it would
// refuse to start with, it says now. The line is for the program that asks.
// What --validate-config looks at beyond that, such as one etcd server of
// three that is down, is no reason against it.
func CheckHandover(o Options) (line string, err error) {
	local, err := config.LoadLocal(o.ConfigPath, o.Environ)
	if err != nil {
		return "", &ExitError{Code: exitConfig, Err: err}
	}
	if err := preflight(local); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %d %s", handoverGreeting, handoverProtocol, o.Version), nil
}

// ownProgram is the file that a hand-over executes: the one this process was
// called by if it still is the same, so that a link that is turned to a new
// version counts; else the file itself. To be called at the start: later the
// file may be another, or gone.
func ownProgram() string {
	file, err := os.Executable()
	if err != nil {
		file = os.Args[0]
	}
	called, err := exec.LookPath(os.Args[0])
	if err != nil {
		return file
	}
	if called, err = filepath.Abs(called); err != nil {
		return file
	}
	a, errA := os.Stat(called)
	b, errB := os.Stat("/proc/self/exe")
	if errA != nil || errB != nil || !os.SameFile(a, b) {
		return file
	}
	return called
}

// checkProgram asks the program on disk whether it can take over.
func checkProgram(ctx context.Context, path string, o Options) (nextProgram, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nextProgram{}, fmt.Errorf("the program to hand over to: %w", err)
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return nextProgram{}, fmt.Errorf("%s is not an executable file", path)
	}
	ctx, cancel := context.WithTimeout(ctx, greetPatience)
	defer cancel()
	args := []string{"agent", "--handover-check"}
	if o.ConfigPath != "" {
		args = append(args, "-c", o.ConfigPath)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Args[0] = "pgha" // whatever the link is called: the command line is pgha's own
	cmd.Env, cmd.WaitDelay = withoutNotify(o.Environ), time.Second
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err = cmd.Run()
	if ctx.Err() != nil {
		return nextProgram{}, fmt.Errorf("%s did not answer within %v whether it can take over", path, greetPatience)
	}
	said := strings.Fields(firstLine(out.String()))
	if err != nil {
		return nextProgram{}, complaintOf(path, err, complaint.String())
	}
	if len(said) < 3 || said[0] != handoverGreeting {
		return nextProgram{}, fmt.Errorf("%s is no pgha that can take over: asked for %q it said %q", path, handoverGreeting, firstLine(out.String()))
	}
	if protocol, err := strconv.Atoi(said[1]); err != nil || protocol < handoverProtocol {
		return nextProgram{}, fmt.Errorf("%s (pgha %s) speaks version %s of the hand-over, %d is needed: restart the agent instead", path, said[2], said[1], handoverProtocol)
	}
	return nextProgram{Path: path, Version: said[2]}, nil
}

// complaintOf puts what the program printed into one line.
func complaintOf(path string, err error, text string) error {
	exit := new(exec.ExitError)
	switch line := firstLine(text); {
	case !errors.As(err, &exit):
		return fmt.Errorf("%s cannot be run: %w", path, err)
	case strings.Contains(text, "--handover-check"):
		return fmt.Errorf("%s is a pgha without hand-over: restart the agent instead", path)
	case line == "":
		return fmt.Errorf("%s is no pgha that can take over (%w)", path, err)
	default:
		return fmt.Errorf("%s would not start: %s", path, strings.TrimPrefix(line, "pgha: error: "))
	}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if len(line) > 300 {
		line = line[:300] + "..."
	}
	return strings.ToValidUTF8(line, "?")
}

// withoutNotify is an environment in which nobody speaks to systemd in our name.
func withoutNotify(environ []string) []string {
	var out []string
	for _, v := range environ {
		if !strings.HasPrefix(v, "NOTIFY_SOCKET=") && !strings.HasPrefix(v, "WATCHDOG_") {
			out = append(out, v)
		}
	}
	return out
}
