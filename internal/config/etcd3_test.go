package config

import (
	"strings"
	"testing"
)

// Which of the address keys counts, one row a rule of config contract 3.2.
func TestEtcd3Addresses(t *testing.T) {
	for _, tt := range []struct {
		name, yaml string
		want       Etcd3 // addresses and what belongs to them
	}{
		{"host", "host: e1", Etcd3{Endpoints: []string{"http://e1:2379"}, EveryAddress: true}},
		{"port beats that of host", "host: 'e1:1'\nport: 2", Etcd3{Endpoints: []string{"http://e1:2"}, EveryAddress: true}},
		{"hosts before host", "host: e1\nhosts: 'e2, e3:5'\nport: 4", Etcd3{Endpoints: []string{"http://e2:4", "http://e3:5"}}},
		{"hosts as a list", "hosts: ['e2', 'fd00::1', '[fd00::2]:5']", Etcd3{Endpoints: []string{"http://e2:2379", "http://[fd00::1]:2379", "http://[fd00::2]:5"}}},
		{"protocol", "hosts: e2\nprotocol: https", Etcd3{Endpoints: []string{"https://e2:2379"}}},
		{"url before all", "url: 'https://e1:1'\nhosts: e2\nhost: e3\nprotocol: http\nsrv: example.org", Etcd3{Endpoints: []string{"https://e1:1"}}},
		{"url's own user", "url: 'http://u:p@e1'\nusername: x\npassword: y", Etcd3{Endpoints: []string{"http://e1:2379"}, Username: "u", Password: "p"}},
		{"proxy is a url with use_proxies", "proxy: 'http://e1:1'\nurl: 'http://e2'", Etcd3{Endpoints: []string{"http://e1:1"}, UseProxies: true}},
		{"a url in IPv6", "url: 'http://[fd00::1]'", Etcd3{Endpoints: []string{"http://[fd00::1]:2379"}}},
		{"use_proxies resolves nothing", "host: e1\nuse_proxies: true", Etcd3{Endpoints: []string{"http://e1:2379"}, UseProxies: true}},
		{"srv", "srv: example.org", Etcd3{SRV: "example.org"}},
		{"srv beside hosts", "srv: example.org\nhosts: e1", Etcd3{SRV: "example.org", Endpoints: []string{"http://e1:2379"}}},
		{"discovery_srv", "discovery_srv: example.org\nsrv_suffix: blue", Etcd3{SRV: "example.org", SRVSuffix: "blue"}},
		{"srv_domain", "srv_domain: example.org", Etcd3{SRV: "example.org"}},
		{"the key lives in cert", "host: e1\ncert: /c.pem", Etcd3{Endpoints: []string{"http://e1:2379"}, EveryAddress: true, Cert: "/c.pem", Key: "/c.pem"}},
		{"a key without cert is ignored", "host: e1\nkey: /k.pem", Etcd3{Endpoints: []string{"http://e1:2379"}, EveryAddress: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			yaml := "scope: s\nname: a\netcd3:\n  " + strings.ReplaceAll(tt.yaml, "\n", "\n  ") + "\n"
			l, err := LoadLocal("", []string{"PATRONI_CONFIGURATION=" + yaml})
			if err != nil {
				t.Fatal(err)
			}
			if err := l.CheckDCS(); err != nil {
				t.Error(err)
			}
			if !EqualText(l.Etcd3.Endpoints, tt.want.Endpoints) || l.Etcd3.Password.Reveal() != string(tt.want.Password) {
				t.Errorf("endpoints %q, password %q", l.Etcd3.Endpoints, l.Etcd3.Password.Reveal())
			}
			got := l.Etcd3
			got.Endpoints, got.Password, tt.want.Endpoints, tt.want.Password = nil, "", nil, ""
			if got.EveryAddress != tt.want.EveryAddress || got.UseProxies != tt.want.UseProxies || got.SRV != tt.want.SRV ||
				got.SRVSuffix != tt.want.SRVSuffix || got.Username != tt.want.Username || got.Cert != tt.want.Cert || got.Key != tt.want.Key {
				t.Errorf("got %+v\nwant %+v", got, tt.want)
			}
		})
	}
}
