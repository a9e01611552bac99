package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// DefaultEtcd is the etcd version of stories that do not name one; ETCD=3.6.16
// in the environment replaces it.
const DefaultEtcd = "3.7.3"

// Etcd is an etcd cluster, one member a host.
type Etcd struct {
	Members []*EtcdMember

	lab *Lab
	bin string
}

// EtcdMember is one etcd process and its machine.
type EtcdMember struct {
	*Host
	etcd *Etcd
	proc *Proc
	args []string
}

// EtcdVersion is the version the run uses.
func EtcdVersion() string {
	if v := os.Getenv("ETCD"); v != "" {
		return v
	}
	return DefaultEtcd
}

var etcdBuild sync.Mutex

// EtcdBin returns the directory of etcd and etcdctl of that version, building
// them into the cache (PGHA_CACHE, else ~/.cache/pgha) when missing.
func EtcdBin(t testing.TB, version string) string {
	t.Helper()
	etcdBuild.Lock()
	defer etcdBuild.Unlock()
	root, err := moduleRoot()
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	cmd := exec.Command("bash", filepath.Join(root, "internal/lab/etcdbuild.sh"), version)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("lab: build etcd %s: %v\n%s", version, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// StartEtcd starts n members on hosts of their own and waits until all answer.
func (l *Lab) StartEtcd(n int) *Etcd {
	l.t.Helper()
	// The cache may lie below a home that the unprivileged user cannot enter.
	bin := filepath.Join(l.Dir, "etcd-bin")
	l.must(copyFile(filepath.Join(EtcdBin(l.t, EtcdVersion()), "etcd"), bin))
	e := &Etcd{lab: l, bin: bin}
	var initial []string
	for i := range n {
		m := &EtcdMember{Host: l.Host(fmt.Sprintf("etcd%02d", i+1)), etcd: e}
		e.Members = append(e.Members, m)
		initial = append(initial, m.Name+"="+m.peerURL())
	}
	for _, m := range e.Members {
		m.args = []string{"--name", m.Name, "--data-dir", m.dataDir(),
			"--listen-client-urls", m.ClientURL(), "--advertise-client-urls", m.ClientURL(),
			"--listen-peer-urls", m.peerURL(), "--initial-advertise-peer-urls", m.peerURL(),
			"--initial-cluster", strings.Join(initial, ","), "--initial-cluster-token", l.ID,
			// Small enough for a ttl of 5 s (a lease is at least 1.5 election timeouts).
			"--heartbeat-interval", "50", "--election-timeout", "500", "--log-level", "warn"}
		if strings.HasPrefix(EtcdVersion(), "3.4.") {
			m.args = append(m.args, "--enable-v2=false", "--logger=zap")
		} else {
			m.args = append(m.args, "--unsafe-no-fsync")
		}
		m.Start()
	}
	e.WaitHealthy(20 * time.Second)
	return e
}

// WaitHealthy waits until every member answers /health.
func (e *Etcd) WaitHealthy(timeout time.Duration) {
	e.lab.t.Helper()
	for _, m := range e.Members {
		e.lab.Until(timeout, "etcd member "+m.Name+" healthy", func() string {
			client := http.Client{Timeout: time.Second}
			r, err := client.Get(m.ClientURL() + "/health")
			if err != nil {
				return err.Error()
			}
			defer r.Body.Close()
			body, _ := io.ReadAll(r.Body)
			if r.StatusCode == 200 && bytes.Contains(body, []byte(`"true"`)) {
				return ""
			}
			return string(body)
		})
	}
}

// Endpoints are the client addresses, host:port.
func (e *Etcd) Endpoints() []string {
	var all []string
	for _, m := range e.Members {
		all = append(all, m.Addr+":2379")
	}
	return all
}

// Hosts are the members' machines.
func (e *Etcd) Hosts() []*Host {
	var all []*Host
	for _, m := range e.Members {
		all = append(all, m.Host)
	}
	return all
}

// ClientURL is where the member serves clients.
func (m *EtcdMember) ClientURL() string { return "http://" + m.Addr + ":2379" }
func (m *EtcdMember) peerURL() string   { return "http://" + m.Addr + ":2380" }
func (m *EtcdMember) dataDir() string   { return filepath.Join(m.Dir, "data") }

// Start starts the member's process, with the data it had.
func (m *EtcdMember) Start() {
	m.lab.t.Helper()
	m.proc = m.Host.Start("etcd", append([]string{m.etcd.bin}, m.args...)...)
}

// Kill ends the process at once (SIGKILL).
func (m *EtcdMember) Kill() { m.proc.Kill() }

// Stop freezes the process (SIGSTOP), Cont lets it go on.
func (m *EtcdMember) Stop() { m.lab.must(m.proc.Signal(syscall.SIGSTOP)) }

// Cont undoes Stop.
func (m *EtcdMember) Cont() { m.lab.must(m.proc.Signal(syscall.SIGCONT)) }

// Wipe removes the data of a killed member.
func (m *EtcdMember) Wipe() { m.lab.must(os.RemoveAll(m.dataDir())) }

// IsLeader says whether this member leads etcd now.
func (m *EtcdMember) IsLeader() bool {
	var s struct {
		Leader string
		Header struct {
			MemberID string `json:"member_id"`
		}
	}
	return m.call("/v3/maintenance/status", map[string]any{}, &s) == nil && s.Leader == s.Header.MemberID
}

// call speaks etcd's JSON gateway: the lab stays independent of the client
// library that is under test.
func (m *EtcdMember) call(path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", m.ClientURL()+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != 200 {
		text, _ := io.ReadAll(r.Body)
		return fmt.Errorf("%s: %s: %s", req.URL, r.Status, text)
	}
	return json.NewDecoder(r.Body).Decode(out)
}

// call asks one member after the other until one answers.
func (e *Etcd) call(path string, in, out any) error {
	var err error
	for _, m := range e.Members {
		if err = m.call(path, in, out); err == nil {
			return nil
		}
	}
	return err
}

// Get returns the value of a key; ok is false when it is absent.
func (e *Etcd) Get(key string) (value string, ok bool, err error) {
	all, err := e.list(key, "")
	if err != nil {
		return "", false, err
	}
	value, ok = all[key]
	return value, ok, nil
}

// List returns every key below prefix with its value.
func (e *Etcd) List(prefix string) (map[string]string, error) {
	end := []byte(prefix)
	end[len(end)-1]++
	return e.list(prefix, string(end))
}

func (e *Etcd) list(from, to string) (map[string]string, error) {
	in := map[string]any{"key": []byte(from)}
	if to != "" {
		in["range_end"] = []byte(to)
	}
	var answer struct{ Kvs []struct{ Key, Value []byte } }
	if err := e.call("/v3/kv/range", in, &answer); err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, kv := range answer.Kvs {
		all[string(kv.Key)] = string(kv.Value)
	}
	return all, nil
}

// Put writes a key without a lease.
func (e *Etcd) Put(key, value string) {
	e.lab.t.Helper()
	e.lab.must(e.call("/v3/kv/put", map[string]any{"key": []byte(key), "value": []byte(value)}, &struct{}{}))
}

// Delete removes a key.
func (e *Etcd) Delete(key string) {
	e.lab.t.Helper()
	e.lab.must(e.call("/v3/kv/deleterange", map[string]any{"key": []byte(key)}, &struct{}{}))
}

// Dump is every key and value, for failure messages.
func (e *Etcd) Dump() string {
	all, err := e.List("/")
	if err != nil {
		return "etcd: " + err.Error()
	}
	var b strings.Builder
	for _, k := range sortedKeys(all) {
		v := all[k]
		if len(v) > 1500 {
			v = v[:1500] + "..."
		}
		fmt.Fprintf(&b, "  %s = %s\n", k, v)
	}
	return b.String()
}

// Alive says whether the member's process runs (a stopped one does).
func (m *EtcdMember) Alive() bool { return m.proc != nil && m.proc.Alive() }
