// Command etcdtrio is the demo's etcd: three members in one process, on
// loopback ports it is given. `make build` compresses it into the pgha binary,
// which so does not link etcd itself: that would cost every agent memory.
//
// It ends when its standard input ends, so that a demo that was killed leaves
// nothing behind.
package main

import (
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

func main() {
	dir := flag.String("dir", "", "data directory")
	ports := flag.String("ports", "", "six ports: client1,client2,client3,peer1,peer2,peer3")
	flag.Parse()
	if err := run(*dir, strings.Split(*ports, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "etcdtrio:", err)
		os.Exit(1)
	}
}

func run(dir string, ports []string) error {
	if dir == "" || len(ports) != 6 {
		return fmt.Errorf("usage: etcdtrio -dir DIR -ports c1,c2,c3,p1,p2,p3")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var initial []string
	for i := range 3 {
		initial = append(initial, fmt.Sprintf("etcd%d=http://127.0.0.1:%s", i+1, ports[3+i]))
	}
	var members []*embed.Etcd
	for i := range 3 {
		e, err := start(dir, i, ports, strings.Join(initial, ","))
		if err != nil {
			return err
		}
		members = append(members, e)
	}
	for _, e := range members {
		select {
		case <-e.Server.ReadyNotify():
		case err := <-e.Err():
			return err
		case <-time.After(20 * time.Second):
			return fmt.Errorf("not ready after 20 s")
		}
	}
	fmt.Println("ready")
	// The parent's end of the pipe is closed when the parent ends, however.
	io.Copy(io.Discard, os.Stdin)
	// No clean stop: nothing here is kept, and a stop takes seconds.
	return nil
}

func start(dir string, i int, ports []string, initial string) (*embed.Etcd, error) {
	client := url.URL{Scheme: "http", Host: "127.0.0.1:" + ports[i]}
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:" + ports[3+i]}
	cfg := embed.NewConfig()
	cfg.Name = fmt.Sprintf("etcd%d", i+1)
	cfg.Dir = filepath.Join(dir, cfg.Name)
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = initial
	cfg.TickMs, cfg.ElectionMs, cfg.UnsafeNoFsync = 100, 1000, true
	cfg.LogLevel, cfg.LogOutputs = "error", []string{filepath.Join(dir, cfg.Name+".log")}
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", cfg.Name, err)
	}
	return e, nil
}
