package etcd_test

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"pgha/internal/config"
	"pgha/internal/dcs/etcd"
	"pgha/internal/tlsconf"
	"pgha/internal/tlsconf/tlstest"
)

// rawConn speaks to an etcd without a store in between.
func rawConn(t *testing.T, url string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// secured starts an etcd that asks for passwords: root's and app's are their
// names.
func secured(t *testing.T) string {
	t.Helper()
	url, stop, err := startEmbedded(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	a, ctx := pb.NewAuthClient(rawConn(t, url)), within(t, 20*time.Second)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(a.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: "root"}))
	for _, user := range []string{"root", "app"} {
		must(a.UserAdd(ctx, &pb.AuthUserAddRequest{Name: user, Password: user}))
		must(a.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: user, Role: "root"}))
	}
	must(a.AuthEnable(ctx, &pb.AuthEnableRequest{}))
	return url
}

// fromYAML opens the store of a patroni.yml.
func fromYAML(t *testing.T, yaml string, resolver *net.Resolver) (*etcd.Store, error) {
	t.Helper()
	l, err := config.LoadLocal("", []string{"PATRONI_CONFIGURATION=" + yaml})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.CheckDCS(); err != nil {
		t.Fatalf("%s: %v", yaml, err)
	}
	o := etcd.FromConfig(l)
	o.Member, o.Resolver = "", resolver
	s, err := etcd.Open(t.Context(), o)
	if err == nil {
		t.Cleanup(func() { _ = s.Close() })
	}
	return s, err
}

