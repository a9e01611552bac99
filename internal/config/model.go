// Package config reads patroni.yml and the dynamic configuration, merges
// their layers and says what was ignored and why (contract: config.md).
//
// Three layers: built-in defaults, dynamic (the key /config in the DCS),
// local (file or directory, with PATRONI_* variables on top). What may come
// from which layer stands in the table of keys, schema_*.go (config.md 1.2).
package config

import (
	"strconv"
	"time"
)

// Local is the validated local layer: file or directory plus environment.
type Local struct {
	// Path the configuration was read from; empty when it came from the environment alone.
	Path      string
	Scope     string
	Name      string
	Namespace string // normalised: leading slash, no trailing one; default /service; empty for "/"

	RestAPI    RestAPI
	Etcd3      Etcd3
	Ctl        Ctl
	Log        Log
	Watchdog   Watchdog
	Tags       Tags
	Bootstrap  *Bootstrap // nil: this member never initialises a cluster
	PostgreSQL PostgreSQL
	Pgha       Pgha

	// Warnings found while reading: unknown, misplaced, ignored keys; one each.
	Warnings []Finding
	// Tree is the whole merged document, as PyYAML would have read it. It
	// holds passwords: never print it.
	Tree map[string]any `json:"-"`

	tree *Node // Tree with positions
	// What a later file of a directory, or a variable, replaced.
	overruled []overruled
	environ   map[string]string // the variables that are not empty
	// What only some callers care about: reported by CheckAgent, CheckDCS.
	agentErrors []*Error
	dcsErrors   []*Error
}

// String names the configuration: formatting one must not show its passwords.
func (l *Local) String() string { return "configuration " + l.Path }

// GoString hides the content from %#v.
func (l *Local) GoString() string { return "config.Local{Path: " + strconv.Quote(l.Path) + "}" }

// Finding is one remark about a configuration.
type Finding struct {
	Path    string // dotted key path, e.g. bootstrap.postgresql
	File    string // where it stands; empty for environment and DCS
	Line    int    // 1-based; 0 unknown
	Column  int    // 1-based; 0 unknown
	Message string // what is wrong, and what happens with it
	Remedy  string // what to do; may be empty

	fix *fix // what to write instead, where that is known
}

// fix is an entry as it should stand: the path and the value.
type fix struct {
	path  []string
	value *Node
}

// RestAPI is section restapi.
type RestAPI struct {
	Listen                  string // host:port
	ConnectAddress          string // host:port; default Listen
	Username                string
	Password                Secret
	CertFile, KeyFile       string
	KeyFilePassword         Secret
	CAFile                  string
	Ciphers                 string
	VerifyClient            string // none, optional, required
	Allowlist               []string
	AllowlistSet            bool // restapi.allowlist is present, even if empty
	AllowlistIncludeMembers bool
	HTTPExtraHeaders        map[string]string
	HTTPSExtraHeaders       map[string]string
	RequestQueueSize        int
	ServerTokens            string
}

// Secret is a text that must not be printed: every formatting verb, JSON and
// YAML show ***.
type Secret string

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// MarshalText hides the secret from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Reveal returns the text itself: for connections, never for output.
func (s Secret) Reveal() string { return string(s) }

// Etcd3 is section etcd3.
type Etcd3 struct {
	// Endpoints are URLs, scheme included, in the order written.
	Endpoints []string
	// EveryAddress: the endpoint is that of key host, whose name may have
	// several addresses; each of them counts (http only).
	EveryAddress bool
	UseProxies   bool
	// SRV is the domain whose records are asked before Endpoints are used;
	// empty with url and proxy, which win.
	SRV          string
	SRVSuffix    string
	Username     string
	Password     Secret
	PasswordFile string // pgha's own (rulings 47)
	CACert       string
	Cert         string
	Key          string
}

// Ctl is section ctl.
type Ctl struct {
	Insecure          bool
	CACert            string
	CertFile, KeyFile string
	KeyFilePassword   Secret
	Username          string
	Password          Secret
}

// Log is section log (complete handling: internal/logging).
type Log struct {
	Type                    string // plain, json
	Level                   string // upper case
	TracebackLevel          string
	Format                  any // string, or for json a list
	DateFormat              string
	StaticFields            map[string]any
	MaxQueueSize            int
	Dir                     string
	Mode                    int // 0: from the umask
	FileNum                 int
	FileSize                int
	Loggers                 map[string]string
	DeduplicateHeartbeatLog bool
}

// Watchdog is section watchdog.
type Watchdog struct {
	Mode         string // off, automatic, required
	Device       string
	SafetyMargin int // seconds; -1: half the ttl
	Driver       string
}

// Tags is section tags.
type Tags struct {
	NoFailover       bool
	FailoverPriority int // effective; 0 with NoFailover
	NoSync           bool
	SyncPriority     int
	CloneFrom        bool
	NoLoadBalance    bool
	NoStream         bool
	ReplicateFrom    string
	// Published is what goes into the member key (config.md 3.5); nil when empty.
	Published map[string]any
}

// Bootstrap is section bootstrap.
type Bootstrap struct {
	DCS      map[string]any
	Method   string   // initdb, or the name of a custom method
	InitDB   []string // options as command-line arguments, --name[=value]
	PgHBA    []string
	PostInit string
	Custom   map[string]any // the section of Method, when custom
	// InitDBError is set when the options for initdb are not usable: a
	// bootstrap with method initdb must abort with it.
	InitDBError error
}

