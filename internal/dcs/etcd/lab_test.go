package etcd_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"pgha/internal/tlsconf"
)

// freeAddress returns a loopback address nobody listens on now.
func freeAddress() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// lab is an etcd cluster of real processes.
type lab struct {
	t       *testing.T
	members []*process
}

// process is one etcd member.
type process struct {
	url  string
	cmd  *exec.Cmd
	conn *grpc.ClientConn
	id   uint64
	dead bool
}

// labOptions says what kind of cluster.
type labOptions struct {
	binaries string // directory with etcd
	version  string
	members  int
	flags    []string
	tls      *tlsconf.Files // members' certificate; clients must show one
}

// startLab starts the members and waits until all answer.
func startLab(t *testing.T, o labOptions) *lab {
	t.Helper()
	dir, err := os.MkdirTemp("", "petcd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	scheme := "http://"
	if o.tls != nil {
		scheme = "https://"
	}
	var initial, peers []string
	for i := range o.members {
		peers = append(peers, "http://"+freeAddress())
		initial = append(initial, fmt.Sprintf("m%d=%s", i, peers[i]))
	}
	l := &lab{t: t}
	for i := range o.members {
		p := &process{url: scheme + freeAddress()}
		args := append([]string{
			"--name", fmt.Sprintf("m%d", i), "--data-dir", filepath.Join(dir, fmt.Sprint(i)),
			"--listen-client-urls", p.url, "--advertise-client-urls", p.url,
			"--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", peers[i],
			"--initial-cluster", strings.Join(initial, ","), "--heartbeat-interval=50", "--election-timeout=500",
			"--log-level=error", "--logger=zap",
		}, o.flags...)
		if strings.HasPrefix(o.version, "3.4.") {
			args = append(args, "--enable-v2=false")
		} else {
			args = append(args, "--unsafe-no-fsync")
		}
		if o.tls != nil {
			args = append(args, "--cert-file", o.tls.Cert, "--key-file", o.tls.Key, "--trusted-ca-file", o.tls.CA, "--client-cert-auth")
		}
		p.cmd = exec.Command(filepath.Join(o.binaries, o.version, "etcd"), args...)
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := p.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.kill() })
		creds := insecure.NewCredentials()
		if o.tls != nil {
			cfg, err := tlsconf.Client(*o.tls, "127.0.0.1")
			if err != nil {
				t.Fatal(err)
			}
			creds = credentials.NewTLS(cfg)
		}
		if p.conn, err = grpc.NewClient(p.url[len(scheme):], grpc.WithTransportCredentials(creds)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.conn.Close() })
		l.members = append(l.members, p)
	}
	for _, p := range l.members {
		eventually(t, "etcd at "+p.url+" answers", 30*time.Second, func(ctx context.Context) error {
			resp, err := pb.NewKVClient(p.conn).Range(ctx, &pb.RangeRequest{Key: []byte("x")}, grpc.WaitForReady(true))
			p.id = resp.GetHeader().GetMemberId()
			return err
		})
	}
	return l
}

// eventually repeats f until it succeeds.
func eventually(t *testing.T, what string, limit time.Duration, f func(context.Context) error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		err := f(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain until %s: %v", limit, what, err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

func (l *lab) urls() (urls []string) {
	for _, p := range l.members {
		urls = append(urls, p.url)
	}
	return urls
}

// leader returns the member that leads etcd.
func (l *lab) leader() *process {
	l.t.Helper()
	var found *process
	eventually(l.t, "etcd has a leader", 20*time.Second, func(ctx context.Context) error {
		for _, p := range l.members {
			if p.dead {
				continue
			}
			st, err := pb.NewMaintenanceClient(p.conn).Status(ctx, &pb.StatusRequest{})
			if err != nil {
				return err
			}
			for _, q := range l.members {
				if q.id == st.Leader && !q.dead {
					found = q
				}
			}
		}
		if found == nil {
			return fmt.Errorf("none yet")
		}
		return nil
	})
	return found
}

func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

func (p *process) kill() {
	if p.dead {
		return
	}
	p.dead = true
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// enableAuth creates root, and the user app with the password, who may read
// and write the prefix, and switches authentication on.
func (l *lab) enableAuth(user, password, prefix string) {
	l.t.Helper()
	a := pb.NewAuthClient(l.members[0].conn)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	must := func(_ any, err error) {
		l.t.Helper()
		if err != nil {
			l.t.Fatal(err)
		}
	}
	end := []byte(prefix)
	end[len(end)-1]++
	add := func(name, password string) {
		r := &pb.AuthUserAddRequest{Name: name, Password: password, Options: &authOptions{NoPassword: password == ""}}
		must(a.UserAdd(ctx, r))
	}
	add("root", "root")
	must(a.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: "root"}))
	must(a.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"}))
	add(user, password)
	must(a.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: "app"}))
	must(a.RoleGrantPermission(ctx, &pb.AuthRoleGrantPermissionRequest{
		Name: "app", Perm: &permission{PermType: readWrite, Key: []byte(prefix), RangeEnd: end},
	}))
	must(a.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: user, Role: "app"}))
	must(a.AuthEnable(ctx, &pb.AuthEnableRequest{}))
}
