package postgres

import (
	"maps"
	"strings"
	"testing"
)

func TestParseConninfo(t *testing.T) {
	cases := []struct {
		in   string
		want map[string]string // nil: an error
	}{
		{"", map[string]string{}},
		{"host=a port=5432", map[string]string{"host": "a", "port": "5432"}},
		{"  host = a\tport\n= 5432 ", map[string]string{"host": "a", "port": "5432"}},
		{`password='it''s'`, nil}, // a quote is not doubled in libpq
		{`password='it\'s \\ me' user=x`, map[string]string{"password": `it's \ me`, "user": "x"}},
		{`password=a\ b\'c\\d`, map[string]string{"password": `a b'c\d`}},
		{`password=trailing\`, map[string]string{"password": "trailing"}},
		{"password='' user=x", map[string]string{"password": "", "user": "x"}},
		{"a=1 a=2", map[string]string{"a": "2"}},
		{"host", nil}, {"host a=1", nil}, {"=x", nil}, {"password='x", nil},
		{"postgres://", map[string]string{}},
		{"postgresql://u:p%40%3A@h:5433/db?sslmode=require&application_name=a%20b", map[string]string{
			"user": "u", "password": "p@:", "host": "h", "port": "5433", "dbname": "db",
			"sslmode": "require", "application_name": "a b"}},
		{"postgres://h1:1,h2,[::1]:3/db", map[string]string{"host": "h1,h2,::1", "port": "1,,3", "dbname": "db"}},
		{"postgres://[fe80::1]", map[string]string{"host": "fe80::1"}},
		{"postgres:///db?host=/tmp", map[string]string{"dbname": "db", "host": "/tmp"}},
		{"postgres://%2Ftmp/db", map[string]string{"host": "/tmp", "dbname": "db"}},
		{"postgres://h/db@x", map[string]string{"host": "h", "dbname": "db@x"}},
		{"postgres://u@h?ssl=true", map[string]string{"user": "u", "host": "h", "sslmode": "require"}},
		{"postgres://h/?a+b=c+d", map[string]string{"host": "h", "a+b": "c+d"}},
		{"postgres://h?dbname=x&", map[string]string{"host": "h", "dbname": "x"}},
		{"postgres://h?dbname=x&&user=y", nil},
		{"postgres://[::1", nil}, {"postgres://[]", nil}, {"postgres://[::1]x", nil},
		{"postgres://h/%00", nil}, {"postgres://h/%4", nil}, {"postgres://h/%zz", nil},
		{"postgres://h?a", nil}, {"postgres://h?a=b=c", nil}, {"postgres://h?=b", nil},
	}
	for _, c := range cases {
		got, err := ParseConninfo(c.in)
		if (err != nil) != (c.want == nil) || err == nil && !maps.Equal(got, c.want) {
			t.Errorf("%q: %v, %v; want %v", c.in, got, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "it") && strings.Contains(err.Error(), "'s") {
			t.Errorf("%q: the error shows the value: %v", c.in, err)
		}
	}
}

func TestFormatConninfo(t *testing.T) {
	got := FormatConninfo([]KV{
		{"zeta", "1"}, {"sslmode", "prefer"}, {"port", "5432"}, {"host", "h"},
		{"passfile", `/tmp/a b`}, {"user", `o'b\r`}, {"dbname", "postgres"}, {"sslcert", ""},
	})
	want := `dbname=postgres user=o\'b\\r passfile=/tmp/a\ b host=h port=5432 sslmode=prefer zeta=1`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestPrimaryConninfo(t *testing.T) {
	upstream := UpstreamConn{
		Host: "10.0.0.1", DBName: "postgres", User: "repl", PassFile: "/var/lib/pgpass", ApplicationName: "node a",
		SSL: map[string]string{"sslcert": "/c", "sslcrldir": "/d", "sslmode": "verify-ca", "password": "secret"},
	}
	cases := map[Version]string{
		130012: `dbname=postgres user=repl passfile=/var/lib/pgpass host=10.0.0.1 port=5432 sslmode=verify-ca sslcert=/c application_name=node\ a gssencmode=prefer channel_binding=prefer`,
		170002: `dbname=postgres user=repl passfile=/var/lib/pgpass host=10.0.0.1 port=5432 sslmode=verify-ca sslcert=/c sslcrldir=/d application_name=node\ a gssencmode=prefer channel_binding=prefer sslnegotiation=postgres`,
	}
	for v, want := range cases {
		if got := FormatConninfo(PrimaryConninfo(upstream, v)); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", v, got, want)
		}
	}
}

