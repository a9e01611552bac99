package agent

import (
	"bytes"
	"net"
	"strconv"

	"pgha/internal/api"
	"pgha/internal/config"
	"pgha/internal/dcs"
	"pgha/internal/instance"
	"pgha/internal/postgres"
)

// patroniVersion is the version this member speaks for (rulings 25): peers
// decide by it which protocol they may use.
const patroniVersion = api.PatroniVersion

// identity is what a member key says of the member besides its PostgreSQL.
type identity struct {
	connURL, proxyURL, apiURL string
	version                   string // of pgha
}

func identityOf(l *config.Local, runningPort int, database, version string) identity {
	scheme := "http"
	if l.RestAPI.CertFile != "" {
		scheme = "https"
	}
	id := identity{
		connURL: "postgres://" + reachable(l.PostgreSQL.ConnectAddress, l.PostgreSQL.Port, runningPort) + "/" + database,
		apiURL:  scheme + "://" + l.RestAPI.ConnectAddress + "/patroni",
		version: version,
	}
	if l.PostgreSQL.ProxyAddress != "" {
		id.proxyURL = "postgres://" + l.PostgreSQL.ProxyAddress + "/" + database
	}
	return id
}

// reachable is an address for others while PostgreSQL still listens on the
// port it was started with: a new postgresql.listen waits for a restart, and
// with it the port of the connect_address that belongs to it. running is zero
// when it is not known.
func reachable(connect string, configured, running int) string {
	host, port, err := net.SplitHostPort(connect)
	if err != nil || running == 0 || running == configured || port != strconv.Itoa(configured) {
		return connect
	}
	return net.JoinHostPort(host, strconv.Itoa(running))
}

// memberData is what this member publishes (contract: dcs-layout.md 1.1).
func memberData(id identity, v View, o instance.Observation, tags map[string]any, checkpointPending bool, scheduled *dcs.ScheduledRestart, pending map[string]postgres.Change) dcs.MemberData {
	d := dcs.MemberData{
		ConnURL: id.connURL, ProxyURL: id.proxyURL, APIURL: id.apiURL, Version: patroniVersion,
		State: v.Local.State, Role: v.Local.Role, Tags: tags, Pause: v.Settings.Pause,
		ScheduledRestart: scheduled,
		Pgha:             &dcs.PghaInfo{Version: id.version, Note: v.Note},
	}
	d.PendingRestart, d.PendingRestartReason = pendingOf(pending)
	if v.Local.Queried {
		d.Location, d.Timeline = v.Local.Location, v.Local.Timeline
		if r := o.Row; r != nil && r.InRecovery {
			d.Replay, d.Receive, d.ReplicationState = r.Replayed, max(r.Received, r.Written), r.ReplicationState()
		}
	}
	if checkpointPending && v.Local.Primary() && !v.LeaderUntil.IsZero() {
		no := false
		d.CheckpointAfterPromote = &no
	}
	return d
}

// stands says whether our member key, as read, is what we would write: under
// our lease and with the same content. Somebody may have written over it.
func stands(key *dcs.Member, lease dcs.LeaseID, encoded []byte) bool {
	return key != nil && key.Lease == lease && bytes.Equal(dcs.EncodeMember(key.MemberData), encoded)
}
