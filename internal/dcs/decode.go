package dcs

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"pgha/internal/config"
	"pgha/internal/postgres"
)

// KV is one key as a store returned it.
type KV struct {
	// Key below the scope's prefix.
	Key      Key
	Value    []byte
	Lease    LeaseID
	Revision Revision
}

// DecodeCluster reads a whole scope as it was at the revision. It never
// fails: a damaged value is read as the contract says (dcs-layout.md 1.1 to
// 1.3) and named in Damaged. Keys it does not know are ignored. The slices of
// kvs may be kept: do not change them afterwards.
func DecodeCluster(at Revision, kvs []KV) *Cluster {
	c := &Cluster{Revision: at}
	var legacy *KV
	for i := range kvs {
		kv := &kvs[i]
		if name, ok := memberName(kv.Key); ok {
			c.addMember(name, kv)
			continue
		}
		if kv.Key == keyOptimeLeader {
			legacy = kv
			continue
		}
		c.set(kv)
	}
	if legacy != nil && c.Status.Revision == 0 {
		s, err := DecodeStatus(legacy.Value)
		c.damaged(legacy.Key, err)
		c.Status.Optime = s.Optime
	}
	slices.SortFunc(c.Members, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	slices.Sort(c.Damaged)
	return c
}

// addMember reads one member key.
func (c *Cluster) addMember(name string, kv *KV) {
	data, err := DecodeMember(kv.Value)
	c.damaged(kv.Key, err)
	c.Members = append(c.Members, Member{Name: name, Lease: kv.Lease, Revision: kv.Revision, MemberData: data})
}

// set reads one key that is not a member's.
func (c *Cluster) set(kv *KV) {
	var err error
	switch kv.Key {
	case KeyInitialize:
		c.Initialize = &Initialize{SystemID: postgres.SystemID(kv.Value), Lease: kv.Lease, Revision: kv.Revision}
		if len(kv.Value) > 0 && !c.Initialize.SystemID.Valid() {
			err = fmt.Errorf("%s is no system identifier: read as unknown", shown(string(kv.Value)))
		}
	case KeyConfig:
		// By the parser that reads it later: what that one refuses (nested 600
		// levels deep, 1e999) must count as damaged here, or nobody mends it.
		_, err = config.ParseDocument(kv.Value)
		c.Config = &Config{Raw: kv.Value, Valid: err == nil, Revision: kv.Revision}
		if err != nil {
			err = fmt.Errorf("read as absent: %w", err)
		}
	case KeyLeader:
		if len(kv.Value) == 0 {
			err = fmt.Errorf("present but empty: read as no leader")
			break
		}
		c.Leader = &Leader{Name: string(kv.Value), Lease: kv.Lease, Revision: kv.Revision}
		if !plausibleName(c.Leader.Name) {
			err = fmt.Errorf("names a member that cannot exist, %s: it owns the key all the same; delete the key if it was written by hand", shown(c.Leader.Name))
		}
	case KeyStatus:
		c.Status, err = DecodeStatus(kv.Value)
		c.Status.Revision = kv.Revision
	case KeyFailover:
		c.FailoverRevision = kv.Revision
		if c.Failover, err = DecodeFailover(kv.Value); c.Failover != nil {
			c.Failover.Revision = kv.Revision
		}
	case KeySync:
		c.Sync, err = DecodeSync(kv.Value)
		c.Sync.Revision = kv.Revision
	case KeyHistory:
		c.HistoryRaw = string(kv.Value)
		c.History, err = DecodeHistory(kv.Value)
	case KeyFailsafe:
		c.Failsafe, err = DecodeFailsafe(kv.Value)
	}
	c.damaged(kv.Key, err)
}

// damaged notes what could not be understood.
func (c *Cluster) damaged(k Key, err error) {
	if err != nil {
		c.Damaged = append(c.Damaged, fmt.Sprintf("%s: %s", printable(string(k)), err))
	}
}

// longestName is far beyond any host name people name members after.
const longestName = 255

// plausibleName says whether a member could be named like that: people read
// member names in logs and tables.
func plausibleName(name string) bool {
	return len(name) <= longestName && utf8.ValidString(name) &&
		strings.IndexFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// shown is a foreign text as it may stand in a log line: quoted, and cut.
func shown(s string) string {
	const most = 64
	if len(s) <= most {
		return strconv.Quote(s)
	}
	return fmt.Sprintf("%q... (%d bytes)", s[:most], len(s))
}

// printable is shown for a text that is fit to be seen as it is, as nearly all are.
func printable(s string) string {
	if plausibleName(s) {
		return s
	}
	return shown(s)
}