func TestConninfoEqual(t *testing.T) {
	parse := func(s string) map[string]string {
		m, err := ParseConninfo(s)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	wanted := "dbname=postgres user=r passfile=/p host=h port=5432 sslmode=prefer application_name=a gssencmode=prefer channel_binding=prefer"
	cases := []struct {
		name, wanted, actual string
		version              Version
		want                 bool
	}{
		{"same", wanted, wanted, 150000, true},
		{"defaults left out", wanted, "user=r passfile=/p host=h port=5432 application_name=a", 150000, true},
		{"more in actual", wanted, wanted + " fallback_application_name=x replication=true", 150000, true},
		{"dbname differs before 17", wanted, "dbname=x " + wanted[len("dbname=postgres "):], 160000, true},
		{"dbname differs from 17", wanted, "dbname=x " + wanted[len("dbname=postgres "):], 170000, false},
		{"dbname missing from 17", wanted, wanted[len("dbname=postgres "):], 170000, false},
		{"other host", wanted, "user=r passfile=/p host=g port=5432 application_name=a", 150000, false},
		{"other passfile", wanted, "user=r passfile=/q host=h port=5432 application_name=a", 150000, false},
		{"masked password", wanted + " password=x", wanted + " password=********", 150000, true},
		{"nothing wanted", "", wanted, 150000, false},
		{"nothing there", wanted, "", 150000, false},
		{"both nothing", "", "", 150000, true},
	}
	for _, c := range cases {
		if got := ConninfoEqual(parse(c.wanted), parse(c.actual), c.version); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	receiver := parse("user=r dbname=replication host=h")
	if got := ActualConninfo(parse("dbname=postgres host=old"), receiver); got["dbname"] != "postgres" || got["host"] != "h" {
		t.Errorf("actual: %v", got)
	}
	if got := ActualConninfo(parse("host=old"), nil); got["host"] != "old" {
		t.Errorf("actual without receiver: %v", got)
	}
}

func TestPgpassLines(t *testing.T) {
	cases := []struct{ hosts, port, user, password, want string }{
		{"h", "5432", "u", "p", "h:5432:*:u:p\n"},
		{"h", "5432", "u", "", ""},
		{"", "", "", `p:\*`, `*:*:*:*:p\:\\*` + "\n"},
		{"::1", "5432", "u", "p", `\:\:1:5432:*:u:p` + "\n"},
		{"a, b", "5432", "u", "p", "a:5432:*:u:p\nb:5432:*:u:p\n"},
		{"a,b", "1,2", "u", "p", "a:1:*:u:p\nb:2:*:u:p\n"},
		{"/tmp", "5433", "u", "p", "/tmp:5433:*:u:p\nlocalhost:5433:*:u:p\n"},
		{"localhost,/tmp", "5433", "u", "p", "localhost:5433:*:u:p\n/tmp:5433:*:u:p\n"},
	}
	for _, c := range cases {
		if got := PgpassLines(c.hosts, c.port, c.user, c.password); got != c.want {
			t.Errorf("%q: got %q, want %q", c.hosts, got, c.want)
		}
	}
}

func FuzzConninfo(f *testing.F) {
	f.Add("host=a password='x y' b=c")
	f.Add("postgres://u:p@[::1]:5432,h/db?sslmode=require")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseConninfo(s)
		if err != nil {
			return
		}
		var kvs []KV
		for key, value := range got {
			if value == "" || strings.ContainsAny(key, conninfoSpace+"=") {
				return // cannot be printed again: a URI's keywords may hold anything
			}
			kvs = append(kvs, KV{key, value})
		}
		printed := FormatConninfo(kvs)
		if strings.HasPrefix(printed, "postgres://") || strings.HasPrefix(printed, "postgresql://") {
			return
		}
		again, err := ParseConninfo(printed)
		if err != nil || !maps.Equal(got, again) {
			t.Errorf("%q -> %v -> %q -> %v, %v", s, got, printed, again, err)
		}
	})
}
