// Command pgha keeps a PostgreSQL cluster writable through the loss of any
// one machine, with etcd as the arbiter. See README.md.
package main

import (
	"os"

	// First of all: in a guard process this package's init takes over and
	// never returns, before anything heavier is initialised (docs/ARCHITECTURE.md, "Guard").
	_ "pgha/internal/guard"

	"pgha/cmd"
)

func main() { os.Exit(cmd.Main(os.Args)) }
