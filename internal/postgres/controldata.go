package postgres

import (
	"strconv"
	"strings"
)

// ClusterState is pg_control's "Database cluster state". The texts are those
// of pg_controldata under LC_ALL=C; empty is "unknown".
type ClusterState string

const (
	ClusterStartingUp         ClusterState = "starting up"
	ClusterShutDown           ClusterState = "shut down"
	ClusterShutDownInRecovery ClusterState = "shut down in recovery"
	ClusterShuttingDown       ClusterState = "shutting down"
	ClusterInCrashRecovery    ClusterState = "in crash recovery"
	ClusterInArchiveRecovery  ClusterState = "in archive recovery"
	ClusterInProduction       ClusterState = "in production"
)

// WasPrimary says whether the state is that of a server that accepted writes
// when it was last heard of: the states from which it may be started again as
// primary (contract: ha-behaviour.md 5.1).
func (s ClusterState) WasPrimary() bool {
	return s == ClusterShutDown || s.CrashedPrimary()
}

// CrashedPrimary says whether the state, on a stopped server, is that of a
// primary that did not finish its shutdown and needs crash recovery (contract:
// ha-behaviour.md 5.2).
func (s ClusterState) CrashedPrimary() bool {
	switch s {
	case ClusterInProduction, ClusterShuttingDown, ClusterInCrashRecovery:
		return true
	}
	return false
}

// ControlData is what pg_controldata says of a data directory. A value that
// was missing or unreadable is zero.
type ControlData struct {
	SystemID         SystemID
	State            ClusterState
	ProtocolVersion  int // "pg_control version number": 1300 for PostgreSQL 13 to 16
	CatalogVersion   int
	Timeline         Timeline // of the latest checkpoint
	PrevTimeline     Timeline // of the latest checkpoint's predecessor
	CheckpointLSN    LSN      // the latest checkpoint's record
	RedoLSN          LSN      // where replay from that checkpoint begins
	MinRecoveryLSN   LSN      // zero unless the server was in archive recovery
	MinRecoveryTL    Timeline // zero unless the server was in archive recovery
	BackupStartLSN   LSN      // not zero: a base backup that was never started
	WalLogHints      bool
	Checksums        bool
	WALSegmentSize   int64             // bytes
	WALBlockSize     int64             // bytes
	Settings         map[string]string // "... setting" values by GUC name
	ChecksumMismatch bool              // pg_controldata called its own output untrustworthy
	// Raw holds every "key: value" line as printed.
	Raw map[string]string
}

// Usable says whether the facts may be acted on: the file's checksum was right
// and it names a system identifier, a known state and a timeline.
func (c ControlData) Usable() bool {
	switch c.State {
	case ClusterStartingUp, ClusterShutDown, ClusterShutDownInRecovery, ClusterShuttingDown,
		ClusterInCrashRecovery, ClusterInArchiveRecovery, ClusterInProduction:
		return c.SystemID.Valid() && c.Timeline != 0 && !c.ChecksumMismatch
	}
	return false
}

// RewindPossible says whether pg_rewind can work on this data directory as far
// as page changes go (contract: ha-behaviour.md 16.1).
func (c ControlData) RewindPossible() bool { return c.WalLogHints || c.Checksums }

// settingNames translates pg_controldata's abbreviations to GUC names.
var settingNames = map[string]string{
	"max_prepared_xacts": "max_prepared_transactions",
	"max_locks_per_xact": "max_locks_per_transaction",
}

// ParseControlData reads the output of pg_controldata run under LC_ALL=C. It
// never fails: warnings, lines without a colon and values it cannot read are
// skipped (contract: pitfalls.md 107). Ask Usable before relying on the result.
func ParseControlData(out string) ControlData {
	c := ControlData{Settings: map[string]string{}, Raw: map[string]string{}}
	for line := range strings.Lines(out) {
		if strings.Contains(line, "CRC checksum does not match") {
			c.ChecksumMismatch = true
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		c.Raw[key] = value
		if name, ok := strings.CutSuffix(key, " setting"); ok {
			if full := settingNames[name]; full != "" {
				name = full
			}
			c.Settings[name] = value
		}
	}
	c.fillIdentity()
	c.fillPositions()
	return c
}

func (c *ControlData) fillIdentity() {
	c.SystemID = SystemID(c.Raw["Database system identifier"])
	c.State = ClusterState(c.Raw["Database cluster state"])
	c.ProtocolVersion = int(c.number("pg_control version number"))
	c.CatalogVersion = int(c.number("Catalog version number"))
	c.WalLogHints = c.Settings["wal_log_hints"] == "on"
	c.Checksums = c.number("Data page checksum version") == 1
	c.WALSegmentSize = c.number("Bytes per WAL segment")
	c.WALBlockSize = c.number("WAL block size")
}

func (c *ControlData) fillPositions() {
	c.Timeline = c.timeline("Latest checkpoint's TimeLineID")
	c.PrevTimeline = c.timeline("Latest checkpoint's PrevTimeLineID")
	c.CheckpointLSN = c.position("Latest checkpoint location")
	c.RedoLSN = c.position("Latest checkpoint's REDO location")
	c.MinRecoveryLSN = c.position("Minimum recovery ending location")
	c.MinRecoveryTL = c.timeline("Min recovery ending loc's timeline")
	c.BackupStartLSN = c.position("Backup start location")
}

func (c *ControlData) number(key string) int64 {
	n, err := strconv.ParseInt(c.Raw[key], 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

func (c *ControlData) timeline(key string) Timeline {
	n, err := strconv.ParseUint(c.Raw[key], 10, 32)
	if err != nil {
		return 0
	}
	return Timeline(n)
}

func (c *ControlData) position(key string) LSN {
	lsn, err := ParseLSN(c.Raw[key])
	if err != nil {
		return 0
	}
	return lsn
}
