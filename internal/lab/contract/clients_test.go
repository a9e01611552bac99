package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"pgha/internal/lab"
)

// The documents as typed clients decode them: a value of another type, or a
// key they do not know, fails their whole answer.
type (
	patroniDocument struct {
		State               string  `json:"state"`
		PostmasterStartTime *string `json:"postmaster_start_time"`
		Role                string  `json:"role"`
		ServerVersion       *int    `json:"server_version"`
		Xlog                *struct {
			Location          *int64  `json:"location"`
			ReceivedLocation  *int64  `json:"received_location"`
			ReplayedLocation  *int64  `json:"replayed_location"`
			ReplayedTimestamp *string `json:"replayed_timestamp"`
			Paused            *bool   `json:"paused"`
		} `json:"xlog"`
		Timeline         *int   `json:"timeline"`
		ReplicationState string `json:"replication_state"`
		Replication      []struct {
			Usename         string  `json:"usename"`
			ApplicationName string  `json:"application_name"`
			ClientAddr      *string `json:"client_addr"`
			State           string  `json:"state"`
			SyncState       string  `json:"sync_state"`
			SyncPriority    int     `json:"sync_priority"`
		} `json:"replication"`
		Pause           bool           `json:"pause"`
		ClusterUnlocked bool           `json:"cluster_unlocked"`
		DCSLastSeen     *int64         `json:"dcs_last_seen"`
		Tags            map[string]any `json:"tags"`
		SystemID        string         `json:"database_system_identifier"`
		PendingRestart  bool           `json:"pending_restart"`
		PendingReason   reasons        `json:"pending_restart_reason"`
		Patroni         struct {
			Version string `json:"version"`
			Scope   string `json:"scope"`
			Name    string `json:"name"`
		} `json:"patroni"`
		ScheduledRestart *scheduledRestart `json:"scheduled_restart"`
		Pgha             any               `json:"pgha"` // ours
	}
	clusterDocument struct {
		Members []struct {
			Name             string            `json:"name"`
			Role             string            `json:"role"`
			State            string            `json:"state"`
			APIURL           string            `json:"api_url"`
			Host             string            `json:"host"`
			Port             uint16            `json:"port"`
			Timeline         *int              `json:"timeline"`
			Tags             map[string]any    `json:"tags"`
			PendingRestart   bool              `json:"pending_restart"`
			PendingReason    reasons           `json:"pending_restart_reason"`
			ScheduledRestart *scheduledRestart `json:"scheduled_restart"`
			ReceiveLag       any               `json:"receive_lag"` // number or "unknown"
			ReceiveLSN       string            `json:"receive_lsn"`
			ReplayLag        any               `json:"replay_lag"`
			ReplayLSN        string            `json:"replay_lsn"`
			Lag              any               `json:"lag"`
			LSN              string            `json:"lsn"`
		} `json:"members"`
		Pause               bool              `json:"pause"`
		ScheduledSwitchover map[string]string `json:"scheduled_switchover"`
		Scope               string            `json:"scope"`
	}
	reasons map[string]struct {
		Old string `json:"old_value"`
		New string `json:"new_value"`
	}
	scheduledRestart struct {
		Schedule            string `json:"schedule"`
		Role                string `json:"role"`
		PostgresVersion     string `json:"postgres_version"`
		Timeout             int    `json:"timeout"`
		RestartPending      bool   `json:"restart_pending"`
		PostmasterStartTime string `json:"postmaster_start_time"`
	}
	configDocument struct {
		TTL          *int `json:"ttl"`
		LoopWait     *int `json:"loop_wait"`
		RetryTimeout *int `json:"retry_timeout"`
		Lag          *int `json:"maximum_lag_on_failover"`
		Pause        bool `json:"pause"`
		PostgreSQL   struct {
			UsePgRewind bool           `json:"use_pg_rewind"`
			UseSlots    bool           `json:"use_slots"`
			Parameters  map[string]any `json:"parameters"`
			PgHBA       []string       `json:"pg_hba"`
		} `json:"postgresql"`
	}
	historyDocument [][]any
)

