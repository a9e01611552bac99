package ha

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"pgha/internal/dcs"
)

// TestScenarios runs testdata/*.txt: what one member does in one cycle, step
// by step. The facts are what the cycle sees; the answer is every line it
// says, every action with its outcome, and the cycle's reason. Re-record with
// `go test ./agent/ha -run Scenarios -rewrite`, and read the difference.
//
// `decide a` is a cycle of member a of the three members a, b and c. Without
// facts to the contrary all are registered, a runs as a replica at 0/5000000
// on timeline 1, and nobody leads. facts_test.go lists the words.
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd != "decide" || len(d.CmdArgs) != 1 {
				t.Fatalf("%s: want `decide <member>`", d.Pos)
			}
			w, err := parseFacts(d.CmdArgs[0].Key, d.Input)
			if err != nil {
				t.Fatalf("%s: %v", d.Pos, err)
			}
			return w.cycle()
		})
	})
}

// cycle asks until the decision is to rest, as the loop does, and writes down
// what happens.
func (w *world) cycle() string {
	var b strings.Builder
	for range 40 {
		d := Decide(w.in)
		w.in.Memory, w.in.Finished = d.Memory, nil
		for _, l := range d.Says {
			fmt.Fprintf(&b, "%s: %s\n", [...]string{"info", "warning", "error", "critical"}[l.Level], l.Text)
		}
		switch a := d.Action.(type) {
		case Rest:
			if a.Again > 0 {
				fmt.Fprintf(&b, "rest %v\n", a.Again)
			} else {
				b.WriteString("rest\n")
			}
		case Exit:
			fmt.Fprintf(&b, "exit %d\n", a.Code)
		case StartJob:
			fmt.Fprintf(&b, "start job: %s\n", describeJob(a.Job))
		default:
			b.WriteString(w.act(a) + "\n")
			continue
		}
		fmt.Fprintf(&b, "%s (%s)\n", d.Reason, d.Reason.Code)
		if d.Note != "" {
			fmt.Fprintf(&b, "note: %s\n", d.Note)
		}
		return b.String()
	}
	return b.String() + "TOO MANY STEPS\n"
}

func describeJob(j JobSpec) string {
	out := j.Name
	if j.Kind == JobStop {
		out += " (stop " + string(j.Mode)
		if j.Checkpoint {
			out += " after a checkpoint"
		}
		out += ")"
	}
	if j.Source != nil && !strings.Contains(out, j.Source.Name) {
		out += " from " + j.Source.Name
	}
	return out
}

// act does an action in the world of the facts: its outcome is what they say,
// else success.
func (w *world) act(a Action) string {
	t := &w.in.Tried
	switch a := a.(type) {
	case Reload:
		t.Reloaded++
		w.in.Cluster = w.reread()
		return "read the cluster again"
	case TouchMember:
		t.Touched = true
		return "write the own member key"
	case ClaimInitialize:
		said := "claim initialize: " + w.settle("initialize", &t.Initialize)
		if t.Initialize == Done { // the cluster is read again with it
			w.in.Cluster.Initialize = &dcs.Initialize{Lease: w.in.Lease, Revision: 7}
		}
		return said
	case UnclaimInitialize:
		return "delete initialize: " + w.settle("initialize", &t.Initialize)
	case PutSystemID:
		return "write the system identifier: " + w.settle("initialize", &t.Initialize)
	case RegisterCluster:
		return "register the new cluster: " + w.settle("register", &t.Register)
	case RestoreConfig:
		return "restore config: " + w.settle("config", &t.Config)
	case RenewLeader:
		return "renew the leader key: " + w.settle("renew", &t.Renew)
	case AcquireLeader:
		return "create the leader key: " + w.settle("acquire", &t.Acquire)
	case ReleaseLeader:
		return "release the leader key: " + w.settle("release", &t.Release)
	case HandOver:
		return "hand the leader key to " + a.To.Name + ": " + w.settle("handover", &t.HandOver)
	case ClearFailover:
		return "clear failover: " + w.settle("failover", &t.Failover)
	case RewriteFailover:
		return "rewrite failover without its leader: " + w.settle("failover", &t.Failover)
	case WriteHistory:
		t.History = true
		return fmt.Sprintf("write history, %d rows", len(a.Rows))
	case AskPeers:
		return w.ask(a)
	case Follow:
		t.Follow = w.follow
		if a.Source == nil {
			return "follow nobody"
		}
		return "follow " + a.Source.Name
	case Examine:
		t.Examine, t.ExamineWhy = w.examine, "at 0/5000000, the leader left timeline 1 at 0/4000000"
		return "compare histories with " + a.Leader.Name + ": " + [...]string{"", "same", "diverged", "undecided"}[w.examine]
	case SyncSlots:
		t.Slots = true
		return "slots for" + slotNames(a.Want)
	case CancelJob:
		job := *w.in.Job
		job.Canceled = true
		w.in.Job = &job
		return "cancel " + job.Name
	case SetRole:
		w.in.Local.Role = a.Role
		return "role is " + string(a.Role)
	case Answer:
		t.Answered, w.in.Request = true, nil
		return fmt.Sprintf("answer %d %s", a.Code, a.Text)
	}
	return fmt.Sprintf("%T", a)
}

func slotNames(want []SlotWant) string {
	out := ""
	for _, s := range want {
		out += " " + s.Name
	}
	return out
}

func (w *world) ask(a AskPeers) string {
	names, slow := []string{}, ""
	w.in.Peers = []Peer{}
	for _, m := range a.Members {
		names = append(names, m.Name)
		p, known := w.peers[m.Name]
		if !known {
			p = Peer{Name: m.Name, Fault: "no answer"}
		}
		w.in.Peers = append(w.in.Peers, p)
	}
	if a.Slow != "" {
		slow = ", " + a.Slow + " at most briefly"
	}
	return "ask " + strings.Join(names, ", ") + slow
}
