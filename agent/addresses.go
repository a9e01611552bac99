package agent

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"pgha/internal/config"
)

// checkAddresses says whether the configured addresses can be listened on,
// before anything is started: PostgreSQL would go on with those it gets, and
// nobody would reach it.
func checkAddresses(local *config.Local) error {
	host, port, err := net.SplitHostPort(local.RestAPI.Listen)
	if err != nil {
		return &ExitError{Code: exitConfig, Err: fmt.Errorf("restapi.listen: %w", err)}
	}
	if err := canListen("restapi.listen", host, port); err != nil {
		return err
	}
	if postmasterFile(local.PostgreSQL.DataDir) {
		return nil // PostgreSQL may be running already, and be who listens there
	}
	port = strconv.Itoa(local.PostgreSQL.Port)
	for host := range strings.SplitSeq(local.PostgreSQL.Listen, ",") {
		if err := canListen("postgresql.listen", strings.TrimSpace(host), port); err != nil {
			return err
		}
	}
	return nil
}

func postmasterFile(dataDir string) bool {
	_, err := os.Lstat(filepath.Join(dataDir, "postmaster.pid"))
	return err == nil
}

// canListen binds the address for a moment.
func canListen(key, host, port string) error {
	if host == "*" {
		host = ""
	}
	l, err := net.Listen("tcp", net.JoinHostPort(strings.Trim(host, "[]"), port))
	if err != nil {
		return &ExitError{Code: exitConfig, Err: fmt.Errorf("%s: %w", key, err),
			Remedy: "name an address of this machine and a free port; `ss -ltnp` shows who listens"}
	}
	return l.Close()
}
