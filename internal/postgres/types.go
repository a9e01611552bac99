// Package postgres knows PostgreSQL without touching it: positions,
// timelines, versions, control data, connection strings, settings, files.
// Every function is pure; internal/instance does the deeds.
package postgres

import (
	"fmt"
	"strconv"
	"strings"
)

// LSN is a position in the write-ahead log: bytes since 0/0. Zero is "unknown".
type LSN uint64

// String prints PostgreSQL's form, upper-case hexadecimal halves: 0/504B2F0.
func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l)) }

// ParseLSN reads PostgreSQL's form X/Y. Zero-padded low halves (PostgreSQL 19) are accepted.
func ParseLSN(s string) (LSN, error) {
	hi, lo, ok := strings.Cut(s, "/")
	if !ok {
		return 0, fmt.Errorf("LSN %q: want X/Y in hexadecimal", s)
	}
	h, err := strconv.ParseUint(hi, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("LSN %q: want X/Y in hexadecimal", s)
	}
	l, err := strconv.ParseUint(lo, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("LSN %q: want X/Y in hexadecimal", s)
	}
	return LSN(h<<32 | l), nil
}

// Timeline is PostgreSQL's timeline number; zero is "unknown".
type Timeline uint32

// State is the state of a member's PostgreSQL as published in its member key
// and by REST (contract: dcs-layout.md 1.2). Texts are wire format.
type State string

const (
	StateInitializing          State = "initializing new cluster"
	StateInitFailed            State = "initdb failed"
	StateCustomBootstrap       State = "running custom bootstrap script"
	StateCustomBootstrapFailed State = "custom bootstrap failed"
	StateCreatingReplica       State = "creating replica"
	StateRunning               State = "running"
	StateStarting              State = "starting"
	StateBootstrapStarting     State = "starting after custom bootstrap"
	StateStartFailed           State = "start failed"
	StateRestarting            State = "restarting"
	StateRestartFailed         State = "restart failed"
	StateStopping              State = "stopping"
	StateStopped               State = "stopped"
	StateStopFailed            State = "stop failed"
	StateCrashed               State = "crashed"
	// StateUnknown is read from keys without a state and shown by REST when
	// the status query failed; a member never publishes it.
	StateUnknown State = "unknown"
)

// Role is what a member's PostgreSQL is (contract: dcs-layout.md 1.2). Texts
// are wire format. The leader holds the key; the primary accepts writes.
type Role string

const (
	RolePrimary       Role = "primary"
	RolePromoted      Role = "promoted" // promotion asked for, recovery not finished
	RoleStandbyLeader Role = "standby_leader"
	RoleReplica       Role = "replica"
	RoleDemoted       Role = "demoted" // was primary; stopped, or found stopped
	RoleUninitialized Role = "uninitialized"
	// RoleMaster is how members before Patroni 4.0 wrote RolePrimary: read, never written.
	RoleMaster Role = "master"
)

// IsPrimary says whether the role is that of a server accepting writes,
// whatever the peer's age.
func (r Role) IsPrimary() bool { return r == RolePrimary || r == RoleMaster }

// SystemID is a database system identifier in decimal. Empty is "unknown".
type SystemID string

// Valid says whether the text is a complete identifier: at least ten
// characters, all digits (contract: dcs-layout.md 1.3).
func (id SystemID) Valid() bool {
	if len(id) < 10 {
		return false
	}
	return strings.Trim(string(id), "0123456789") == ""
}