// Every key of etcd3, from the file to an answer of etcd: with the right value
// there is one, with another one there is none. Subtests are named after the
// keys (config contract 3.2).
func TestEtcd3Keys(t *testing.T) {
	plain := sharedEtcd(t)
	host, port := hostPort(t, plain)
	dir := t.TempDir()
	ca, other := tlstest.New(t, "ours"), tlstest.New(t, "theirs")
	server, client := ca.Issue(t, dir, "server", "127.0.0.1"), ca.Issue(t, dir, "client", "127.0.0.1")
	foreign := other.Issue(t, t.TempDir(), "client", "127.0.0.1")
	secure, stop, err := startEmbedded(&server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	secureHost := strings.TrimPrefix(secure, "https://")
	login := secured(t)
	dns := startDNS(t)
	dns.set(func(s *dnsServer) {
		s.hosts["etcd.test"] = []string{"127.0.0.1"}
		s.srv["_etcd-client._tcp.right.test"] = []string{"etcd.test:" + port}
		s.srv["_etcd-client-blue._tcp.blue.test"] = []string{"etcd.test:" + port}
	})
	passwords, wrong := filepath.Join(dir, "passwords"), filepath.Join(dir, "wrong")
	for file, text := range map[string]string{passwords: "old\napp\n", wrong: "old\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files := func(f tlsconf.Files) string { return "cacert: " + f.CA + ", cert: " + f.Cert + ", key: " + f.Key }
	with := func(ca, cert, key string) string {
		return "hosts: '" + secureHost + "', protocol: https, " + files(tlsconf.Files{CA: ca, Cert: cert, Key: key})
	}
	const nobody = "127.0.0.1:1"
	for _, c := range []struct{ key, right, wrong string }{
		{"host", "host: '" + host + ":" + port + "'", "host: '" + nobody + "'"},
		{"port", "host: " + host + ", port: " + port, "host: " + host + ", port: 1"},
		{"hosts", "hosts: '" + nobody + "," + host + ":" + port + "'", "hosts: '" + nobody + "'"},
		{"protocol", with(client.CA, client.Cert, client.Key), "hosts: '" + secureHost + "', protocol: http, " + files(client)},
		{"url", "hosts: '" + nobody + "', url: '" + plain + "'", "hosts: '" + host + ":" + port + "', url: 'http://" + nobody + "'"},
		{"proxy", "hosts: '" + nobody + "', proxy: '" + plain + "'", "hosts: '" + host + ":" + port + "', proxy: 'http://" + nobody + "'"},
		{"srv", "srv: right.test", "srv: wrong.test"},
		{"discovery_srv", "discovery_srv: right.test", "discovery_srv: wrong.test"},
		{"srv_domain", "srv_domain: right.test", "srv_domain: wrong.test"},
		{"srv_suffix", "srv: blue.test, srv_suffix: blue", "srv: blue.test"},
		{"cacert", with(client.CA, client.Cert, client.Key), with(foreign.CA, client.Cert, client.Key)},
		{"cert", with(client.CA, client.Cert, client.Key), with(client.CA, foreign.Cert, foreign.Key)},
		{"key", with(client.CA, client.Cert, client.Key), with(client.CA, client.Cert, foreign.Key)},
		{"username", "hosts: '" + strings.TrimPrefix(login, "http://") + "', username: app, password: app", "hosts: '" + strings.TrimPrefix(login, "http://") + "', password: app"},
		{"password", "hosts: '" + strings.TrimPrefix(login, "http://") + "', username: app, password: app", "hosts: '" + strings.TrimPrefix(login, "http://") + "', username: app, password: wrong"},
		{"password_file", "hosts: '" + strings.TrimPrefix(login, "http://") + "', username: app, password_file: " + passwords,
			"hosts: '" + strings.TrimPrefix(login, "http://") + "', username: app, password_file: " + wrong},
	} {
		t.Run("etcd3."+c.key, func(t *testing.T) {
			load := func(section string, patience time.Duration) error {
				s, err := fromYAML(t, "scope: keys\nname: a\netcd3: {"+section+"}\n", dns.resolver())
				if err != nil {
					return err
				}
				_, err = s.Load(within(t, patience))
				return err
			}
			if err := load(c.right, 20*time.Second); err != nil {
				t.Errorf("%s: %v", c.right, err)
			}
			if err := load(c.wrong, 3*time.Second); err == nil {
				t.Errorf("an answer with %s", c.wrong)
			}
		})
	}

	// The members that etcd lists are looked up, unless use_proxies is set.
	t.Run("etcd3.use_proxies", func(t *testing.T) {
		for _, c := range []struct {
			value string
			asked []string
		}{
			{"false", []string{"/etcdserverpb.Cluster/MemberList", "/etcdserverpb.KV/Range"}},
			{"true", []string{"/etcdserverpb.KV/Range"}},
		} {
			var mu sync.Mutex
			var asked []string
			server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
				method, _ := grpc.MethodFromServerStream(stream)
				mu.Lock()
				defer mu.Unlock()
				asked = append(asked, method)
				return status.Error(codes.Unavailable, "only listening")
			}))
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var running sync.WaitGroup
			running.Go(func() { _ = server.Serve(listener) })
			s, err := fromYAML(t, "scope: keys\nname: a\netcd3: {hosts: '"+listener.Addr().String()+"', use_proxies: "+c.value+"}\n", nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Load(within(t, 3*time.Second)); err == nil {
				t.Error("an answer from nobody")
			}
			_ = s.Close()
			server.Stop()
			running.Wait()
			slices.Sort(asked)
			if got := slices.Compact(asked); !slices.Equal(got, c.asked) {
				t.Errorf("use_proxies: %s: asked %v, want %v", c.value, got, c.asked)
			}
		}
	})

	// Where the keys of a cluster are.
	put := func(key, value string) {
		if _, err := pb.NewKVClient(rawConn(t, plain)).Put(within(t, 5*time.Second), &pb.PutRequest{Key: []byte(key), Value: []byte(value)}); err != nil {
			t.Fatal(err)
		}
	}
	put("/ours/keys/config", `{"ttl":21}`)
	put("/service/others/config", `{"ttl":22}`)
	for key, c := range map[string]struct{ yaml, want string }{
		"namespace": {"namespace: ours/\nscope: keys\n", `{"ttl":21}`},
		"scope":     {"scope: others\n", `{"ttl":22}`},
	} {
		t.Run(key, func(t *testing.T) {
			s, err := fromYAML(t, c.yaml+"name: a\netcd3: {url: '"+plain+"'}\n", nil)
			if err != nil {
				t.Fatal(err)
			}
			cluster, err := s.Load(within(t, 5*time.Second))
			if err != nil || cluster.Config == nil || string(cluster.Config.Raw) != c.want {
				t.Errorf("%+v, %v, want %s", cluster, err, c.want)
			}
		})
	}
}