// PostgreSQL is the local part of section postgresql that never comes from
// the DCS. What both layers may hold is in Effective.
type PostgreSQL struct {
	Listen         string // addresses as for listen_addresses: comma list, no port
	Port           int
	ConnectAddress string // host:port
	ProxyAddress   string
	DataDir        string
	ConfigDir      string
	PgPass         string
	ConnectHost    string // ConnectAddress split: what conn_url is made of
	ConnectPort    int
	Superuser      Credentials
	Replication    Credentials
	Rewind         Credentials // falls back to Superuser
}

// Credentials is one entry of postgresql.authentication.
type Credentials struct {
	Username string
	Password Secret
	// SSL holds libpq's other keywords that are set (sslmode, sslcert, ...).
	SSL map[string]string
}

// Pgha is pgha's own section (rulings 43); Patroni ignores it.
type Pgha struct {
	StateDir string // default: systemd's, else <data_dir>.pgha; empty without data_dir
	Guard    bool   // default true
	// Gate is auto (the default: a gate where this process may have one), on
	// (the same, but doing without is shown) or off.
	Gate string
	// Journal: decision records are kept (journal.enabled), in JournalSize bytes.
	Journal     bool
	JournalSize int64

	// Sections whose readers are other packages; nil when absent.
	Handover map[string]any
	Health   Health
	// UpgradeCommand is upgrade.command.
	UpgradeCommand string
	// MasterAlias is metrics.master_alias: patroni_master is emitted as well.
	MasterAlias bool
}

// Health is pgha.health: which probes run, how often, and whether a leader may
// give its key up for what they find.
type Health struct {
	Interval time.Duration // between attempts; 0: loop_wait
	// Connect, DataWrite and WALWrite switch the probes on.
	Connect, DataWrite, WALWrite bool
	// Failover: a leader that cannot serve writes gives its key up when another
	// member can.
	Failover bool
}

// Dynamic is the part of the dynamic configuration that is read straight from
// the document, every cycle, by all members alike (config.md 2).
type Dynamic struct {
	TTL          time.Duration // >= 5 s (rulings 22)
	LoopWait     time.Duration
	RetryTimeout time.Duration

	MaximumLagOnFailover int64 // bytes
	CheckTimeline        bool
	MaxTimelinesHistory  int
	PrimaryStartTimeout  time.Duration // 0: fail over at once after a crash
	PrimaryStopTimeout   time.Duration // 0: off
	PrimaryRaceBackoff   time.Duration

	SynchronousMode       SyncMode
	SynchronousModeStrict bool
	SynchronousNodeCount  int
	MaximumLagOnSyncnode  int64

	FailsafeMode   bool
	Pause          bool
	MemberSlotsTTL time.Duration
	Slots          map[string]Slot // permanent slots
	IgnoreSlots    []map[string]string
	StandbyCluster *StandbyCluster // nil unless valid
	UseSlots       bool

	// Document is the raw dynamic document these came from.
	Document map[string]any
	// Accepted is the document in force for timing, the postgresql section
	// and the cache file: Document, or the previous one when that was
	// rejected. Its timing is the adjusted one.
	Accepted map[string]any
	// Findings of this document: clamped, unparsable, unsupported values.
	Findings []Finding
	// Unsupported lists what pgha cannot do yet (rulings 26): refuse at
	// start; while running, do not race and say so.
	Unsupported []Finding
}

// SyncMode is synchronous_mode.
type SyncMode string

const (
	SyncOff    SyncMode = "off"
	SyncOn     SyncMode = "on"
	SyncQuorum SyncMode = "quorum"
)

// Slot is one permanent slot.
type Slot struct {
	Type        string // physical, logical
	Database    string
	Plugin      string
	ClusterType string // primary, standby or empty
}

// StandbyCluster is section standby_cluster of the dynamic configuration.
type StandbyCluster struct {
	Host                 string
	Port                 int
	PrimarySlotName      string
	CreateReplicaMethods []string
	RestoreCommand       string
	ArchiveCleanup       string
	RecoveryMinDelay     string
}

// Effective is the postgresql section after merging dynamic and local layers.
type Effective struct {
	BinDir         string
	BinName        map[string]string // program -> name; missing: the same
	ConfigBaseName string            // default postgresql
	CustomConf     string
	Database       string // default postgres
	KrbSrvName     string

	UseUnixSocket                      bool
	UseUnixSocketRepl                  bool
	UsePgRewind                        bool
	RewindOptions                      []string
	RemoveDataDirectoryOnRewindFailure bool
	RemoveDataDirectoryOnDivergedTL    bool
	PgCtlTimeout                       time.Duration // 0: no wait

	CreateReplicaMethods []string // default basebackup
	BaseBackupOptions    []string // --name[=value]
	// Methods holds each custom method's own section.
	Methods    map[string]map[string]any
	Callbacks  map[string]string // on_start, ... -> command line
	PrePromote string
	BeforeStop string

	// Parameters holds every GUC but the recovery ones, names in lower case,
	// values as text ready for postgresql.conf (not yet quoted). Controlled
	// GUCs, hba_file and ident_file are included with their effective values
	// (config.md 5.1, 5.2).
	Parameters map[string]string
	// Recovery holds recovery_conf, or the recovery GUCs found in parameters.
	Recovery map[string]string
	// PgHBA, PgIdent: nil when the files are not managed.
	PgHBA   []string
	PgIdent []string
	// HBAFileCustom, IdentFileCustom: the user named a file of his own; the
	// agent never touches it.
	HBAFileCustom   bool
	IdentFileCustom bool

	Findings []Finding
}
