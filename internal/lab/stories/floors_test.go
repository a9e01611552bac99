package stories

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"pgha/internal/lab"
)

// grantedTTL is the TTL of the lease a key hangs on, as etcd granted it.
func grantedTTL(e *lab.Etcd, key string) (string, error) {
	call := func(path string, in map[string]string, out any) error {
		body, err := json.Marshal(in)
		if err != nil {
			return err
		}
		client := http.Client{Timeout: 3 * time.Second}
		r, err := client.Post("http://"+strings.TrimPrefix(e.Endpoints()[0], "http://")+path, "application/json", bytes.NewReader(body))
		if err != nil {
			return err
		}
		defer r.Body.Close()
		return json.NewDecoder(r.Body).Decode(out)
	}
	var found struct{ Kvs []struct{ Lease string } }
	if err := call("/v3/kv/range", map[string]string{"key": base64.StdEncoding.EncodeToString([]byte(key))}, &found); err != nil {
		return "", err
	}
	if len(found.Kvs) == 0 {
		return "", fmt.Errorf("there is no key %s", key)
	}
	var lease struct {
		GrantedTTL string `json:"grantedTTL"`
	}
	err := call("/v3/lease/timetolive", map[string]string{"ID": found.Kvs[0].Lease}, &lease)
	return lease.GrantedTTL, err
}

// A cluster that fails over in 5 s meets a member of Patroni, which knows no
// ttl below 20: its minimum holds for all until that member is gone.
func TestPatroniMemberRaisesTheTTL(t *testing.T) {
	l := long(t)
	e := l.StartEtcd(1)
	c := l.NewCluster(e, lab.Options{TTL: 5, LoopWait: 1, RetryTimeout: 2, Members: []string{"pg01"}})
	c.Start()
	m := c.Member("pg01")
	await := func(ttl, said string) {
		t.Helper()
		l.Until(15*time.Second+slack, "a lease of "+ttl+" s", func() string {
			got, err := grantedTTL(e, c.Key("leader"))
			if err != nil || got != ttl {
				return fmt.Sprintf("the leader key's lease has %q s, %v", got, err)
			}
			if !strings.Contains(m.AgentLog(), said) {
				return "the log does not say " + said
			}
			return ""
		})
	}
	await("5", "")
	e.Put(c.Key("members/old1"), `{"conn_url":"postgres://10.255.255.1:5432/postgres","api_url":"http://10.255.255.1:8008/patroni","state":"running","role":"replica","version":"4.1.5"}`)
	await("20", "Patroni runs old1")
	e.Delete(c.Key("members/old1"))
	await("5", "Patroni's minima hold no longer: ttl 5s")
}