func strictly(body string, into any) error {
	d := json.NewDecoder(bytes.NewReader([]byte(body)))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// The only form that pgSCV reads.
const documentTime = "2006-01-02 15:04:05.999999-07:00"

var numericVersion = regexp.MustCompile(`^\d+\.\d+\.\d+$`)

func (d patroniDocument) fault() error {
	for _, at := range []*string{d.PostmasterStartTime, timestampOf(d)} {
		if at == nil {
			continue
		}
		if _, err := time.Parse(documentTime, *at); err != nil {
			return err
		}
	}
	switch {
	case d.State == "" || d.Role == "" || d.DCSLastSeen == nil:
		return fmt.Errorf("state, role or dcs_last_seen is missing")
	case !numericVersion.MatchString(d.Patroni.Version):
		return fmt.Errorf("patroni.version is %q", d.Patroni.Version)
	case d.State == "running" && (d.ServerVersion == nil || d.Timeline == nil || d.Xlog == nil || d.PostmasterStartTime == nil):
		return fmt.Errorf("running without server_version, timeline, xlog or postmaster_start_time")
	}
	return nil
}

func timestampOf(d patroniDocument) *string {
	if d.Xlog == nil {
		return nil
	}
	return d.Xlog.ReplayedTimestamp
}

func (h historyDocument) fault() error {
	for _, r := range h {
		if len(r) < 3 || len(r) > 5 {
			return fmt.Errorf("a row of %d", len(r))
		}
		for i, v := range r {
			if _, number := v.(float64); number != (i < 2) {
				return fmt.Errorf("column %d is %T", i+1, v)
			}
		}
		if len(r) > 3 {
			if _, err := time.Parse(time.RFC3339, r[3].(string)); err != nil {
				return err
			}
		}
	}
	return nil
}

// typed decodes the four documents of each member as typed clients do.
// Without etcd (argument patroni) only the member's own is asked for.
func (w *world) typed(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	var b strings.Builder
	for _, m := range w.on(t, d) {
		var own patroniDocument
		var history historyDocument
		documents := []struct {
			path  string
			into  any
			fault func() error
		}{
			{"/patroni", &own, func() error { return own.fault() }},
			{"/cluster", &clusterDocument{}, nil},
			{"/config", &configDocument{}, nil},
			{"/history", &history, func() error { return history.fault() }},
		}
		if d.HasArg("patroni") {
			documents = documents[:1]
		}
		for _, doc := range documents {
			a, err := w.send(m, m.Host, "GET "+doc.path, nil, "")
			if err == nil && a.code != 200 {
				err = fmt.Errorf("status %s", a.status)
			}
			if err == nil {
				err = strictly(a.body, doc.into)
			}
			if err == nil && doc.fault != nil {
				err = doc.fault()
			}
			if err != nil {
				fmt.Fprintf(&b, "%s of %s: %v\n%s\n", doc.path, m.Name, err, w.masked(a.body))
			}
		}
		fmt.Fprintf(&b, "%s: %s %s\n", m.Name, own.Role, own.State)
	}
	return b.String()
}

const silentClients = 100

// silent asks 200 times a second (rate=50: that often) for two seconds, each
// time in a new connection, while 100 clients have connected and say nothing.
// How long the answers took is logged; a slow one in a hundred is the
// machine's, more are the server's.
func (w *world) silent(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	m, rate := w.on(t, d)[0], 200
	d.MaybeScanArgs(t, "rate", &rate)
	mute := w.tls
	w.tls = nil // TCP only: they do not even begin with TLS
	for range silentClients {
		conn, err := w.dial(m, w.client)
		if err != nil {
			t.Fatalf("%s: %v", d.Pos, err)
		}
		defer func(c net.Conn) { c.Close() }(conn)
	}
	w.tls = mute
	var mu sync.Mutex
	codes, times := map[string]int{}, []time.Duration{}
	var asked sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for range 2 * rate {
		<-tick.C
		asked.Go(func() {
			begin := time.Now()
			code := w.checked(m, d.Input)
			mu.Lock()
			defer mu.Unlock()
			codes[code]++
			times = append(times, time.Since(begin))
		})
	}
	asked.Wait()
	slices.Sort(times)
	p99 := times[len(times)*99/100]
	t.Logf("%s: %d checks beside %d silent clients: median %v, 99%% %v, longest %v", d.Pos, len(times), silentClients,
		times[len(times)/2], p99, times[len(times)-1])
	if p99 > time.Second {
		return fmt.Sprintf("one in a hundred answers took longer than %v", p99)
	}
	return fmt.Sprintf("%v\n", codes)
}

func (w *world) checked(m *lab.Member, request string) string {
	a, err := w.send(m, w.client, request, nil, "")
	if err != nil {
		return "no answer: " + shortError(err)
	}
	return a.status
}
