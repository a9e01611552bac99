package cmd

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pgha/ctl"
	"pgha/internal/config"
)

// configuration reads the settings of the tool: file, environment, options.
// Nothing found is no error yet: some commands need none.
func (t *ctlTool) configuration() (*config.Local, error) {
	path, err := t.configFile()
	if err != nil {
		return nil, err
	}
	local, err := config.LoadLocal(path, t.outside.environ)
	if bad := new(config.Error); errors.As(err, &bad) && path == "" && bad.File == "" {
		local, err = &config.Local{}, nil // neither file nor variables
	}
	if err != nil {
		return nil, &ctl.Error{Text: strings.Join(strings.Fields(err.Error()), " "), Cause: err}
	}
	if t.dcsURL == "" {
		t.dcsURL = t.outside.getenv("DCS_URL")
	}
	if t.dcsURL != "" {
		if err := useDCS(local, t.dcsURL); err != nil {
			return nil, err
		}
	}
	return local, nil
}

// configFile is the file to read: -c, PATRONICTL_CONFIG_FILE, or the first
// default that is there (rulings 48). Empty: none.
func (t *ctlTool) configFile() (string, error) {
	given := t.file
	if given == "" {
		given = t.outside.getenv("PATRONICTL_CONFIG_FILE")
	}
	if given == "" {
		if t.outside.getenv("PATRONI_CONFIGURATION") != "" {
			return "", nil // it is the configuration itself
		}
		for _, file := range t.defaultFiles() {
			if readable(file) {
				return file, nil
			}
		}
		return "", nil
	}
	if !readable(given) {
		return "", &ctl.Error{Text: "Provided config file " + given + " not existing or no read rights. Check the -c/--config-file parameter"}
	}
	return given, nil
}

func (t *ctlTool) defaultFiles() []string {
	var files []string
	dir := t.outside.getenv("XDG_CONFIG_HOME")
	if home := t.outside.getenv("HOME"); dir == "" && home != "" {
		dir = filepath.Join(home, ".config")
	}
	if dir != "" {
		files = append(files, filepath.Join(dir, "patroni", "patronictl.yaml"))
	}
	return append(files, "/etc/patroni/patroni.yml", "/etc/patroni/config.yml")
}

func readable(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// otherStores are DCS that pgha does not speak, with the ports patronictl
// knows them by.
var otherStores = map[string]string{"8500": "consul", "2181": "zookeeper", "8181": "exhibitor", "": "kubernetes", "-": "raft"}

// useDCS replaces the DCS of the configuration by SCHEME://HOST:PORT/NAMESPACE.
// Whatever else was configured for it (TLS, user) is gone, as in patronictl;
// no scheme means etcd v3 (contract: ctl.md section 10 item 3).
func useDCS(local *config.Local, text string) error {
	withScheme := text
	if !strings.Contains(text, "//") {
		withScheme = "//" + text
	}
	u, err := url.Parse(withScheme)
	if err != nil {
		return &ctl.Error{Text: "the DCS " + text + " is no SCHEME://HOST:PORT/NAMESPACE"}
	}
	scheme, host, port := u.Scheme, u.Hostname(), u.Port()
	if scheme == "" {
		scheme = "etcd3"
		if other := otherStores[port]; port != "" && other != "" {
			scheme = other
		}
	}
	for _, other := range otherStores {
		if scheme == other {
			return &ctl.Error{Text: "pgha speaks etcd v3 only, not " + other}
		}
	}
	if !slices.Contains([]string{"etcd", "etcd3"}, scheme) {
		return &ctl.Error{Text: "Unknown dcs scheme: " + scheme}
	}
	if host == "" {
		host = "localhost"
	}
	if port == "" {
		port = "2379"
	}
	local.Etcd3 = config.Etcd3{Endpoints: []string{"http://" + net.JoinHostPort(host, port)}}
	if ns := strings.Trim(u.Path, "/"); ns != "" {
		local.Namespace = "/" + ns
	}
	return nil
}

// open connects to a scope; without any DCS configured it says where the
// configuration was looked for.
func (t *ctlTool) open(ctx context.Context, local *config.Local, scope string) (ctl.Store, error) {
	if len(local.Etcd3.Endpoints) > 0 || local.Etcd3.SRV != "" {
		return t.outside.open(ctx, local, scope)
	}
	text := "Can not find suitable configuration of distributed configuration store\nAvailable implementations: etcd3"
	if local.Path == "" {
		text += "\nNo configuration was found: no -c, no PATRONI_* variables, none of " + strings.Join(t.defaultFiles(), ", ")
	} else if err := local.CheckDCS(); err != nil {
		text += "\n" + err.Error()
	}
	return nil, &ctl.Error{Text: text}
}
