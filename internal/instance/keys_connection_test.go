package instance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgha/internal/config"
	"pgha/internal/postgres"
)

// certificate makes a self-signed certificate for 127.0.0.1 and the user boss.
func certificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "boss"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	must(t, err)
	keyDER, err := x509.MarshalECPrivateKey(private)
	must(t, err)
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	must(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	return cert, key
}

// authentication.*: who the agent is to PostgreSQL, and how it gets there.
// Subtests are named after the keys (config contract 4.2).
func TestAuthenticationKeys(t *testing.T) {
	t.Parallel()
	k := newKeyed(t)
	cert, key := certificate(t, k.dir)
	k.sql("CREATE ROLE boss SUPERUSER LOGIN PASSWORD 'se''cr\\et %:'")
	k.sql("CREATE ROLE copier REPLICATION LOGIN PASSWORD 'c'")
	k.sql("CREATE ROLE winder SUPERUSER LOGIN PASSWORD 'w'")
	server := "use_unix_socket: false\nparameters: {ssl: on, ssl_cert_file: " + cert + ", ssl_key_file: " + key + ", ssl_ca_file: " + cert + "}\n" +
		"pg_hba: ['hostssl all boss 127.0.0.1/32 scram-sha-256 clientcert=verify-full', host all boss 127.0.0.1/32 reject, 'host all all 127.0.0.1/32 scram-sha-256', " +
		"'host replication all 127.0.0.1/32 scram-sha-256', local all all trust]\n"
	boss := "authentication:\n  superuser: {username: boss, password: 'se''cr\\et %:', sslmode: verify-full, sslrootcert: " + cert + ", sslcert: " + cert + ", sslkey: " + key + "}\n"
	k.use(server+"use_unix_socket: true\n", "") // of two keys the last one wins, as in PyYAML
	if a := k.reload(); len(a.BadRules) != 0 {
		t.Fatalf("hostssl while TLS is still off is no mistake: %v", a.BadRules)
	}

	t.Run("postgresql.authentication.superuser", func(t *testing.T) {
		k.use(server+boss, "")
		var user string
		var tls bool
		ask := func(c *pgx.Conn) error {
			return c.QueryRow(t.Context(), "SELECT session_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&user, &tls)
		}
		if err := k.withLocal(within(t, 20*time.Second), ask); err != nil || user != "boss" || !tls {
			t.Errorf("%s, TLS %v: %v", user, tls, err)
		}
		for what, bad := range map[string]string{
			"password":    strings.Replace(boss, "password: 'se", "password: 'no", 1),
			"sslmode":     strings.Replace(boss, "verify-full", "disable", 1),
			"sslrootcert": strings.Replace(boss, "sslrootcert: "+cert, "sslrootcert: "+k.confFile(), 1),
			"sslcert":     strings.Replace(boss, "sslcert: "+cert+", sslkey: "+key, "gssencmode: disable", 1),
		} {
			k.use(server+bad, "")
			if err := k.withLocal(within(t, 20*time.Second), ask); err == nil {
				t.Errorf("connected in spite of another %s", what)
			}
		}
	})
	t.Run("postgresql.authentication.replication", func(t *testing.T) {
		k.use(server+"authentication:\n  replication: {username: copier, password: c, sslmode: require}\n", "")
		if _, err := k.identifyLocal(within(t, 20*time.Second)); err != nil {
			t.Error(err)
		}
		k.use(server+"authentication:\n  replication: {username: copier, password: d}\n", "")
		if _, err := k.identifyLocal(within(t, 20*time.Second)); err == nil {
			t.Error("connected with a wrong password")
		}
	})
	t.Run("postgresql.authentication.rewind", func(t *testing.T) {
		for auth, want := range map[string]string{
			"authentication:\n  rewind: {username: winder, password: w}\n":                                   "winder",
			"authentication:\n  rewind: null\n  superuser: {username: winder, password: w}\n":                "winder", // falls back
			"authentication: null\nsuperuser: {username: winder, password: w}\nreplication: {username: x}\n": "winder", // the old places
			"authentication: null\npg_rewind: {username: winder, password: w}\nreplication: {username: x}\n": "winder",
		} {
			k.use(server+auth, "")
			c, err := k.connectSource(within(t, 20*time.Second), k.source())
			if err != nil {
				t.Errorf("%q: %v", auth, err)
				continue
			}
			var user string
			if err := c.QueryRow(t.Context(), "SELECT session_user").Scan(&user); err != nil || user != want {
				t.Errorf("%q: %s, %v", auth, user, err)
			}
			closeConn(c)
		}
	})
	// Every way to get there, of every user, in the new place and the old one,
	// as pg_rewind, pg_basebackup and the standby are told it.
	t.Run("postgresql.authentication.ssl", func(t *testing.T) {
		const ways = "password: p, sslmode: verify-ca, sslcert: /c, sslkey: /k, sslpassword: 'p w', sslrootcert: /r, sslcrl: /l, sslcrldir: /d, " +
			"gssencmode: disable, channel_binding: require, sslnegotiation: direct}\n"
		const want = `host=db1 port=5432 sslmode=verify-ca sslcert=/c sslkey=/k sslpassword=p\ w sslrootcert=/r sslcrl=/l sslcrldir=/d ` +
			`application_name=a gssencmode=disable channel_binding=require sslnegotiation=direct`
		src := Source{Host: "db1", Port: "5432", Database: "postgres"}
		replication := func() config.Credentials { l, _, _ := k.values(); return l.PostgreSQL.Replication }
		for _, c := range []struct {
			yaml string
			cred func() config.Credentials
		}{
			{"authentication:\n  rewind: {username: u, " + ways, k.rewindCredentials},
			{"authentication: null\npg_rewind: {username: u, " + ways + "replication: {username: x}\n", k.rewindCredentials},
			{"authentication:\n  rewind: null\n  superuser: {username: u, " + ways, k.rewindCredentials}, // falls back
			{"authentication: null\nsuperuser: {username: u, " + ways + "replication: {username: x}\n", k.rewindCredentials},
			{"authentication:\n  replication: {username: u, " + ways, replication},
			{"authentication: null\nreplication: {username: u, " + ways, replication},
		} {
			k.use(server+c.yaml, "")
			if got := k.toolConninfo(src, c.cred(), "", 170000); got != "user=u "+want || c.cred().Password.Reveal() != "p" {
				t.Errorf("%q: password %q\n%s\nwant\nuser=u %s", c.yaml, c.cred().Password.Reveal(), got, want)
			}
		}
	})
	t.Run("postgresql.authentication.replication.ssl", func(t *testing.T) {
		k.use(server+`authentication:
  replication: {username: copier, password: c, sslmode: verify-ca, sslcert: /c, sslkey: /k, sslpassword: 'p w', sslrootcert: /r, sslcrl: /l,
    sslcrldir: /d, gssencmode: disable, channel_binding: require, sslnegotiation: direct, options: -cx=y, connect_timeout: 9}
`, "")
		src := Source{Host: "db1", Port: "5432", Database: "postgres"}
		wanted, _, err := k.wantedRecovery(within(t, 20*time.Second), &Follow{Source: &src, Slot: k.OwnSlot()})
		must(t, err)
		want := `dbname=postgres user=copier passfile=%p host=db1 port=5432 sslmode=verify-ca sslcert=/c sslkey=/k sslpassword=p\ w ` +
			`sslrootcert=/r sslcrl=/l sslcrldir=/d application_name=a gssencmode=disable channel_binding=require`
		if v, _ := k.Version(t.Context()); v.AtLeast(17) { // unknown before
			want += " sslnegotiation=direct"
		}
		if got := strings.Replace(wanted["primary_conninfo"], k.dir+"/pgpass", "%p", 1); got != want || wanted["primary_slot_name"] != "a" {
			t.Errorf("%s\nwant\n%s", got, want)
		}
	})
}

// tools writes wrappers for PostgreSQL's programs under other names: each
// notes its name and arguments, then becomes the real one.
func tools(t *testing.T, dir string, names ...string) (notes string) {
	t.Helper()
	notes = filepath.Join(dir, "notes")
	for _, name := range names {
		script := "#!/bin/sh\necho my-" + name + " \"$@\" >>" + notes + "\nexec " + filepath.Join(binDir(), name) + " \"$@\"\n"
		must(t, os.WriteFile(filepath.Join(dir, "my-"+name), []byte(script), 0o755))
	}
	return notes
}

// Which programs are run, and with what options: bin_dir, bin_name, basebackup,
// rewind (config contract 4.1, 4.3).
func TestToolKeys(t *testing.T) {
	k := newKeyed(t)
	bin := filepath.Join(k.dir, "bin")
	must(t, os.Mkdir(bin, 0o755))
	programs := []string{"postgres", "pg_controldata", "pg_basebackup", "pg_rewind", "initdb", "pg_waldump"}
	notes := tools(t, bin, programs...)
	var names []string
	for _, p := range programs {
		names = append(names, p+": my-"+p)
	}
	own := "bin_dir: " + bin + "\nbin_name: {" + strings.Join(names, ", ") + "}\n"
	k.use(own, `{"basebackup":[{"max-rate":"100M"},"no-sync",{"pgdata":"/x"},{"checkpoint":"fast"}],"rewind":["no-sync",{"dry-run":"x"}],"use_pg_rewind":true}`)
	k.restart(StartOptions{Role: postgres.RolePrimary})

	// A second member clones with the same configuration, and is rewound.
	b := newNode(t, filepath.Dir(k.dir), "b2")
	b.eff.BinDir, b.eff.BinName, b.eff.BaseBackupOptions, b.eff.RewindOptions = k.eff.BinDir, k.eff.BinName, k.eff.BaseBackupOptions, k.eff.RewindOptions
	b.Configure(b.eff, b.dyn)
	src := k.source()
	must(t, k.SyncSlots(within(t, 20*time.Second), nil, []Slot{member("b2")}, nil))
	must(t, b.CreateReplica(within(t, 60*time.Second), ReplicaOptions{From: &src, BaseBackupOnly: true}))
	_, _ = b.Rewind(within(t, 60*time.Second), src)
	c := newNode(t, filepath.Dir(k.dir), "c2")
	c.eff.BinDir, c.eff.BinName = k.eff.BinDir, k.eff.BinName
	c.Configure(c.eff, c.dyn)
	must(t, c.InitDB(within(t, 60*time.Second), nil))

	said := readAll(t, notes)
	for key, want := range map[string][]string{
		"postgresql.bin_name.postgres":       {"my-postgres -D " + k.dataDir() + " --config-file=" + k.confFile() + " --cluster_name=demo"},
		"postgresql.bin_name.pg_controldata": {"my-pg_controldata " + b.dataDir()},
		"postgresql.bin_name.pg_basebackup":  {"my-pg_basebackup --pgdata=" + b.dataDir()},
		"postgresql.bin_name.pg_rewind":      {"my-pg_rewind "},
		"postgresql.bin_name.initdb":         {"my-initdb ", "--pgdata=" + c.dataDir()},
		"postgresql.basebackup":              {" --max-rate=100M --no-sync --checkpoint=fast"},
		"postgresql.rewind":                  {"--source-server ", " --no-sync\n"},
	} {
		for _, w := range want {
			if !strings.Contains(said, w) {
				t.Errorf("%s: %q is not among\n%s", key, w, said)
			}
		}
	}
	if strings.Contains(said, "--pgdata=/x") || strings.Contains(said, "--dry-run") {
		t.Errorf("an option that the agent sets itself was passed on:\n%s", said)
	}
	// Empty: the programs of PATH.
	t.Setenv("PATH", binDir()+":"+os.Getenv("PATH"))
	k.use("bin_dir: ''\nbin_name: null\n", "")
	before := readAll(t, notes)
	if v, err := k.binaryVersion(within(t, 20*time.Second)); err != nil || v.Major() < 13 || readAll(t, notes) != before {
		t.Errorf("bin_dir is empty: %s, %v", v, err)
	}
}

// bootstrap.pg_hba is added to initdb's file, and only where the agent does not
// write the whole file (config contract 3.6).
func TestBootstrapHBA(t *testing.T) {
	const line = "host all added 10.0.0.0/8 scram-sha-256"
	for _, whole := range []bool{false, true} {
		n := newNode(t, clusterDir(t), "a")
		n.eff.PgHBA = nil
		if whole {
			n.eff.PgHBA = []string{"local all all trust"}
		}
		n.Configure(n.eff, n.dyn)
		must(t, n.InitDB(within(t, 60*time.Second), &config.Bootstrap{PgHBA: []string{line}}))
		if got := readAll(t, filepath.Join(n.dataDir(), "pg_hba.conf")); strings.Contains(got, "\n"+line+"\n") == whole || !strings.Contains(got, "\nlocal ") {
			t.Errorf("postgresql.pg_hba set: %v\n%s", whole, got)
		}
	}
}
